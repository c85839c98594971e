//! The process log: what happens to the gateway, to stderr. Comes in: a level, a form, and what `RUST_LOG` says. Goes
//! out: a subscriber for `tracing`, which writes through a [`LineWriter`], so that a stuck reader of stderr holds up
//! nobody who logs.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::writer::LineWriter;

/// What the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Json,
    Text,
}

/// What a log is started with.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    pub format: LogFormat,
    /// The value of `RUST_LOG`, which wins over the level.
    pub rust_log: Option<String>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log level `{filter}` can't be read: {error}")]
    Filter { filter: String, error: String },
    #[error("stderr can't be written to: {0}")]
    Stderr(#[from] std::io::Error),
    #[error("a log was started before")]
    Started,
}

/// The running log. Dropping it writes what is left.
#[derive(Debug)]
pub struct Log(LineWriter);

impl Log {
    /// Starts the log of the process.
    ///
    /// # Errors
    /// [`LogError`] when the filter can't be read, stderr is closed, or a log runs already.
    pub fn start(settings: &LogSettings) -> Result<Self, LogError> {
        let filter = filter(settings)?;
        let writer = LineWriter::stderr("log")?;
        let terminal = std::io::stderr().is_terminal();
        let lines = Lines(writer.clone());
        let json = match settings.format {
            LogFormat::Auto => !terminal,
            LogFormat::Json => true,
            LogFormat::Text => false,
        };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
        let started = if json {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        } else {
            builder.with_ansi(terminal).compact().try_init()
        };
        started.map_err(|_| LogError::Started)?;
        Ok(Self(writer))
    }

    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// The queue behind the log, for a counter of dropped lines.
    pub fn writer(&self) -> &LineWriter {
        &self.0
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(Duration::from_secs(1));
    }
}

/// The level is that of our own events; what libraries say below `warn` is for those who ask by `RUST_LOG`.
fn filter(settings: &LogSettings) -> Result<EnvFilter, LogError> {
    let asked = settings.rust_log.as_deref().filter(|text| !text.trim().is_empty());
    let text = match (asked, settings.level.as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, "" | "info") => "warn,postern=info".to_owned(),
        (None, level @ ("off" | "error")) => level.to_owned(),
        (None, level) => format!("warn,postern={level}"),
    };
    EnvFilter::try_new(&text).map_err(|error| LogError::Filter { filter: text, error: error.to_string() })
}

#[derive(Clone, Debug)]
struct Lines(LineWriter);

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line(&self.0)
    }
}

/// `tracing` hands over each event whole.
struct Line<'w>(&'w LineWriter);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(level: &str, rust_log: Option<&str>) -> Result<String, LogError> {
        let settings =
            LogSettings { level: level.into(), rust_log: rust_log.map(str::to_owned), ..LogSettings::default() };
        filter(&settings).map(|filter| filter.to_string())
    }

    #[test]
    fn the_level_is_that_of_our_own_events() {
        let debug = filtered("debug", None).unwrap();
        assert!(debug.contains("postern=debug") && debug.contains("warn"), "{debug}");
        assert_eq!(filtered("off", None).unwrap(), "off");
    }

    #[test]
    fn rust_log_wins_unless_it_is_empty() {
        assert_eq!(filtered("debug", Some("hyper=trace")).unwrap(), "hyper=trace");
        assert!(filtered("debug", Some(" ")).unwrap().contains("postern=debug"));
    }

    #[test]
    fn a_level_that_is_none_is_told() {
        assert!(matches!(filtered("loud", None), Err(LogError::Filter { .. })));
    }
}
