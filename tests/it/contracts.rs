//! What every implementation of a closed set must keep, whatever it is made of: one suite, run over all of them.

mod kv;
mod session_store;
