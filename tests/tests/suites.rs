//! Suites that their own runners drive: one command, and all their native lines are measured.

use cov_tests::{Agent, Build, Outcome, fixture, kernel, scratch, workspace};
use std::path::Path;
use std::process::Command;

/// The agent at `program`, in `dir`; the suite passes.
fn passes(program: &Path, args: &[&str], dir: &Path, environment: &[(&str, &str)]) -> Outcome {
    let mut agent = args.iter().fold(Agent::run(program), |agent, arg| agent.arg(arg)).dir(dir);
    agent.command().envs(environment.iter().copied());
    let outcome = agent.go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}{}", outcome.stdout(), outcome.stderr());
    outcome
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Two hundred programs, each started by a shell that make starts, four at a time.
#[test]
fn make() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-o", "work"]).arg(fixture("c/work.c")).run();
    let tests: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let text = format!("all: {}\nt%:\n\t@x=$*; ./work $$x || exit 1; :\n", tests.join(" "));
    write(dir.path(), "Makefile", &text);
    let outcome = passes(Path::new("make"), &["-j4"], dir.path(), &[]);
    let lines = &outcome.coverage.file("work.c").lines;
    assert_eq!((lines[&4], lines[&7], lines[&13]), (200, (0..200).sum(), 200), "{}", outcome.stderr());
}

#[test]
fn ctest() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let list = "cmake_minimum_required(VERSION 3.18)\nproject(suite C)\nenable_testing()\n\
                add_executable(work ${WORK})\nforeach(n RANGE 1 10)\n  add_test(NAME t${n} COMMAND work ${n})\nendforeach()\n";
    write(dir.path(), "CMakeLists.txt", list);
    let work = format!("-DWORK={}", fixture("c/work.c").display());
    Build::with("cmake", dir.path()).args(["-B", "build", "-DCMAKE_BUILD_TYPE=Debug", &work]).run();
    let script = "cmake --build build && ctest --test-dir build -j4";
    let outcome = passes(Path::new("/bin/sh"), &["-c", script], dir.path(), &[]);
    assert!(outcome.stdout().contains("100% tests passed"), "{}", outcome.stdout());
    let lines = &outcome.coverage.file("work.c").lines;
    assert_eq!((lines[&4], lines[&7], lines[&13]), (10, 55, 10), "{}", outcome.stderr());
}

/// Compiled while it is measured; two packages with unit tests, one of them in the other. A test program holds the
/// standard library too: on a busy machine an agent without optimisation may need more time for it than an exec is held,
/// and then must say so.
#[test]
fn cargo_test() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let lib = "pub fn sum(n: u64) -> u64 {\n    let mut sum = 0;\n    for i in 0..n {\n        sum += i;\n    }\n    sum\n}\n";
    let own = "\n#[test]\nfn three() {\n    assert_eq!(sum(3), 3);\n}\n\n#[test]\nfn none() {\n    assert_eq!(sum(0), 0);\n}\n";
    write(dir.path(), "Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\"]\n");
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    write(dir.path(), "one/Cargo.toml", &package("one"));
    write(dir.path(), "one/src/lib.rs", &format!("{lib}{own}"));
    write(dir.path(), "two/Cargo.toml", &(package("two") + "[dependencies]\none = { path = \"../one\" }\n"));
    write(dir.path(), "two/src/lib.rs", "#[test]\nfn five() {\n    assert_eq!(one::sum(5), 10);\n}\n");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let target = dir.path().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap()), ("RUSTFLAGS", "")];
    let outcome = passes(Path::new(&cargo), &["test", "--offline", "--workspace", "--lib"], dir.path(), &environment);
    let late = |line: &str| line.contains("objects that ran without probes") && line.contains("/deps/");
    if outcome.stderr().lines().any(late) {
        return;
    }
    let file = |name: &str| &outcome.coverage.file(name).lines;
    let sum = file("one/src/lib.rs");
    assert_eq!((sum[&2], sum[&4], sum[&6]), (3, 8, 3), "{}", outcome.stderr());
    assert_eq!(file("two/src/lib.rs")[&3], 1, "{}", outcome.stderr());
}

/// A module in C that a test imports, and so the interpreter loads late.
#[test]
fn pytest() {
    const MODULE: &str = "\
#include <Python.h>

static PyObject *work(PyObject *self, PyObject *number) {
    long n = PyLong_AsLong(number), sum = 0;
    for (long i = 0; i < n; i++)
        sum += i;
    return PyLong_FromLong(sum);
}

static PyMethodDef methods[] = {{\"work\", work, METH_O, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"native\", 0, -1, methods};

PyMODINIT_FUNC PyInit_native(void) {
    return PyModule_Create(&module);
}
";
    if !kernel() {
        return;
    }
    let dir = scratch();
    write(dir.path(), "native.c", MODULE);
    let tests = "import native\nimport pytest\n\n@pytest.mark.parametrize('n', range(6))\ndef test_work(n):\n    \
                 assert native.work(n) == sum(range(n))\n";
    write(dir.path(), "test_native.py", tests);
    let python = workspace().join("target/venv/bin/python");
    let include =
        Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_path('include'))"]).output().unwrap();
    let include = format!("-I{}", String::from_utf8(include.stdout).unwrap().trim());
    let flags = ["-g", "-O0", "-shared", "-fPIC", &include, "-o", "native.so", "native.c"];
    Build::with("gcc", dir.path()).args(flags).run();
    let outcome = passes(&python, &["-m", "pytest", "-q", "-p", "no:cacheprovider"], dir.path(), &[]);
    let lines = &outcome.coverage.file("native.c").lines;
    assert_eq!((lines[&4], lines[&6], lines[&7], lines[&14]), (6, 15, 6, 1), "{}", outcome.stderr());
}
