//! A program of its own that measures with the library ends its measurement whichever way it comes.

use cov_tests::{Build, Coverage, built, fixture, kernel, own_run_directory, scratch};
use std::fs::{File, read_dir, read_to_string};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long the kernel may take to disarm a handful of probes; it takes a twentieth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// The example of the library, built.
fn example() -> PathBuf {
    built("--example", "measure", "examples/measure")
}

/// A program that says `ready`, and then each byte that it reads.
struct Target {
    child: Child,
    stdout: BufReader<ChildStdout>,
    program: PathBuf,
}

impl Target {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut this = Self { stdout: BufReader::new(child.stdout.take().unwrap()), child, program: program.into() };
        this.hear("ready\n");
        this
    }

    fn hear(&mut self, wanted: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, wanted);
    }

    /// Lets it go once round its loop, and waits until it has.
    fn work(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"o").unwrap();
        self.hear("o\n");
    }

    /// How many bytes of its code are other in its memory than in the file.
    fn breakpoints(&self) -> usize {
        let maps = read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        let name = self.program.to_str().unwrap();
        let text = maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with(name)).unwrap();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = fields[0].split_once('-').map(|(start, end)| (number(start), number(end))).unwrap();
        let read = |file: &str, at: u64| {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            let length = File::open(file).unwrap().read_at(&mut bytes, at).unwrap();
            bytes.truncate(length);
            bytes
        };
        let (memory, file) = (read(&format!("/proc/{}/mem", self.child.id()), start), read(name, number(fields[2])));
        memory.iter().zip(&file).filter(|(now, then)| now != then).count()
    }

    /// Waits until it has no breakpoint any more.
    fn wait_until_disarmed(&self) {
        let begun = Instant::now();
        while self.breakpoints() > 0 {
            assert!(begun.elapsed() < PATIENCE, "breakpoints stay");
            std::thread::yield_now();
        }
    }

    fn finish(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

/// Measures a program that goes on until the example gets `signal`, or `seconds` are over, and looks for what it left. Gives
/// how it ended, and what it wrote.
fn end_by(signal: Option<i32>, seconds: &[&str]) -> Option<(Output, Option<Coverage>)> {
    if !kernel() {
        return None;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = dir.path().canonicalize().unwrap().join("target");
    Build::with("gcc", dir.path()).args(["-g", "-o"]).args([&program, &fixture("cli/rounds.c")]).run();
    let mut target = Target::start(&program);
    let file = dir.path().join("lcov.info");
    let mut measure = Command::new(example());
    measure.arg(target.child.id().to_string()).arg(&file).args(seconds);
    let mut measure = measure.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    measure.stdout.as_mut().unwrap().read_exact(&mut [0; "measuring\n".len()]).unwrap();
    if let Some(signal) = signal {
        assert!(target.breakpoints() > 3, "it is armed");
        (0..3).for_each(|_| target.work());
        // SAFETY: takes two integers; the process is a child that was not waited for.
        #[expect(unsafe_code, reason = "the standard library sends SIGKILL only")]
        unsafe {
            libc::kill(measure.id().cast_signed(), signal)
        };
    }
    let output = measure.wait_with_output().unwrap();
    target.wait_until_disarmed();
    // It is as before, and so is one that is started later.
    target.work();
    target.finish();
    let later = Target::start(&program);
    later.wait_until_disarmed();
    later.finish();
    // Nothing was promised to anybody who would have to recover it.
    assert!(read_dir("/run/cov-agent").map_or(0, Iterator::count) == 0);
    Some((output, file.exists().then(|| Coverage::read_lcov(&file))))
}

/// The loop was entered three times, and what is behind it never.
fn assert_counted(coverage: Option<&Coverage>) {
    let lines = &coverage.expect("results were written").file("rounds.c").lines;
    assert_eq!((lines[&10], lines[&11], lines[&14]), (3, 3, 0), "{lines:?}");
}

#[test]
fn an_interrupt() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let Some((output, coverage)) = end_by(Some(signal), &[]) else { return };
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_counted(coverage.as_ref());
    }
}

#[test]
fn a_panic_of_who_uses_it() {
    let Some((output, coverage)) = end_by(Some(libc::SIGUSR1), &[]) else { return };
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody has written this part yet"), "{output:?}");
    assert_counted(coverage.as_ref());
}

#[test]
fn time_that_is_over() {
    let Some((output, coverage)) = end_by(None, &["0.1"]) else { return };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = coverage.expect("results were written").file("rounds.c").lines.clone();
    assert!(!lines.is_empty() && lines.values().all(|count| *count == 0), "nothing went on: {lines:?}");
}

/// There is nobody to write anything; but what runs is unharmed.
#[test]
fn a_kill() {
    let Some((output, coverage)) = end_by(Some(libc::SIGKILL), &[]) else { return };
    assert_eq!((output.status.code(), coverage.is_none()), (None, true), "{output:?}");
}
