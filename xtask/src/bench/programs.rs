//! The programs that are measured, as they are and as other tools want them compiled.

use crate::shell::workspace;
use anyhow::{Result, bail};
use cov_tests::{Build, Project, fixture, package_dir};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

/// How many processes the suite of short ones has.
const PROCESSES: u32 = 200;

/// A program, and what else becomes of its sources.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) plain: PathBuf,
    pub(super) peers: Vec<Peer>,
    /// The arguments with which it takes milliseconds.
    pub(super) short: Vec<String>,
    /// Whether its argument says how often it does its work.
    pub(super) repeats: bool,
    /// Whether it can be measured by a breakpoint on every line that is hit each time.
    pub(super) breakpoints: bool,
    /// How many processes it runs.
    pub(super) processes: u32,
    /// How often its short runs are repeated.
    pub(super) rounds: usize,
}

/// The same program compiled so that it measures its coverage itself.
pub(super) struct Peer {
    /// What it is called in tables.
    pub(super) way: &'static str,
    pub(super) program: PathBuf,
    /// The same without that, by the same compiler.
    pub(super) plain: PathBuf,
}

pub(super) const GCOV: &str = "gcov";
pub(super) const ATOMIC: &str = "gcov, atomic";
pub(super) const LLVM: &str = "LLVM";

/// All of them, compiled side by side unless they are there from an earlier time; `smoke`: two small ones.
pub(super) fn all(dir: &Path, smoke: bool) -> Result<Vec<Program>> {
    if smoke {
        return Ok(vec![small(dir), suite(dir, 3)]);
    }
    let make: [fn(&Path) -> Program; 8] = [
        small,
        |dir| real(dir, &Project::sqlite()),
        |dir| Program { breakpoints: true, ..real(dir, &Project::lua()) },
        |dir| real(dir, &Project::zstd()),
        |dir| real(dir, &Project::esaxx()),
        strsim,
        rust_tests,
        |dir| suite(dir, PROCESSES),
    ];
    thread::scope(|scope| {
        let threads = make.map(|make| scope.spawn(move || make(dir)));
        let join = |thread: ScopedJoinHandle<'_, Program>| match thread.join() {
            Ok(program) => Ok(program),
            Err(_) => bail!("a program cannot be compiled, see above"),
        };
        threads.into_iter().map(join).collect()
    })
}

/// The fixed cost: a program that does nearly nothing.
fn small(dir: &Path) -> Program {
    let source = workspace().join("xtask/sample/collatz.c");
    let compile = |compiler: &str, output: &str, flags: &[&str]| {
        let output = dir.join(output);
        Build::with(compiler, dir).args(["-O0", "-g"]).args(flags).arg("-o").arg(&output).arg(&source).run();
        output
    };
    let (plain, gcov) = (compile("gcc", "collatz", &[]), compile("gcc", "collatz-gcov", &["--coverage"]));
    Program {
        name: "a small C program, -O0".into(),
        peers: vec![Peer { way: GCOV, program: gcov, plain: plain.clone() }],
        plain,
        short: vec!["6".into()],
        repeats: false,
        breakpoints: true,
        processes: 1,
        rounds: 15,
    }
}

/// A real project in C or C++.
fn real(dir: &Path, project: &Project) -> Program {
    let plain = compile(project, dir, "", &[]);
    let gcov = compile(project, dir, "-gcov", &["--coverage"]);
    let atomic = compile(project, dir, "-atomic", &["--coverage", "-fprofile-update=atomic"]);
    let clang = project.clone().by_clang();
    let llvm = compile(&clang, dir, "-llvm", &["-fprofile-instr-generate", "-fcoverage-mapping"]);
    let peers = vec![
        Peer { way: GCOV, program: gcov, plain: plain.clone() },
        Peer { way: ATOMIC, program: atomic, plain: plain.clone() },
        Peer { way: LLVM, program: llvm, plain: compile(&clang, dir, "-clang", &[]) },
    ];
    Program {
        name: format!("{}, -O1", project.name),
        plain,
        peers,
        short: Vec::new(),
        repeats: true,
        breakpoints: false,
        processes: 1,
        rounds: 3,
    }
}

/// Compiles with -O1 unless that was done since the driver was changed: SQLite takes long.
fn compile(project: &Project, dir: &Path, suffix: &str, flags: &[&str]) -> PathBuf {
    let output = format!("{}{suffix}", project.name);
    let program = dir.join(&output);
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if changed(&program) > changed(&project.driver()) {
        return program;
    }
    project.compile(dir, &output, &[&["-O1"], flags].concat())
}

/// Many short processes, one after the other.
fn suite(dir: &Path, processes: u32) -> Program {
    let (short, name) = (vec![processes.to_string()], format!("{processes} processes of lua, -O1"));
    Program { name, short, processes, repeats: false, rounds: 1, ..real(dir, &Project::suite()) }
}

/// A call of rustc in the crate strsim's directory of outputs, optimised as real projects here.
fn rustc(dir: &Path, output: &Path, edition: &str) -> Build {
    Build::with("rustc", dir).args(["-g", "-Copt-level=1", "--cap-lints=allow", edition, "-o"]).arg(output)
}

/// A program in Rust that works with a crate.
fn strsim(dir: &Path) -> Program {
    let compile = |output: &str, flags: &[&str]| {
        let (library, program) = (dir.join(format!("lib{output}.rlib")), dir.join(output));
        let source = package_dir("strsim").join("src/lib.rs");
        let crate_flags = ["--crate-type=rlib", "--crate-name=strsim"];
        rustc(dir, &library, "--edition=2015").args(crate_flags).args(flags).arg(source).run();
        let with = format!("strsim={}", library.display());
        rustc(dir, &program, "--edition=2021")
            .args(flags)
            .args(["--extern", &with])
            .arg(fixture("real/strsim.rs"))
            .run();
        program
    };
    let (plain, llvm) = (compile("words", &[]), compile("words-llvm", &["-Cinstrument-coverage"]));
    Program {
        name: "strsim, Rust".into(),
        peers: vec![Peer { way: LLVM, program: llvm, plain: plain.clone() }],
        plain,
        short: Vec::new(),
        repeats: true,
        breakpoints: false,
        processes: 1,
        rounds: 3,
    }
}

/// A Rust crate's own tests.
fn rust_tests(dir: &Path) -> Program {
    let compile = |output: &str, flags: &[&str]| {
        let program = dir.join(output);
        let source = package_dir("strsim").join("src/lib.rs");
        rustc(dir, &program, "--edition=2015").arg("--test").args(flags).arg(source).run();
        program
    };
    let (plain, llvm) = (compile("strsim", &[]), compile("strsim-llvm", &["-Cinstrument-coverage"]));
    Program {
        name: "the tests of the crate strsim".into(),
        peers: vec![Peer { way: LLVM, program: llvm, plain: plain.clone() }],
        plain,
        short: Vec::new(),
        repeats: false,
        breakpoints: false,
        processes: 1,
        rounds: 7,
    }
}

/// A call of one of these programs; what it measures of itself goes to `dir`.
pub(super) fn call(dir: &Path, program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env("LLVM_PROFILE_FILE", dir.join("default.profraw"));
    command
}
