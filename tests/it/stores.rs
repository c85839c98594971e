//! F12 to F16 at the store itself: Redis is away, silent, slow, restarted empty, fails over, or holds what is not ours.

mod failover;
mod gateway;
mod guarded;
mod outages;
mod shared_answers;
