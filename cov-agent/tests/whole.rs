//! The old file or the new one, whatever happens while it is written; and several agents in one directory.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

mod common;

use common::output;
use cov_agent::coverage::Snapshot;
use cov_agent::coverage::synthetic::synthetic;
use cov_agent::format::{self, Format, Limits, raw};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const AGENT: &str = env!("CARGO_BIN_EXE_cov-agent");
const FORMATS: &str = "coverage,json,raw,lcov,cobertura,parquet";

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(read).collect()
}

/// `cov-agent merge data --output out`, in every format.
fn merge(program: &[&str], root: &Path, data: &str, out: &str) -> Command {
    let mut words = program.iter().copied().chain([AGENT]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(root).args(["merge", data, "--output", out, "--format", FORMATS]);
    command.env_remove("COV_AGENT_CONFIG").stdin(Stdio::null());
    command
}

/// Two runs' data, and what each of them looks like when it is written.
struct Cases {
    root: tempfile::TempDir,
    old: Files,
    new: Files,
}

impl Cases {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let written = |run: u64, name: &str| {
            let mut data = Vec::new();
            raw::write(&synthetic(run, 3, 20), &mut data).unwrap();
            fs::write(root.path().join(format!("{name}.dat")), data).unwrap();
            output(&mut merge(&[], root.path(), &format!("{name}.dat"), &format!("only-{name}")));
            files(&root.path().join(format!("only-{name}")))
        };
        let (old, new) = (written(1, "old"), written(2, "new"));
        assert_eq!(old.len(), Format::ALL.len());
        assert!(old.iter().all(|(name, bytes)| new[name] != *bytes || name == ".coverage"));
        Self { root, old, new }
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Writes the new data over the old ones, with `program` in between.
    fn overwrite(&self, program: &[&str]) -> std::process::ExitStatus {
        let out = self.out();
        fs::create_dir_all(&out).unwrap();
        files(&out).keys().for_each(|name| fs::remove_file(out.join(name)).unwrap());
        self.old.iter().for_each(|(name, bytes)| fs::write(out.join(name), bytes).unwrap());
        merge(program, self.root.path(), "new.dat", "out").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    }

    /// Says whether any file is new. None may be neither old nor new.
    fn whole(&self, what: &str) -> bool {
        let found = files(&self.out());
        let mut any = false;
        for (name, old) in &self.old {
            let is = found.get(name).unwrap_or_else(|| panic!("{what}: {name} is gone"));
            assert!(is == old || *is == self.new[name], "{what}: {name} is neither the old nor the new one");
            any |= is != old;
        }
        any
    }
}

#[test]
fn killed_before_any_system_call() {
    let cases = Cases::new();
    let mut killed = 0;
    let mut renamed = 0;
    for call in ["openat", "write", "fsync", "flock", "renameat", "close", "exit_group"] {
        for at in 1.. {
            let inject = format!("inject={call}:signal=SIGKILL:when={at}");
            let status = cases.overwrite(&["strace", "-f", "-o", "/dev/null", "-e", &inject]);
            let what = format!("killed at {call} {at}");
            renamed += usize::from(cases.whole(&what));
            if status.signal().is_none() {
                // It does not make so many.
                assert!(status.success() && at > 1, "{what}: {status}");
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 40 && renamed > 6, "{killed} kills, {renamed} of them late");
    // What killed agents left behind goes away with the next one.
    let leave = cases.overwrite(&["strace", "-f", "-o", "/dev/null", "-e", "inject=renameat:signal=SIGKILL:when=1"]);
    assert!(leave.signal().is_some());
    assert!(files(&cases.out()).len() > cases.old.len());
    output(&mut merge(&[], cases.root.path(), "new.dat", "out"));
    assert!(files(&cases.out()) == cases.new);
}

#[test]
fn errors_of_any_system_call() {
    let cases = Cases::new();
    // Files are synced side by side, and strace counts the calls of each thread: there is only a first one.
    let formats = Format::ALL.len();
    let calls =
        [("write", "ENOSPC", formats), ("write", "EIO", formats), ("fsync", "EIO", 1), ("renameat", "EIO", formats)];
    for (call, error, least) in calls {
        let mut failed = 0;
        for at in 1.. {
            let inject = format!("inject={call}:error={error}:when={at}");
            let status = cases.overwrite(&["strace", "-f", "-o", "/dev/null", "-e", &inject]);
            let what = format!("{error} at {call} {at}");
            cases.whole(&what);
            if status.success() {
                assert!(files(&cases.out()) == cases.new, "{what}");
                break;
            }
            failed += 1;
            assert_eq!(files(&cases.out()).len(), cases.old.len(), "{what}: something is left behind");
        }
        assert!(failed >= least, "{error} at {call}: {failed}");
    }
}

/// Needs root: mounts.
#[test]
fn a_full_disk_leaves_the_old_files() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("COV_REQUIRE_KERNEL").is_none(), "needs root");
        return;
    }
    const SCRIPT: &str = r#"
        mkdir out disk
        mount -t tmpfs -o size=1m none disk
        "$1" merge old.dat --output disk --format "$2" > /dev/null
        dd if=/dev/zero of=disk/filling bs=4k 2> /dev/null && exit 7
        "$1" merge new.dat --output disk --format "$2" 2> said && exit 8
        rm disk/filling
        cp -a disk/. out
    "#;
    let cases = Cases::new();
    let script = ["--mount", "sh", "-ec", SCRIPT, "sh", AGENT, FORMATS];
    output(Command::new("unshare").args(script).current_dir(cases.root.path()));
    assert!(files(&cases.out()) == cases.old);
    let said = fs::read_to_string(cases.root.path().join("said")).unwrap();
    assert!(said.contains("No space left on device (os error 28); what was there before is unchanged"), "{said}");
}

