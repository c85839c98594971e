//! Signed authorization requests (RFC 9101), in the address and pushed (RFC 9126).
