//! Programs whose code is mapped by huge pages are measured as others are: the kernel splits a page where it puts a breakpoint.

use cov_tests::{Agent, Outcome, compile_text, kernel, mount, own_run_directory, scratch};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const FUNCTIONS: u32 = 300;
/// The lines of a function, and of what stands before the first.
const LINES: u32 = 6;
const BEFORE: u32 = 1;

/// Calls each of many functions once for each byte that it reads, and says the sum of what they gave.
fn text() -> String {
    let mut text = "#include <stdio.h>\n".to_owned();
    for n in 0..FUNCTIONS {
        let _ = writeln!(
            text,
            "static long f{n}(long x) {{\n    long y = x + {n};\n    if (y % 3 == 0)\n        y += 1;\n    return y;\n}}"
        );
    }
    let calls: String = (0..FUNCTIONS).map(|n| format!(" sum += f{n}({n});")).collect();
    // Fills up pages, so that those before it are whole.
    text.push_str("__asm__(\".text\\n.skip 6291456, 0x90\");\n");
    let _ = writeln!(
        text,
        "int main(void) {{\n    puts(\"ready\");\n    fflush(stdout);\n    while (getchar() != EOF) {{\n        long sum = 0;\n        \
         {calls}\n        printf(\"%ld\\n\", sum);\n        fflush(stdout);\n    }}\n    return 0;\n}}"
    );
    text
}

/// What the functions' lines count after `turns`; the signature's, the body's, and the end's.
fn truth(turns: u64) -> BTreeMap<u32, u64> {
    let of = |n: u32| {
        let added = if n.is_multiple_of(3) { turns } else { 0 };
        [turns, turns, turns, added, turns, turns]
            .into_iter()
            .zip(BEFORE + 1 + n * LINES..)
            .map(|(count, line)| (line, count))
    };
    (0..FUNCTIONS).flat_map(of).collect()
}

struct Target {
    child: Child,
    stdout: BufReader<ChildStdout>,
    program: PathBuf,
}

impl Target {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut this = Self { stdout: BufReader::new(child.stdout.take().unwrap()), child, program: program.into() };
        assert_eq!(this.hear(), "ready");
        this
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn turn(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let sum: u32 = (0..FUNCTIONS).map(|n| 2 * n + u32::from(n.is_multiple_of(3))).sum();
        assert_eq!(self.hear(), sum.to_string());
    }

    /// How much of its code is mapped by huge pages, in KiB.
    fn huge(&self) -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", self.child.id())).unwrap();
        let name = self.program.to_str().unwrap();
        let mut lines = maps.lines().skip_while(|line| !(line.contains(" r-xp ") && line.ends_with(name)));
        let found = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:")).unwrap();
        found.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Attaches to a program whose code lies in huge pages, with these options, and lets it go round three times. Nothing
/// where this kernel has no such pages.
fn attached(options: &[&str]) -> Option<Outcome> {
    if !kernel() {
        return None;
    }
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        eprintln!("this kernel has no transparent huge pages: nothing is tested");
        return None;
    }
    own_run_directory("size=64m");
    let (dir, shared) = (scratch(), scratch());
    mount(&["-t", "tmpfs", "-o", "huge=always,size=64m", "none", shared.path().to_str().unwrap()]);
    let built = compile_text(dir.path(), "huge", &text());
    let program = shared.path().canonicalize().unwrap().join("huge");
    let aligned = ["-g", "-O0", "-Wl,-z,max-page-size=0x200000,-z,separate-code", "-o"];
    let gcc = Command::new("gcc").args(aligned).arg(&built).arg("huge.c").current_dir(dir.path()).status().unwrap();
    assert!(gcc.success());
    // Where memory is in pieces, there is no such page until the kernel has put them together.
    let mut target = (0..5)
        .find_map(|_| {
            let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
            let _ = std::fs::remove_file(&program);
            std::fs::copy(&built, &program).unwrap();
            let mut target = Target::start(&program);
            target.turn();
            (target.huge() > 0).then_some(target)
        })
        .expect("code in huge pages");
    let agent = Agent::attach(&[target.child.id()]).args(options).arg("--verbose").start();
    assert_eq!(target.huge(), 0, "it is split");
    (0..3).for_each(|_| target.turn());
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    // It goes on unharmed.
    target.turn();
    drop(target.child.stdin.take());
    assert_eq!(target.child.wait().unwrap().code(), Some(0));
    let unmounted = Command::new("umount").arg("--lazy").arg(shared.path()).status().unwrap();
    assert!(unmounted.success());
    Some(outcome)
}

/// The lines of the functions whose counts are others than after `turns`, with what both are to `of`.
fn wrong(outcome: &Outcome, turns: u64, of: fn(u64) -> u64) -> Vec<(u32, Option<u64>, u64)> {
    let lines = &outcome.coverage.file("huge.c").lines;
    let both = truth(turns).into_iter().map(|(line, truth)| (line, lines.get(&line).copied().map(of), of(truth)));
    both.filter(|(_, count, truth)| *count != Some(*truth)).collect()
}

#[test]
fn counts_are_exact() {
    let Some(outcome) = attached(&[]) else { return };
    assert_eq!(wrong(&outcome, 3, |count| count), [], "{}", outcome.stderr());
}

#[test]
fn probes_go_from_them() {
    let Some(outcome) = attached(&["--lines-only"]) else { return };
    let stderr = outcome.stderr();
    assert_eq!(wrong(&outcome, 3, |count| count.min(1)), [], "{stderr}");
    let (_, taken) = stderr.split_once(" counters: took ").unwrap_or_else(|| panic!("{stderr}"));
    let taken: u32 = taken.split_once(' ').unwrap().0.parse().unwrap();
    assert!(taken > FUNCTIONS, "{stderr}");
}
