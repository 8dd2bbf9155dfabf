//! Runs of a program that the kernel left out, since another one, or the program itself, was being run.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// How many there were, of the program behind `fd`; 0 where the kernel does not tell (before 5.12).
pub(super) fn of(fd: BorrowedFd<'_>) -> u64 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    info.ok().and_then(|info| recursion_misses(&info)).unwrap_or(0)
}

/// The count of that name in what the kernel says of a program's descriptor.
fn recursion_misses(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read() {
        let info = "pos:\t0\nprog_type:\t2\nrun_cnt:\t9\nrecursion_misses:\t17\nverified_insns:\t3\n";
        assert_eq!(recursion_misses(info), Some(17));
        assert_eq!(recursion_misses("prog_type:\t2\n"), None);
    }
}
