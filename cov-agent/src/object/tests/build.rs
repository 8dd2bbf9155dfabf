//! Compiling small programs, and asking other tools about them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with sources and what was built of them.
pub(super) struct Build {
    dir: tempfile::TempDir,
}

impl Build {
    /// An empty directory, by its real path.
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Writes a file, and the directories above it.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a command line, split at blanks, in the directory; it must succeed. Returns its output.
    pub(super) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        self.command(words.next().unwrap(), &words.collect::<Vec<_>>())
    }

    /// Runs a program in the directory; it must succeed. Returns its output.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> String {
        let output = Command::new(program)
            .args(args)
            .current_dir(self.path(""))
            .env("GOFLAGS", "-mod=mod")
            .env("GOCACHE", std::env::temp_dir().join("cov-agent-test-go-cache"))
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// One row as `llvm-dwarfdump --debug-line` prints it: address, line, number of the file, statement, end of sequence.
pub(super) type DumpedRow = (u64, u32, u32, bool, bool);

/// The line table as LLVM reads it: unit after unit.
pub(super) fn dumped_rows(build: &Build, object: &Path) -> Vec<DumpedRow> {
    let text = build.command("llvm-dwarfdump-14", &["--debug-line", object.to_str().unwrap()]);
    let mut rows = Vec::new();
    for line in text.lines().filter(|l| l.starts_with("0x")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |n: usize| words.get(n).unwrap().parse().unwrap();
        let address = u64::from_str_radix(words[0].trim_start_matches("0x"), 16).unwrap();
        rows.push((address, number(1), number(3), words.contains(&"is_stmt"), words.contains(&"end_sequence")));
    }
    rows
}

/// Functions by `nm -S`: name, start, length.
pub(super) fn nm_functions(build: &Build, object: &Path) -> Vec<(String, u64, u64)> {
    let text = build.command("nm", &["-S", "--defined-only", object.to_str().unwrap()]);
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let mut functions = Vec::new();
    for line in text.lines() {
        if let [start, size, "t" | "T" | "W" | "i", name] = line.split_whitespace().collect::<Vec<_>>()[..] {
            functions.push((name.to_owned(), hex(start), hex(size)));
        }
    }
    functions
}
