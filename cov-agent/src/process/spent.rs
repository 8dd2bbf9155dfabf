//! What processes take of processors.

use nix::time::ClockId;
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::time::Duration;

/// How long the threads of the process `pid` have run so far, in its program and in the kernel; those that have ended included.
///
/// # Errors
/// There is no such process, or the system fails.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()))?.now()?;
    Ok(time.into())
}

/// How many threads the process `pid` has; none if it has ended.
#[must_use]
pub fn threads(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any number of a process.
    const NOBODY: u32 = (1 << 22) + 1;

    #[test]
    fn own_time_grows_and_threads_are_counted() {
        let own = std::process::id();
        let before = cpu_time(own).unwrap();
        let mut sum = 0u64;
        while cpu_time(own).unwrap() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0 && threads(own) >= 1);
        assert!(cpu_time(NOBODY).is_err());
        assert_eq!(threads(NOBODY), 0);
    }
}
