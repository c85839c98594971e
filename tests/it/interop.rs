//! With identity providers that nobody here wrote.

mod browser;
mod django;
mod front;
mod grants;
mod introspection;
