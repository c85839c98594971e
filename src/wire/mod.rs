//! HTTP itself, knowing nothing of OAuth: what a request is once it is well-formed, bodies, header fields, paths.

pub mod arrival;
pub mod body;
pub mod cookies;
pub mod facts;
pub mod form;
pub mod forwarded;
pub mod headers;
pub mod html;
pub mod owned;
pub mod path;
pub mod upgrade;
pub mod watch;

pub use arrival::Arrival;
pub use body::{Body, BoxError};
pub use facts::Facts;
