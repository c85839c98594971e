//! `postern demo`: the check that anyone can run passes, and the demo that people watch starts, answers what it says, and
//! ends when it is told to.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{Folder, eventually, gateway, raw};

#[test]
fn every_case_of_the_check_is_as_expected() {
    let output = gateway::run(&["demo", "--check"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let closing = table.lines().last().unwrap_or_default();
    let rows = table.lines().filter(|line| line.ends_with("  ok")).count();
    assert_eq!(closing, format!("{rows} cases, {rows} as expected"));
    assert!(rows >= 40, "{rows} cases");
}

/// The demo as people start it, in a folder of its own.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    folder: Folder,
}

impl Demo {
    fn start() -> Self {
        let folder = Folder::new();
        let mut process = Command::new(env!("CARGO_BIN_EXE_postern"))
            .arg("demo")
            .current_dir(folder.path(""))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, lines, folder }
    }

    /// The lines up to the first that holds this.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut read: Vec<String> = Vec::new();
        loop {
            let came = self.lines.recv_timeout(Duration::from_secs(30));
            let line = came.unwrap_or_else(|_| panic!("{wanted:?} did not come: {read:#?}"));
            let found = line.contains(wanted);
            read.push(line);
            if found {
                return read;
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command of the greeting, taken apart: what `sh` must run, and the status that was promised.
fn promised(line: &str) -> Option<(String, String)> {
    let command = line.trim().strip_prefix("curl -i ")?;
    let words: Vec<&str> = command.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    let (command, status) = (words.first()?, words.get(1)?);
    Some((format!("curl -s -o /dev/null -w '%{{http_code}}' {command}"), (*status).to_owned()))
}

#[tokio::test]
async fn the_commands_of_the_greeting_answer_what_it_promises() {
    let mut demo = Demo::start();
    let greeting = demo.until("ready");
    let folder = demo.folder.path("");
    let commands: Vec<_> = greeting.iter().filter_map(|line| promised(line)).collect();
    assert!(commands.len() >= 5, "{greeting:#?}");
    if has_curl() {
        for (command, status) in &commands {
            let output = Command::new("sh").arg("-c").arg(command).current_dir(&folder).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&output.stdout), *status, "{command}");
        }
        let lines = demo.until("  /shop");
        assert!(lines[0].contains("  -  ") && lines[0].contains("401  credential.missing"), "{lines:#?}");
        let allowed = lines.iter().find(|line| line.contains("machine:batch") && line.contains("  200  "));
        assert!(allowed.is_some_and(|line| line.contains("scope orders:read") && line.contains(" ms")), "{lines:#?}");
    }
    let token = folder.join("demo").join("machine.jwt");
    assert_eq!(mode(&token), 0o600);
}

#[tokio::test]
async fn a_port_that_is_taken_is_replaced_and_the_text_says_so() {
    // One of the two finds all ports taken by the other, or by whoever had them before.
    let (mut first, mut second) = (Demo::start(), Demo::start());
    first.until("ready");
    let greeting = second.until("ready").join("\n");
    let place = greeting.lines().find(|line| line.trim_start().starts_with("gateway")).expect("a line");
    let address = place.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    assert!(address == "127.0.0.1:8080" || place.contains("(port 8080 is taken)"), "{place}");
    assert_eq!(raw::get(address.parse().unwrap(), address, "/public/status").await.status, 200);
}

#[tokio::test]
async fn an_interrupt_ends_everything_cleanly() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start();
        demo.until("ready");
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", demo.process.id())).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let process = &mut demo.process;
        let ended = eventually("the demo ends", Duration::from_secs(15), || process.try_wait().expect("a child")).await;
        assert!(ended.success(), "{signal}: {ended}");
    }
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("the file").permissions().mode() & 0o777
}
