//! From a socket to the gateway: binding, accepting, TLS, the watch below hyper, HTTP/1.1 and HTTP/2, draining.

pub mod admin;
pub mod bind;
mod chunked;
mod conn;
pub mod guard;
pub mod head;
mod stream;
pub mod tls;
pub mod worker;

pub use bind::{Address, BindError, Sockets};
pub use conn::ConnectionRules;
pub use worker::{Listener, Worker};
