//! Postern: a gateway that enforces OAuth 2.0 access tokens in front of APIs.
//!
//! A request walks one way: listener ([`server`]) → route ([`plan`]) → credential ([`authn`]) → decision
//! ([`policy`]) → upstream ([`outbound`], [`upstream`]); [`gateway`] is that walk on one screen. What the operator
//! wrote ([`config`]) becomes what runs ([`plan`]) once, checked and immutable. Everything that talks to an identity
//! provider ([`idp`]) runs on one background runtime ([`control`]); traffic stays on the worker that accepted it.
//!
//! Modules import downwards only; `tests/it/layers.rs` holds the levels and fails on an import that points up.

pub mod admin;
pub mod app;
pub mod authn;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod deadline;
pub mod devidp;
pub mod flight;
pub mod gateway;
pub mod idp;
pub mod jose;
pub mod kv;
pub mod login;
pub mod outbound;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod seal;
pub mod server;
pub mod session;
pub mod telemetry;
pub mod upstream;
pub mod wire;
