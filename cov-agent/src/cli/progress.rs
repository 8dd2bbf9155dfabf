//! What the agent is doing, for anything that takes longer than half a second; on a terminal only.

use super::console::{Console, DIM, Verbosity};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a stage may take before anything is shown.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// One line that shows a stage while it lasts. It is wiped when the value is dropped, so that
/// nothing of it is left when the program writes to the same terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    done: AtomicUsize,
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Progress {
    /// Begins a stage of `total` equal steps; 0 if nobody knows how many.
    #[must_use]
    pub(crate) fn start(console: Console, stage: &'static str, total: usize) -> Self {
        let shared = Arc::new(Shared { done: AtomicUsize::new(0), stopped: Mutex::new(false), wake: Condvar::new() });
        let drawer = (console.is_terminal() && console.verbosity() == Verbosity::Normal).then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || draw(console, stage, total, &shared))
        });
        Self { shared, drawer }
    }

    /// One step is done.
    pub(crate) fn step(&self) {
        self.shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

fn draw(console: Console, stage: &str, total: usize, shared: &Shared) {
    let begun = Instant::now();
    let mut stopped = shared.stopped.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wait = PATIENCE;
    let mut drawn = false;
    loop {
        let (guard, timeout) = shared.wake.wait_timeout(stopped, wait).unwrap_or_else(PoisonError::into_inner);
        stopped = guard;
        if *stopped {
            break;
        }
        if timeout.timed_out() && begun.elapsed() >= PATIENCE {
            let line = line(stage, shared.done.load(Ordering::Relaxed), total, begun.elapsed(), console.width());
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", console.paint(DIM, &line));
            drawn = true;
            wait = REDRAW;
        }
    }
    if drawn {
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
}

/// The line, short enough not to wrap.
fn line(stage: &str, done: usize, total: usize, elapsed: Duration, width: usize) -> String {
    let seconds = elapsed.as_secs();
    let text = match total {
        0 | 1 => format!("cov-agent: {stage} … {seconds} s"),
        _ => format!("cov-agent: {stage} … {done}/{total}, {seconds} s"),
    };
    text.chars().take(width.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_never_wraps() {
        let s = Duration::from_millis(2700);
        assert_eq!(line("reading debug info", 3, 12, s, 80), "cov-agent: reading debug info … 3/12, 2 s");
        assert_eq!(line("arming probes", 0, 0, s, 80), "cov-agent: arming probes … 2 s");
        assert_eq!(line("arming probes", 0, 0, s, 10), "cov-agent");
    }
}
