//! With identity providers that nobody here wrote.

mod introspection;
