//! A suite that mixes languages: pytest drives extension modules in C and, by PyO3, in Rust, and a program in Mojo. One
//! command, one result.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use cov_tests::{Build, Coverage, SUITE, Workdir, agent_command, fixture, kernel, monitored_pythons, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const C: &str = "#include <Python.h>\n\
    static PyObject *twice(PyObject *self, PyObject *arg) {\n    long n = PyLong_AsLong(arg);\n    if (n < 0)\n        \
    n = 0;\n    return PyLong_FromLong(2 * n);\n}\n\
    static PyMethodDef methods[] = {{\"twice\", twice, METH_O, NULL}, {NULL, NULL, 0, NULL}};\n\
    static PyModuleDef module = {PyModuleDef_HEAD_INIT, \"native\", NULL, -1, methods};\n\
    PyMODINIT_FUNC PyInit_native(void) {\n    return PyModule_Create(&module);\n}\n";
const MOJO: &str = "def main():\n    var sum = 0\n    for i in range(3):\n        sum += i\n    if sum > 100:\n        \
                    print(\"PLACE\")\n    print(sum)\n";
const TESTS: &str = "import subprocess\n\nimport native\nimport pytest\nimport tripled\n\n\n\
    @pytest.mark.parametrize(\"n\", [1, 2, 3])\ndef test_c(n):\n    assert native.twice(n) == 2 * n\n\n\n\
    def test_rust():\n    assert [tripled.triple(n) for n in (1, 2)] == [3, 6]\n    \
    with pytest.raises(ValueError):\n        tripled.triple(101)\n\n\n\
    def test_mojo():\n    assert subprocess.run([\"./program\"], capture_output=True).stdout == b\"3\\n\"\n";

/// Lines of a file with their counts, but for those where compilers disagree.
fn lines(coverage: &Coverage, file: &str, wanted: &[u32]) -> Vec<(u32, u64)> {
    coverage.file(file).lines.iter().filter(|(line, _)| wanted.contains(line)).map(|(l, c)| (*l, *c)).collect()
}

/// The lines of each file in a report that were executed, and those that were not.
fn executed(report: &str) -> BTreeMap<String, [Value; 2]> {
    let report: Value = serde_json::from_str(report).unwrap();
    let files = report["files"].as_object().unwrap().iter();
    let both = |file: &Value| ["executed_lines", "missing_lines"].map(|key| file[key].clone());
    files.map(|(path, file)| (path.clone(), both(file))).collect()
}

fn build(dir: &Workdir, python: &Path) {
    let path = dir.path();
    let include = Build::with(python, &path)
        .args(["-c", "import sysconfig; print(sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX'))"])
        .run();
    let (include, suffix) = include.trim().rsplit_once(' ').unwrap();
    let module = format!("native{suffix}");
    let flags = ["-g", "-O0", "-shared", "-fPIC", "-I", include, "native.c", "-o", &module];
    Build::with("gcc", &path).args(flags).run();
    // What the crate needs is compiled once.
    let target = workspace().join("target/pyo3");
    for name in ["Cargo.toml", "Cargo.lock", "src/tripled.rs"] {
        dir.write(name, std::fs::read(fixture("rust/extension").join(name)).unwrap());
    }
    Build::with("cargo", &path)
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&target)
        .env("PYO3_PYTHON", python)
        .run();
    std::fs::copy(target.join("debug/libtripled.so"), path.join("tripled.abi3.so")).unwrap();
    Build::with(workspace().join("target/venv/bin/mojo"), &path)
        .args(["build", "-O0", "-g", "-o", "program", "main.mojo"])
        .run();
}

#[test]
fn one_result_for_a_suite_in_four_languages() {
    if !kernel() {
        return;
    }
    let Some(python) = monitored_pythons().pop() else { return };
    let dir = Workdir::new(&[("native.c", C), ("test_all.py", TESTS)]);
    // Mojo's cache gives what it compiled of the same text elsewhere, with the paths of that place.
    dir.write("main.mojo", MOJO.replace("PLACE", dir.path().to_str().unwrap()));
    dir.write(".coveragerc", "[run]\nplugins = cov_agent_coverage\n");
    dir.write(
        "cov_agent_coverage.py",
        std::fs::read(workspace().join("cov-agent/python/cov_agent_coverage.py")).unwrap(),
    );
    build(&dir, &python);
    let suite = common::venv_of(&python, "suite", &SUITE);
    let mut agent = agent_command();
    agent.args(["run", "--exclude", "cov_agent_coverage.py", "--"]).arg(suite.join("bin/python"));
    agent.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).current_dir(dir.path());
    let output = agent.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(stderr.contains("sys.monitoring counted the lines of 1 process of Python 3."), "{stderr}");
    let coverage = Coverage::read_lcov(&dir.path().join("coverage/lcov.info"));
    assert_eq!(lines(&coverage, "native.c", &[3, 4, 5, 6, 11]), [(3, 3), (4, 3), (5, 0), (6, 3), (11, 1)]);
    assert_eq!(lines(&coverage, "tripled.rs", &[7, 8, 12, 14]), [(7, 3), (8, 1), (12, 6), (14, 2)]);
    assert_eq!(lines(&coverage, "main.mojo", &[4, 6]), [(4, 3), (6, 0)]);
    assert_eq!(lines(&coverage, "test_all.py", &[10, 16, 20]), [(10, 3), (16, 1), (20, 1)]);

    // coverage.py shows all of it, line by line.
    let report = ["-m", "coverage", "json", "-q", "-o", "theirs.json", "--data-file=coverage/.coverage"];
    common::run(common::tool(&suite, "python", &dir.path()), report);
    let [ours, theirs] = ["coverage/coverage.json", "theirs.json"].map(|name| executed(&dir.read(name)));
    assert_eq!(ours.keys().collect::<Vec<_>>(), ["main.mojo", "native.c", "src/tripled.rs", "test_all.py"]);
    assert_eq!(ours, theirs);

    // Beside data that coverage.py made of a parallel run.
    dir.write("other.py", "x = 1\n");
    common::run(common::tool(&suite, "python", &dir.path()), ["-m", "coverage", "run", "--parallel-mode", "other.py"]);
    std::fs::copy(dir.path().join("coverage/.coverage"), dir.path().join(".coverage.ours")).unwrap();
    common::run(common::tool(&suite, "python", &dir.path()), ["-m", "coverage", "combine", "-q"]);
    let said = common::run(common::tool(&suite, "python", &dir.path()), ["-m", "coverage", "report"]);
    for name in ["native.c", "other.py", "test_all.py"] {
        assert!(said.lines().any(|line| line.starts_with(name)), "{name}: {said}");
    }
}
