//! With identity providers that nobody here wrote.

mod browser;
mod client_auth;
mod django;
mod front;
mod grants;
mod introspection;
