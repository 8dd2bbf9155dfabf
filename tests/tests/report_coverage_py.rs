//! The whole way: programs in C, Rust and Mojo are measured, and coverage.py reports them with the
//! plugin, beside Python that it measured itself.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::{output, tool, venv};
use cov_tests::{Build, Workdir, kernel, workspace};
use serde_json::Value;

const C: &str = "#include <stdlib.h>\nint main(int argc, char **argv) {\n    if (argc > 1)\n        abort();\n    \
                 return argv[0] == 0;\n}\n";
const RUST: &str = "fn main() {\n    if std::env::args().count() > 1 {\n        std::process::abort();\n    }\n    \
                    println!(\"done\");\n}\n";
const MOJO: &str = "def main():\n    var sum = 0\n    for i in range(3):\n        sum += i\n    if sum > 100:\n        \
                    print(\"many\")\n    print(sum)\n";
const PYTHON: &str = "import sys\nif len(sys.argv) > 1:\n    print('two')\n";

/// The data file, and ours as JSON, of `./PROGRAM`, below the directory of that name.
fn measure(dir: &Workdir, program: &str) -> Value {
    let out = format!("out-{program}");
    let said = dir.agent(&["run", "-q", "-o", &out, "--format", "coverage,json", "--", &format!("./{program}")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{program}");
    serde_json::from_str::<Value>(&dir.read(&format!("{out}/coverage.json"))).unwrap()["files"].take()
}

#[test]
fn coverage_py_reports_native_programs_beside_python() {
    if !kernel() {
        return;
    }
    let dir = Workdir::new(&[("src/main.c", C), ("main.rs", RUST), ("b.py", PYTHON)]);
    dir.write(".coveragerc.toml", "[run]\nplugins = [\"cov_agent_coverage\"]\nrelative_files = true\n");
    dir.write(
        "cov_agent_coverage.py",
        std::fs::read(workspace().join("cov-agent/python/cov_agent_coverage.py")).unwrap(),
    );
    let path = dir.path();
    // Mojo's cache gives what it compiled of the same text elsewhere, with the paths of that place.
    dir.write("main.mojo", MOJO.replace("many", path.to_str().unwrap()));
    Build::with("gcc", &path).args(["-g", "-o", "c", "src/main.c"]).run();
    Build::with("rustc", &path).args(["-g", "-o", "rust", "main.rs"]).run();
    Build::with(workspace().join("target/venv/bin/mojo"), &path)
        .args(["build", "-O0", "-g", "-o", "mojo", "main.mojo"])
        .run();
    let mut ours: Vec<(String, Value)> = Vec::new();
    for program in ["c", "rust", "mojo"] {
        let files = measure(&dir, program);
        let here = format!("{}/", dir.path().display());
        ours.extend(files.as_object().unwrap().iter().map(|(path, file)| (path.replace(&here, ""), file.clone())));
    }
    let lines = |file: &Value, key: &str| {
        file[key].as_array().unwrap().iter().map(|line| line.as_u64().unwrap()).collect::<Vec<_>>()
    };
    let missing: Vec<_> = ours.iter().map(|(path, file)| (path.as_str(), lines(file, "missing_lines"))).collect();
    assert_eq!(missing, [("src/main.c", vec![4]), ("main.rs", vec![3]), ("main.mojo", vec![6])]);

    for version in ["5.5", "6.5.0", "7.17.3"] {
        // The older ones do not know that name.
        dir.write(".coveragerc", "[run]\nplugins = cov_agent_coverage\nrelative_files = true\n");
        let venv = venv(&format!("coverage-{version}"), &[&format!("coverage=={version}")]);
        let coverage = |args: &[&str]| output(tool(&venv, "coverage", &path).args(args).env("PYTHONPATH", &path));
        for program in ["c", "rust", "mojo"] {
            std::fs::copy(path.join(format!("out-{program}/.coverage")), path.join(format!(".coverage.{program}")))
                .unwrap();
        }
        coverage(&["run", "--parallel-mode", "b.py"]);
        coverage(&["combine"]);
        coverage(&["json", "-o", "theirs.json"]);
        let theirs: Value = serde_json::from_str(&dir.read("theirs.json")).unwrap();
        assert_eq!(theirs["files"].as_object().unwrap().len(), 4, "{version}: {}", theirs["files"]);
        let missing = lines(&theirs["files"]["b.py"], "missing_lines");
        // 5.5 does not know Python 3.11's line 0.
        assert_eq!(missing.into_iter().filter(|line| *line != 0).collect::<Vec<_>>(), [3], "{version}");
        for (path, file) in &ours {
            let theirs = &theirs["files"][path];
            for key in ["executed_lines", "missing_lines"] {
                assert_eq!(lines(theirs, key), lines(file, key), "{version} {path} {key}");
            }
        }
        let report = coverage(&["report", "-m"]);
        let row = report.lines().find(|line| line.starts_with("src/main.c")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["src/main.c", "5", "1", "80%", "4"], "{version}");
        // Every version's other reports are judged on data without programs, in cov-agent's own tests.
        if version != "7.17.3" {
            continue;
        }
        coverage(&["xml"]);
        assert!(dir.read("coverage.xml").contains(r#"<line number="4" hits="0"/>"#), "{version}");
        coverage(&["html", "-d", "html"]);
        assert!(dir.names("html").iter().any(|name| name.contains("main_mojo")), "{version}: {:?}", dir.names("html"));
    }
}
