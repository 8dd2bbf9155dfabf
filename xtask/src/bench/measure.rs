//! What a command costs.

use anyhow::{Context as _, Result, bail};
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// From start to end.
    pub(super) wall: Duration,
    /// The largest resident set of the command and of what it started, in KiB.
    pub(super) peak: u64,
}

/// Runs `command` once; its output is thrown away.
pub(super) fn once(command: &mut Command) -> Result<Cost> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    let (status, peak) = wait(i32::try_from(child.id())?)?;
    let wall = start.elapsed();
    if status != 0 {
        bail!("{command:?}: wait status {status:#x}");
    }
    Ok(Cost { wall, peak })
}

/// Runs the commands in turns, `rounds` times each, so that what else the machine does hits all of them.
pub(super) fn interleaved<const N: usize>(rounds: usize, mut commands: [Command; N]) -> Result<[Series; N]> {
    let mut series = [const { Series(Vec::new()) }; N];
    for _ in 0..rounds {
        for (command, series) in commands.iter_mut().zip(&mut series) {
            series.0.push(once(command)?);
        }
    }
    Ok(series)
}

/// Several runs of one command.
#[derive(Debug, Clone)]
pub(super) struct Series(Vec<Cost>);

impl Series {
    /// The median time in milliseconds.
    pub(super) fn millis(&self) -> f64 {
        let mut times: Vec<_> = self.0.iter().map(|cost| cost.wall).collect();
        times.sort();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// The largest resident set of all runs, in MiB.
    pub(super) fn peak(&self) -> f64 {
        let peak = self.0.iter().map(|cost| cost.peak).max().unwrap_or(0);
        f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1024.0
    }
}

/// Waits for a child: its wait status and its largest resident set in KiB.
fn wait(pid: i32) -> Result<(i32, u64)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live, writable values of the right types; `usage` is valid zeroed.
    #[expect(unsafe_code, reason = "wait4(2) tells what one child cost; the standard library does not")]
    let usage = unsafe {
        if libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) < 0 {
            return Err(std::io::Error::last_os_error()).context("wait4");
        }
        usage.assume_init()
    };
    Ok((status, u64::try_from(usage.ru_maxrss)?))
}