#[test]
fn agents_in_one_directory_lose_nothing() {
    const AGENTS: u64 = 8;
    let root = tempfile::tempdir().unwrap();
    let mut whole = Snapshot::default();
    for run in 1..=AGENTS {
        let mut data = Vec::new();
        raw::write(&synthetic(run, 20, 50), &mut data).unwrap();
        fs::write(root.path().join(format!("{run}.dat")), data).unwrap();
        whole = whole.merge(synthetic(run, 20, 50));
    }
    let start = |run: u64| {
        let mut command = merge(&[], root.path(), &format!("{run}.dat"), "out");
        command.env("COV_AGENT_PRESERVE_DATA", "true").stdout(Stdio::null()).spawn().unwrap()
    };
    let agents: Vec<_> = (1..=AGENTS).map(start).collect();
    for mut agent in agents {
        assert!(agent.wait().unwrap().success());
    }
    let found = files(&root.path().join("out"));
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Coverage) {
        let mut want = Vec::new();
        format::write(format, &whole, &mut want).unwrap();
        assert!(found[format.file_name()] == want, "{format}");
    }
    // Each run's own data are there too.
    assert_eq!(found.len(), Format::ALL.len() + usize::try_from(AGENTS).unwrap());
    let history = (1..=AGENTS).map(|number| {
        let bytes = &found[&format!("coverage_raw.{number}.dat")];
        raw::read(&bytes[..], Limits::default()).unwrap()
    });
    assert_eq!(history.reduce(Snapshot::merge).unwrap(), whole);
}

/// A disk that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(self.0);
        self.0 -= room;
        if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_writer_passes_on_that_the_disk_is_full() {
    let snapshot = synthetic(1, 5, 40);
    for format in Format::ALL {
        let mut bytes = Vec::new();
        format::write(format, &snapshot, &mut bytes).unwrap();
        for room in (0..bytes.len()).step_by(bytes.len() / 100) {
            let error = format::write(format, &snapshot, &mut Full(room)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{format}, {room} bytes: {error}");
        }
        format::write(format, &snapshot, &mut Full(bytes.len())).unwrap();
    }
}
