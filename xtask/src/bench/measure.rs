//! What a command costs.

use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Debug, Clone)]
pub(super) struct Cost {
    /// From start to end.
    pub(super) wall: Duration,
    /// Processor time of it and of all that it started.
    pub(super) cpu: Duration,
    /// From its end until the last process that it left behind had ended.
    pub(super) after: Duration,
    /// What it said on stderr.
    pub(super) said: String,
}

/// Runs `command` once, and waits for what it leaves behind; its output is thrown away.
pub(super) fn once(command: &mut Command) -> Result<Cost> {
    let mut stderr = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?);
    let (start, spent) = (Instant::now(), spent()?);
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let wall = start.elapsed();
    wait_for_orphans()?;
    let after = start.elapsed() - wall;
    let cpu = self::spent()?.saturating_sub(spent);
    let mut said = String::new();
    stderr.rewind()?;
    stderr.read_to_string(&mut said)?;
    if !status.success() {
        bail!("{command:?}: {status}\n{said}");
    }
    Ok(Cost { wall, cpu, after, said })
}

/// Processor time of all children that were waited for.
fn spent() -> Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory for what is written.
    #[expect(unsafe_code, reason = "getrusage(2) has no wrapper in the standard library")]
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error()).context("getrusage");
        }
        usage.assume_init()
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

/// Runs the commands in turns, `rounds` times each, so that what else the machine does hits all of them.
pub(super) fn interleaved(rounds: usize, commands: &mut [Command]) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); commands.len()];
    for _ in 0..rounds {
        for (command, series) in commands.iter_mut().zip(&mut series) {
            series.0.push(once(command)?);
        }
    }
    Ok(series)
}

/// Several runs of one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Series(Vec<Cost>);

impl Series {
    /// The median time in milliseconds.
    pub(super) fn millis(&self) -> f64 {
        self.median(|cost| cost.wall.as_secs_f64() * 1e3)
    }

    /// The median processor time in milliseconds.
    pub(super) fn cpu_millis(&self) -> f64 {
        self.median(|cost| cost.cpu.as_secs_f64() * 1e3)
    }

    /// The median of something about a run.
    pub(super) fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        let mut all: Vec<_> = self.0.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    }

    /// What the last run said.
    pub(super) fn said(&self) -> &str {
        self.0.last().map(|cost| cost.said.as_str()).unwrap_or_default()
    }
}

/// Makes this process the parent of whatever its children leave behind.
pub(super) fn adopt_orphans() -> Result<()> {
    // SAFETY: takes integers.
    #[expect(unsafe_code, reason = "prctl(2) has no wrapper in the standard library")]
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("becoming a reaper") }
}

/// Waits until no child is left: the agent leaves one behind that disarms its probes, and until then
/// the next run would pay for them.
pub(super) fn wait_for_orphans() -> Result<()> {
    loop {
        // SAFETY: the pointer may be null.
        #[expect(unsafe_code, reason = "the standard library waits for its own children only")]
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if pid < 0 {
            let error = std::io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ECHILD) => return Ok(()),
                Some(libc::EINTR) => {}
                _ => return Err(error).context("waitpid"),
            }
        }
    }
}
