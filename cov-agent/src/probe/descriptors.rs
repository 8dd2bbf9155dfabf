//! Descriptors for probes that are perf events: each probe is one, and a process may have only so many.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;

/// Descriptors that are kept for all else: objects, counters, output.
const RESERVED: u64 = 512;

/// Raises this process's limit on descriptors as far as it may, and says how many probes that leaves room for. What
/// the agent starts has the limit that the agent had.
pub(super) fn for_probes() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let machine = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    // Beyond the hard limit only with CAP_SYS_RESOURCE.
    let wanted = [machine.unwrap_or(hard).max(hard), hard];
    let raised = wanted.into_iter().find(|&limit| setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_ok());
    room(raised.unwrap_or(soft))
}

/// How many probes a limit on descriptors leaves room for.
fn room(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVED).max(limit / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_all_else() {
        assert_eq!(room(1024), 512);
        assert_eq!(room(1_048_576), 1_048_064);
        assert_eq!(room(256), 128);
    }
}
