//! What `auto` means on this machine.

/// One worker for each processor that this process may use; the standard library counts the CPU quota of a container.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A third of the files that may be open (a connection may need one on either side, and the process needs some for
/// itself), at most 20,000. Raises the soft limit to the hard one first.
pub fn connections() -> usize {
    const MOST: u64 = 20_000;
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    usize::try_from((files / 3).clamp(16, MOST)).unwrap_or(16)
}
