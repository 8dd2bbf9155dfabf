//! Lines of Python under `run`, counted by `sys.monitoring` in every Python that has it.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use cov_tests::{
    Coverage, Workdir, agent_command, agent_path, assert_counts, copy_python, expected, fixture, kernel,
    monitored_pythons,
};
use std::path::Path;
use std::process::{Command, Output};

/// The pythons to test with, if the agent can run here.
fn pythons() -> Vec<std::path::PathBuf> {
    if kernel() { monitored_pythons() } else { Vec::new() }
}

/// `cov-agent run OPTIONS -- PYTHON ARGS`, in `dir`.
fn run(dir: &Path, options: &[&str], python: &Path, args: &[&str]) -> Output {
    let mut command = agent_command();
    command.arg("run").args(options).arg("--").arg(python).args(args).current_dir(dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn counted(dir: &Path) -> Coverage {
    Coverage::read_lcov(&dir.join("coverage/lcov.info"))
}

/// Lines that have a count, with that count.
fn lines(coverage: &Coverage, file: &str) -> Vec<(u32, u64)> {
    coverage.file(file).lines.iter().map(|(line, count)| (*line, *count)).collect()
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn every_hit_is_counted() {
    for python in pythons() {
        let dir = Workdir::new(&[]);
        copy_python(&dir.path(), &["counts.py"]);
        let output = run(&dir.path(), &[], &python, &["counts.py"]);
        let what = python.display().to_string();
        assert_eq!(said(&output.stdout), "closed\nsome\n", "{what}");
        let stderr = said(&output.stderr);
        assert!(stderr.contains("cov-agent: sys.monitoring counted the lines of 1 process of Python 3."), "{stderr}");
        assert!(stderr.contains(", whose environment had PYTHONPATH added\n"), "{stderr}");
        assert!(!stderr.contains("warning"), "{stderr}");
        let coverage = counted(&dir.path());
        assert_counts(&what, &expected(&fixture("python/counts.py"), "python"), coverage.file("counts.py"));
        assert_eq!(coverage.files.len(), 1, "{:?}", coverage.files.keys());
    }
}

#[test]
fn hits_alone_cost_no_count() {
    for (python, option) in pythons().iter().flat_map(|python| ["--python-hits", "--lines-only"].map(|o| (python, o))) {
        let dir = Workdir::new(&[]);
        copy_python(&dir.path(), &["counts.py"]);
        drop(run(&dir.path(), &[option], python, &["counts.py"]));
        let mut want = expected(&fixture("python/counts.py"), "python");
        // Lower bounds: two functions on one line add up.
        want.values_mut().for_each(|want| want.count = *want.count.start().min(&1)..=*want.count.end().min(&2));
        let what = format!("{} {option}", python.display());
        assert_counts(&what, &want, counted(&dir.path()).file("counts.py"));
        let json: serde_json::Value = serde_json::from_str(&dir.read("coverage/coverage.json")).unwrap();
        let file = &json["files"]["counts.py"];
        assert_eq!(file["excluded_lines"], serde_json::json!([103, 104]));
    }
}

#[test]
fn processes_and_threads_of_every_kind_are_counted() {
    for python in pythons() {
        let dir = Workdir::new(&[]);
        copy_python(&dir.path(), &["processes.py", "work.py"]);
        let output = run(&dir.path(), &[], &python, &["processes.py"]);
        let what = python.display().to_string();
        assert_eq!(said(&output.stdout), "[0, 3, -9, 0, 0, 0, 0]\n", "{what}");
        assert!(!said(&output.stderr).contains("warning"), "{output:?}");
        let want = expected(&fixture("python/work.py"), "python");
        assert_counts(&what, &want, counted(&dir.path()).file("work.py"));
    }
}

/// Functions and classes on one line, which begin on the line that defines them: it is entered by both.
#[test]
fn code_that_begins_on_the_line_that_defines_it() {
    const MAIN: &str = "class L:\n    def __init__(self, n): self.l = list(range(n))\n\
                        def outer():\n    def inner(c): return c\n    return inner(1)\n\
                        def made():\n    class S:\n        x = 1\n    return S\n\
                        for n in range(3):\n    L(n), outer(), made()\n";
    for python in pythons() {
        let dir = Workdir::new(&[("main.py", MAIN)]);
        drop(run(&dir.path(), &[], &python, &["main.py"]));
        let want = [(1, 2), (2, 4), (3, 1), (4, 6), (5, 3), (6, 1), (7, 6), (8, 3), (9, 3), (10, 4), (11, 3)];
        assert_eq!(lines(&counted(&dir.path()), "main.py"), want, "{}", python.display());
    }
}

/// A module in a zip file, code that is compiled under the name of a file, and code that has none.
#[test]
fn code_from_odd_places() {
    const MAIN: &str = "import sys\nsys.path.insert(0, 'lib.zip')\nimport zipped\nzipped.f()\n\
                        with open('made.py') as file:\n    text = file.read()\n\
                        exec(compile(text, 'made.py', 'exec'))\nexec('y = 1\\nz = 2\\n')\n";
    for python in pythons() {
        let dir = Workdir::new(&[("main.py", MAIN), ("made.py", "for i in range(3):\n    x = i\n")]);
        dir.write("zipped.py", "def f():\n    return 1\n\n\ndef g():\n    return 2\n");
        let zip = ["-m", "zipfile", "-c", "lib.zip", "zipped.py"];
        assert!(Command::new(&python).args(zip).current_dir(dir.path()).status().unwrap().success());
        std::fs::remove_file(dir.path().join("zipped.py")).unwrap();
        let output = run(&dir.path(), &[], &python, &["main.py"]);
        assert!(!said(&output.stderr).contains("warning"), "{output:?}");
        let coverage = counted(&dir.path());
        assert_eq!(lines(&coverage, "lib.zip/zipped.py"), [(1, 1), (2, 1), (5, 1), (6, 0)]);
        assert_eq!(lines(&coverage, "made.py"), [(1, 4), (2, 3)]);
        assert_eq!(coverage.files.len(), 3, "{:?}", coverage.files.keys());
    }
}

#[test]
fn the_program_finds_everything_as_without_the_agent() {
    const MAIN: &str = "import os, sys\nprint(sys.path, sorted(sys.modules), sorted(sys.path_importer_cache))\n\
                        print(sys.modules.get('sitecustomize'), sorted(os.environ))\n";
    for python in pythons() {
        let dir = Workdir::new(&[("main.py", MAIN), ("site/sitecustomize.py", "print('chained')\n")]);
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        for site in ["site", "elsewhere"] {
            let [plain, measured] = [false, true].map(|agent| {
                let mut command = Command::new(if agent { agent_path() } else { &python });
                if agent {
                    command.args(["run", "-q", "-o", "elsewhere/out", "--"]).arg(&python);
                }
                command.arg("main.py").current_dir(dir.path()).env("PYTHONPATH", dir.path().join(site));
                command.env("TMPDIR", dir.path().join("tmp")).env("PYTHONDONTWRITEBYTECODE", "1");
                said(&command.output().unwrap().stdout)
            });
            assert_eq!(measured, plain);
            assert_eq!(plain.starts_with("chained\n"), site == "site", "{plain}");
        }
        assert_eq!(dir.names("."), ["elsewhere", "main.py", "site", "tmp"]);
        assert_eq!((dir.names("site"), dir.names("tmp")), (vec!["sitecustomize.py".to_owned()], Vec::new()));
    }
}

/// Files that nothing imported show as missed where the person named what to measure, as coverage.py has it.
#[test]
fn files_that_were_never_imported_are_missed() {
    for python in pythons() {
        let dir = Workdir::new(&[("src/p/__init__.py", ""), ("src/p/a.py", "x = 1\n")]);
        dir.write("src/p/b.py", "\"\"\"Doc.\"\"\"\n\n\ndef f(\n    x,\n):\n    return x\n");
        dir.write("src/p/bad.py", "def f(:\n");
        dir.write("src/q/not_a_package.py", "x = 1\n");
        let output =
            run(&dir.path(), &["--include", "src/**"], &python, &["-c", "import sys; sys.path[0] = 'src'; import p.a"]);
        let stderr = said(&output.stderr);
        assert!(stderr.contains("1 damaged parts left out: "), "{stderr}");
        assert!(stderr.contains("/src/p/bad.py: invalid syntax"), "{stderr}");
        let coverage = counted(&dir.path());
        assert_eq!(lines(&coverage, "p/a.py"), [(1, 1)]);
        assert_eq!(lines(&coverage, "p/b.py"), [(4, 0), (7, 0)]);
        assert_eq!(coverage.files.len(), 2, "{:?}", coverage.files.keys());
        // Without that, only what ran.
        drop(run(&dir.path(), &[], &python, &["-c", "import sys; sys.path[0] = 'src'; import p.a"]));
        assert_eq!(counted(&dir.path()).files.len(), 1);
    }
}

#[test]
fn what_does_not_count_says_why() {
    for python in pythons() {
        let dir = Workdir::new(&[("main.py", "x = 1\n")]);
        let output = run(&dir.path(), &["--python", "monitoring"], &python, &["-I", "main.py"]);
        let stderr = said(&output.stderr);
        assert!(stderr.contains("cov-agent: warning: no Python process was counted: "), "{stderr}");
        assert!(stderr.contains("(python)\n"), "{stderr}");
        let output = run(&dir.path(), &["--python", "off"], &python, &["main.py"]);
        let stderr = said(&output.stderr);
        assert!(!stderr.contains("sys.monitoring") && !stderr.contains("PYTHONPATH"), "{stderr}");
    }
}

/// A test suite that a user without rights runs counts into files of that user's.
#[test]
fn another_user_is_counted_too() {
    for python in pythons() {
        let public = tempfile::Builder::new().prefix("python").tempdir_in("/var/tmp").unwrap();
        let dir = public.path();
        std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
        std::fs::write(dir.join("main.py"), "import os\nprint(os.geteuid())\n").unwrap();
        // The interpreter may lie where that user cannot go.
        let reachable = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&python)
            .args(["-I", "-c", ""])
            .stderr(std::process::Stdio::null())
            .status();
        if !reachable.is_ok_and(|status| status.success()) {
            continue;
        }
        let output = run(dir, &["--user", "nobody"], &python, &["main.py"]);
        assert_eq!(said(&output.stdout), "65534\n");
        assert_eq!(lines(&counted(dir), "main.py"), [(1, 1), (2, 1)]);
    }
}

/// The line of a native program and those of Python stand in one result.
#[test]
fn native_and_python_lines_stand_together() {
    for python in pythons() {
        let dir = Workdir::new(&[("main.c", "int main(void) {\n\n    return 0;\n}\n")]);
        dir.write("main.py", "import subprocess\nfor _ in range(3):\n    subprocess.run(['./main'])\n");
        let gcc = Command::new("gcc").args(["-g", "-O0", "-o", "main", "main.c"]).current_dir(dir.path()).status();
        assert!(gcc.unwrap().success());
        drop(run(&dir.path(), &[], &python, &["main.py"]));
        let coverage = counted(&dir.path());
        assert_eq!(lines(&coverage, "main.py"), [(1, 1), (2, 4), (3, 3)]);
        assert_eq!(lines(&coverage, "main.c"), [(1, 3), (3, 3), (4, 3)]);
    }
}

/// A suite that runs under coverage.py: its data becomes part of the result, with contexts, as lower bounds.
#[test]
fn data_of_coverage_py_is_taken_in() {
    if !kernel() {
        return;
    }
    let coverage_py = common::reports();
    let dir =
        Workdir::new(&[("main.py", "import sys\n\nif len(sys.argv) > 5:\n    print(\n        1,\n    )\nx = 2\n")]);
    dir.write(".coveragerc", "[run]\ncontext = night\n");
    let python = coverage_py.join("bin/python");
    let args = ["-m", "coverage", "run", "--parallel-mode", "main.py"];
    let output = run(&dir.path(), &["--python", "coverage"], &python, &args);
    let stderr = said(&output.stderr);
    assert!(stderr.contains("cov-agent: coverage.py counted: 1 data file of it taken in"), "{stderr}");
    assert_eq!(lines(&counted(&dir.path()), "main.py"), [(1, 1), (3, 1), (4, 0), (7, 1)]);
    let json: serde_json::Value = serde_json::from_str(&dir.read("coverage/coverage.json")).unwrap();
    let file = &json["files"]["main.py"];
    assert_eq!(file["contexts"]["1"], serde_json::json!(["night"]), "{file}");
    assert_eq!(file["cov_agent"]["lower_bounds"], serde_json::json!([1, 3, 7]), "{file}");
    // What was there before is not this run's.
    let output = run(&dir.path(), &["--python", "coverage"], &python, &["main.py"]);
    let stderr = said(&output.stderr);
    assert!(stderr.contains("no data file of coverage.py appeared"), "{stderr}");
}
