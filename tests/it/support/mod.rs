//! What the black-box tests stand on: the program as a process, an upstream that records every byte, a raw client,
//! keys and tokens, and a scripted identity provider.

pub mod browser;
pub mod corpus;
pub mod foreign;
pub mod gateway;
pub mod h2;
pub mod inside;
pub mod keys;
pub mod provider;
pub mod raw;
pub mod redis;
pub mod standard;
pub mod tokens;
pub mod upstream;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A folder of its own for a test, gone when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// In the system's folder for such things: the path of a socket has room for about a hundred bytes.
    pub fn for_sockets() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("postern-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file at once: a reader sees the old content or the new one.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, draft) = (self.path(name), self.path(&format!("{name}.draft")));
        std::fs::write(&draft, content).expect("a temporary file");
        std::fs::rename(&draft, &path).expect("a rename within the folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for a condition, not for a time: looks again every few milliseconds until it holds, and stops the test at the
/// limit.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same for a condition that must be asked for over a socket.
pub async fn eventually_async<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
