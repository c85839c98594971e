//! The background runtime: everything that talks to providers, disks or health targets runs here, so that traffic
//! never waits behind it. A socket is served by the runtime that opened it; pools are never shared between the two.

use std::future::Future;

/// Handle to the background runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(tokio::runtime::Handle);

/// The background task was dropped before it finished: the process is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the background runtime has stopped")]
pub struct Stopped;

impl Control {
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        Self(handle)
    }

    /// The runtime that this is called on; for tests and single-runtime set-ups.
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }

    /// Starts a background task that nobody waits for.
    #[expect(clippy::disallowed_methods, reason = "control is one of the homes of spawning")]
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }

    /// Runs `work` on the background runtime and waits for it. A caller that goes away does not cancel the work.
    ///
    /// # Errors
    /// [`Stopped`] when the runtime was shut down or the work panicked.
    #[expect(clippy::disallowed_methods, reason = "control is one of the homes of spawning")]
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Stopped> {
        self.0.spawn(work).await.map_err(|_| Stopped)
    }
}
