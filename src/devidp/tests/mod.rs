//! The provider, asked over real sockets: each grant with its refusals, each fault, and the sign-in page as a browser
//! meets it.
#![expect(clippy::panic, clippy::disallowed_methods, reason = "a test may panic, and starts its own peers")]

mod support;

mod basics;
mod clients;
mod faults;
mod front_channel;
mod grants;
mod logout;
mod sign_in;
mod tokens;
