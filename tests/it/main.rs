//! Black-box tests: the real program over real sockets, with an upstream that records every byte. One binary, so that
//! the suite links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the bans keep time, tasks and buffers of the gateway in hand, not those of its tests"
)]

mod actions;
mod answers;
mod basic;
mod browser;
mod client_auth;
mod contracts;
mod demo;
mod docs;
mod faults;
mod framing;
mod harness;
mod headers;
mod http2;
mod inside;
mod interop;
mod introspection;
mod layers;
mod online;
mod paths;
mod sessions;
mod sidecar;
mod stores;
mod streaming;
mod supply_chain;
mod support;
mod tls;
mod tokens;
mod upstream_tokens;
