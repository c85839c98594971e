//! What the demo makes of the access log. Comes in: its JSON lines, through [`JournalWriter`]. Goes out: a line for people
//! on the terminal (who, route, verdict, why), and the last requests for the page and for `--check`, by request id.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

/// Requests that are remembered.
const KEPT: usize = 256;
/// A line of the access log is shorter.
const LINE_LIMIT: usize = 64 * 1024;
/// The log lags behind the answer by milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// The page's own calls for explanations say nothing about the gateway.
pub const SILENT_ROUTE: &str = "demo-feed";

/// One request as the access log tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    pub time: String,
    pub request_id: String,
    pub route: Option<String>,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub reason: Option<String>,
    pub subject: Option<String>,
    pub client_id: Option<String>,
    pub kind: Option<String>,
    pub upstream: Option<String>,
    pub total_ms: f64,
    pub upstream_ms: Option<f64>,
}

/// The last requests.
pub struct Journal {
    entries: Mutex<VecDeque<Entry>>,
    changed: watch::Sender<u64>,
    /// What each route demands, in words.
    demands: HashMap<String, String>,
}

impl Journal {
    pub fn new(demands: HashMap<String, String>) -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), changed: watch::Sender::new(0), demands })
    }

    /// The request of this id, as soon as the log has it.
    pub async fn entry(&self, request_id: &str) -> Option<Entry> {
        let find = || {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().rev().find(|entry| entry.request_id == request_id).cloned()
        };
        let mut changed = self.changed.subscribe();
        let _ = tokio::time::timeout(PATIENCE, changed.wait_for(|_| find().is_some())).await;
        find()
    }

    /// What a route demands: `scope orders:read`, `public`.
    pub fn demand(&self, route: &str) -> &str {
        self.demands.get(route).map_or("", String::as_str)
    }

    fn keep(&self, entry: Entry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
        drop(entries);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// `14:03:19  machine:batch  GET  /orders          200  scope orders:read          0.4 ms (upstream 0.3)`
    fn line(&self, entry: &Entry) -> String {
        let clock = entry.time.get(11..19).unwrap_or("--:--:--");
        let who = match (&entry.kind, entry.subject.as_ref().or(entry.client_id.as_ref())) {
            (Some(kind), Some(name)) => format!("{kind}:{}", name.escape_default()),
            _ => "-".to_owned(),
        };
        let demand = entry.route.as_deref().map_or("", |route| self.demand(route));
        let why = entry.reason.as_deref().unwrap_or(demand);
        let (method, path) = (entry.method.escape_default().to_string(), entry.path.escape_default().to_string());
        let mut line = format!("{clock}  {who:<13}  {method:<4} {path:<15}  {}  {why:<25}", entry.status);
        if let Some(upstream) = entry.upstream_ms {
            line.push_str(&format!("  {:.1} ms (upstream {upstream:.1})", entry.total_ms));
        }
        line.trim_end().to_owned()
    }
}

/// Where the access log writes to.
pub struct JournalWriter {
    journal: Arc<Journal>,
    /// Whether people watch.
    prints: bool,
    line: Vec<u8>,
}

impl JournalWriter {
    pub fn new(journal: Arc<Journal>, prints: bool) -> Self {
        Self { journal, prints, line: Vec::new() }
    }

    fn take(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let Ok(entry) = serde_json::from_slice::<Entry>(&line) else { return Ok(()) };
        let silent = entry.route.as_deref() == Some(SILENT_ROUTE);
        let shown = (self.prints && !silent).then(|| self.journal.line(&entry));
        self.journal.keep(entry);
        match shown {
            Some(shown) => writeln!(io::stdout().lock(), "{shown}"),
            None => Ok(()),
        }
    }
}

impl Write for JournalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                self.take()?;
            } else if self.line.len() < LINE_LIMIT {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.prints { io::stdout().flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Arc<Journal> {
        Journal::new(HashMap::from([("orders-read".to_owned(), "scope orders:read".to_owned())]))
    }

    const ALLOWED: &[u8] = br#"{"time":"2026-08-20T14:03:19.123Z","request_id":"a","route":"orders-read","method":"GET","path":"/orders","status":200,"kind":"machine","subject":"batch","total_ms":0.412,"upstream_ms":0.301}
"#;

    #[tokio::test]
    async fn a_line_of_the_log_becomes_an_entry_however_it_is_cut() {
        let journal = journal();
        let mut writer = JournalWriter::new(Arc::clone(&journal), false);
        for part in ALLOWED.chunks(7) {
            writer.write_all(part).unwrap();
        }
        assert_eq!(journal.entry("a").await.unwrap().status, 200);
    }

    #[test]
    fn a_line_says_who_route_verdict_and_why() {
        let journal = journal();
        let allowed: Entry = serde_json::from_slice(ALLOWED).unwrap();
        let wanted =
            "14:03:19  machine:batch  GET  /orders          200  scope orders:read          0.4 ms (upstream 0.3)";
        assert_eq!(journal.line(&allowed), wanted);
        let refused = Entry {
            reason: Some("credential.missing".to_owned()),
            status: 401,
            kind: None,
            upstream_ms: None,
            ..allowed
        };
        assert_eq!(journal.line(&refused), "14:03:19  -              GET  /orders          401  credential.missing");
    }
}
