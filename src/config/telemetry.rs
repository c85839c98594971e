//! `telemetry`: what Postern says about itself and about requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{NotYet, words};

/// What Postern says about itself and about requests.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// What happens to the process, to stderr.
    pub log: Log,
    /// One line a request, to stdout.
    pub access_log: AccessLog,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<NotYet>,
}

/// What happens to the process, to stderr.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important level that is written; `RUST_LOG` overrides it.
    pub level: LogLevel,
    /// `json` or `text`; `auto` is text on a terminal and JSON elsewhere.
    pub format: LogFormat,
}

words! {
    /// How much is logged.
    LogLevel { Off = "off", Error = "error", Warn = "warn", #[default] Info = "info", Debug = "debug", Trace = "trace" }
}
words! {
    /// How a log line looks.
    LogFormat { #[default] Auto = "auto", Json = "json", Text = "text" }
}
words! {
    /// How a request's line looks.
    AccessLog { #[default] Json = "json", Text = "text", Off = "off" }
}
