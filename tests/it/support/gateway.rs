//! The program under test, as an operator runs it: a configuration file, a process, its log, its signals. It listens on
//! ports of the system's choice and says in its log which.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Folder, eventually, eventually_async, raw};

/// Lines that a process wrote, as they come.
type Lines = Arc<Mutex<Vec<String>>>;

#[derive(Debug)]
pub struct Gateway {
    process: Child,
    log: Lines,
    access: Lines,
    pub addresses: Vec<SocketAddr>,
    pub admin: SocketAddr,
    _folder: Folder,
}

/// How to start it, where that is not the usual way.
#[derive(Debug, Default)]
pub struct Start<'a> {
    pub config: &'a str,
    /// Flags of `serve`; with them there is no file unless they name one.
    pub arguments: &'a [&'a str],
    pub environment: &'a [(&'a str, &'a str)],
    /// Limit of open files for the process.
    pub open_files: Option<u64>,
    /// Do not wait for `/readyz`: the test is about a gateway that is not ready.
    pub unready: bool,
}

impl Gateway {
    /// Starts it on this configuration and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        Self::start_as(Start { config, ..Start::default() }).await
    }

    pub async fn start_as(start: Start<'_>) -> Self {
        let folder = Folder::new();
        let mut command = match start.open_files {
            None => program(),
            Some(limit) => limited(limit),
        };
        command.arg("serve").args(start.arguments).envs(start.environment.iter().copied());
        // Where it runs there is no `./postern.yaml`.
        command.current_dir(folder.path(""));
        if !start.config.is_empty() {
            command.arg("--config").arg(folder.write("gateway.yaml", start.config));
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = gather(process.stderr.take().expect("piped"));
        let access = gather(process.stdout.take().expect("piped"));
        // All but the admin's, and those that have no port to be told.
        let binds = start.config.split("bind:").skip(1).map(|rest| rest.trim_start().trim_start_matches('"'));
        let listeners = binds.filter(|bind| !bind.starts_with("unix:")).count().saturating_sub(1).max(1);
        let mut gateway = Self {
            process,
            log,
            access,
            addresses: Vec::new(),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            _folder: folder,
        };
        gateway.learn_addresses(listeners).await;
        if !start.unready {
            gateway.until_ready(Duration::from_secs(20)).await;
        }
        gateway
    }

    async fn learn_addresses(&mut self, listeners: usize) {
        let log = Arc::clone(&self.log);
        let process = &mut self.process;
        let (addresses, admin) = eventually("the gateway listens", Duration::from_secs(30), || {
            let lines = log.lock().unwrap();
            if let Ok(Some(status)) = process.try_wait() {
                panic!("the gateway ended ({status}) instead of listening:\n{}", lines.join("\n"));
            }
            let found = |message: &str| -> Vec<SocketAddr> {
                lines.iter().filter_map(|line| event(line, message)?["listener"].as_str()?.parse().ok()).collect()
            };
            let (addresses, admin) = (found("listening"), found("admin listening"));
            (addresses.len() >= listeners && !admin.is_empty()).then(|| (addresses, admin[0]))
        })
        .await;
        (self.addresses, self.admin) = (addresses, admin);
    }

    pub async fn until_ready(&self, limit: Duration) {
        eventually_async("/readyz answers 200", limit, async || {
            (raw::get(self.admin, "localhost", "/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// The first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The access log so far, a JSON value a line.
    pub fn access(&self) -> Vec<Value> {
        let lines = self.access.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        resident(self.process.id())
    }

    /// The number of open files.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Duration {
        let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()));
        let main: u64 = schedstat.ok().and_then(|s| s.split(' ').next()?.parse().ok()).unwrap_or(0);
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).into_iter().flatten().flatten();
        let all: u64 = threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(all.max(main))
    }

    /// Sends a signal by name (`TERM`, `HUP`, `KILL`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.process.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the process to end by itself.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let process = &mut self.process;
        eventually("the gateway exits", limit, || process.try_wait().expect("a child of ours")).await
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!(
                "-- the gateway's log:\n{}",
                lines.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

/// Runs a command of the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

/// `postern check` on a file.
pub fn check(file: &Path) -> Output {
    // Secrets that examples take from the environment.
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let mut command = program();
    command
        .arg("check")
        .arg("--config")
        .arg(file)
        .envs([("SHOP_SECRET", "x"), ("POSTERN_SECRET", "x")])
        .env("POSTERN_SESSION_KEY", key);
    command.stdin(Stdio::null()).output().expect("the program starts")
}

/// Resident memory of a process in bytes.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// Whoever runs the tests may have variables of their own; the program shall not see them.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POSTERN_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn program() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_postern")))
}

/// The shell sets the limit and becomes the program, so that the process id stays.
fn limited(open_files: u64) -> Command {
    let mut command = clean(Command::new("sh"));
    command.arg("-c").arg(format!("ulimit -n {open_files}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_postern"));
    command
}

fn gather(from: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            kept.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

/// The fields of a log line, if it is this event; whether they are nested under `fields` or flat.
fn event(line: &str, message: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    let fields = if value["fields"].is_object() { value["fields"].clone() } else { value };
    (fields["message"] == message).then_some(fields)
}
