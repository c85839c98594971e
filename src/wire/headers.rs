//! Hop-by-hop removal, owned names, safe values. (to be written)
