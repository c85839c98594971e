//! What the gateway tells of itself: the process log on stderr, one line a request on stdout ([`access`]), metrics
//! ([`metrics`]). Comes in: facts that rooms hand over. Goes out: lines and numbers that hold no token, no cookie and
//! no query, with every byte that a client chose escaped.

pub mod access;
pub mod log;
pub mod meters;
pub mod metrics;
mod writer;

pub use access::{AccessFormat, AccessLog, AccessRecord};
pub use log::{Log, LogError, LogFormat, LogSettings};
pub use meters::{Distribution, Observation, RouteMeters};
pub use metrics::{Kind, Metrics, Sample, Times};
pub use writer::LineWriter;
