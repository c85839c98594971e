//! Config → Plan: what the operator wrote, checked and compiled into what runs.

pub mod router;
pub mod running;
