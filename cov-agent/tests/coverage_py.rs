//! `.coverage` against coverage.py itself: 5.5, 6.5 and the newest read what we write, and we read what they write.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

mod common;

use common::{output, put, run, tool, venv};
use cov_agent::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot};
use cov_agent::format::Limits;
use cov_agent::format::coverage_db::{self, Options};
use cov_agent::format::json;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSIONS: [&str; 3] = ["5.5", "6.5.0", "7.17.3"];

/// Python with a branch, so that lines and arcs differ.
const PYTHON: &str = "import sys\nif len(sys.argv) > 1:\n    print('two')\nelse:\n    print('one')\n";
/// A form feed and a CR: neither ends a line for a compiler's line numbers.
const C: &str = "int main(void)\n{\n  f();\n  g(); /* \u{c} */\n  h();\n  k(); // LCOV_EXCL_LINE\n  // x\n  z();\n}\n";

struct Project {
    directory: tempfile::TempDir,
    venv: PathBuf,
    version: &'static str,
}

impl Project {
    /// A project with a Python and two native files, and coverage.py configured by `run` in `[run]`.
    fn new(version: &'static str, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "b.py", PYTHON);
        put(directory.path(), "src/a.c", C);
        put(directory.path(), "src/grüße λ/x y.cpp", C);
        let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
        let pth = format!("[run]\n{settings}\n[report]\nexclude_lines = LCOV_EXCL\n");
        put(directory.path(), ".coveragerc", pth);
        let venv = venv(&format!("coverage-{version}"), &[&format!("coverage=={version}")]);
        // Imported from its one file, as a person may who cannot install packages.
        fs::copy(format!("{plugin}/cov_agent_coverage.py"), directory.path().join("cov_agent_coverage.py")).unwrap();
        Self { directory, venv, version }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = tool(&self.venv, name, self.directory.path());
        command.env("PYTHONPATH", self.directory.path());
        command
    }

    fn coverage<const N: usize>(&self, args: [&str; N]) -> String {
        run(self.tool("coverage"), args)
    }

    /// What `coverage json` says, by file.
    fn json(&self, args: &[&str]) -> Value {
        output(self.tool("coverage").args(["json", "-o", "out.json"]).args(args));
        let text = fs::read(self.directory.path().join("out.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["files"].take()
    }

    fn write(&self, name: &Path, snapshot: &Snapshot, options: &Options) {
        let mut file = File::create(self.directory.path().join(name)).unwrap();
        coverage_db::write(snapshot, options, &mut file).unwrap();
    }

    fn read(&self, name: &str) -> Snapshot {
        coverage_db::read(&mut File::open(self.directory.path().join(name)).unwrap(), Limits::default()).unwrap()
    }

    /// Lines 3, 4 and 6 of both native files ran, 5 and 8 did not; the tests are contexts.
    fn native(&self) -> Vec<FileCoverage> {
        ["src/a.c", "src/grüße λ/x y.cpp"].map(|name| native(&self.path(name))).into()
    }
}

fn native(path: &str) -> FileCoverage {
    let mut file = FileCoverage::new(path);
    file.record(3, ExecutionCounter::exact(1 << 40), "test one");
    file.record(3, ExecutionCounter::exact(2), "test two");
    file.record(4, ExecutionCounter::exact(1), "");
    file.record(6, ExecutionCounter::exact(1), "");
    [5, 8].into_iter().for_each(|line| file.executable(line));
    file
}

fn snapshot(files: Vec<FileCoverage>) -> Snapshot {
    Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), files)
}

fn with_plugin() -> Options {
    Options { plugin: true, ..Options::default() }
}

fn hits(snapshot: &Snapshot, path: &str) -> BTreeMap<String, Vec<u32>> {
    let contexts = snapshot.file(path).unwrap_or_else(|| panic!("no {path}")).contexts();
    contexts.map(|(name, lines)| (name.to_owned(), lines.hits().map(|(line, _)| line).collect())).collect()
}

#[test]
fn reports_show_native_files_through_the_plugin() {
    for version in VERSIONS {
        let project = Project::new(version, "plugins = cov_agent_coverage");
        let mut python = FileCoverage::new(project.path("b.py"));
        [1, 2, 5].into_iter().for_each(|line| python.record(line, ExecutionCounter::exact(1), ""));
        let mut files = project.native();
        files.extend([python, native("/nowhere/gone.rs"), FileCoverage::new(project.path("src/empty.h"))]);
        put(project.directory.path(), "src/empty.h", "");
        project.write(Path::new(".coverage"), &snapshot(files), &with_plugin());

        let json = project.json(&["--show-contexts"]);
        for name in ["src/a.c", "src/grüße λ/x y.cpp"] {
            let file = &json[name];
            assert_eq!(file["executed_lines"], json!([3, 4]), "{version} {file}");
            assert_eq!(file["missing_lines"], json!([5, 8]), "{version}");
            assert_eq!(file["excluded_lines"], json!([6]), "{version}");
            assert_eq!(file["summary"]["percent_covered"], json!(50.0), "{version}");
            assert_eq!(file["contexts"]["4"], json!([""]), "{version}");
            let mut contexts: Vec<_> = file["contexts"]["3"].as_array().unwrap().iter().map(Value::to_string).collect();
            contexts.sort();
            assert_eq!(contexts, ["\"test one\"", "\"test two\""], "{version}");
        }
        assert_eq!(json["/nowhere/gone.rs"]["executed_lines"], json!([3, 4, 6]), "{version}");
        assert_eq!(json["src/empty.h"]["summary"]["num_statements"], json!(0), "{version}");
        // 5.5 does not know Python 3.11's line 0.
        let missing = json["b.py"]["missing_lines"].as_array().unwrap().iter().filter(|line| **line != 0);
        assert_eq!(missing.collect::<Vec<_>>(), [&json!(3)], "{version}");

        let report = project.coverage(["report", "-m"]);
        let row =
            report.lines().find(|line| line.starts_with("src/a.c")).unwrap_or_else(|| panic!("{version} {report}"));
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["src/a.c", "4", "2", "50%", "5-8"], "{version}");
        project.coverage(["xml", "-o", "out.xml"]);
        let xml = fs::read_to_string(project.directory.path().join("out.xml")).unwrap();
        assert!(
            xml.contains(r#"filename="src/a.c""#) && xml.contains(r#"<line number="8" hits="0"/>"#),
            "{version} {xml}"
        );
        project.coverage(["html", "--show-contexts", "-d", "html"]);
        let pages = fs::read_dir(project.directory.path().join("html")).unwrap().map(|entry| entry.unwrap().path());
        let page = pages.into_iter().find(|p| p.to_str().unwrap().contains("a_c")).unwrap();
        let page = fs::read_to_string(page).unwrap();
        // The form feed ends no line: nine lines, and line 8 is the one that was missed.
        assert!(page.contains(r#"id="t9""#) && !page.contains(r#"id="t10""#), "{version}");
        assert!(page.lines().any(|l| l.contains("\"mis") && l.contains(r#"id="t8""#)), "{version}");
        // Python's tracing knows nothing of the plugin.
        let said = project.tool("coverage").args(["run", "--data-file=other", "b.py"]).output().unwrap();
        if version != "5.5" {
            assert_eq!(String::from_utf8_lossy(&said.stderr), "", "{version}");
        }
    }
}

#[test]
fn data_of_both_combine() {
    for version in VERSIONS {
        for branch in [false, true] {
            let settings = format!("plugins = cov_agent_coverage\nbranch = {branch}\nparallel = true\ncontext = py");
            let project = Project::new(version, &settings);
            project.coverage(["run", "b.py"]);
            let mut files = project.native();
            let mut python = FileCoverage::new(project.path("b.py"));
            python.record(3, ExecutionCounter::exact(1), "ours");
            files.push(python);
            let options = Options { branch, ..with_plugin() };
            for (pid, files) in [(1, files), (2, vec![native("/other/machine/src/a.c")])] {
                let name = coverage_db::parallel_name(Path::new(".coverage"), "h", pid, "abcdef");
                project.write(&name, &snapshot(files), &options);
            }
            // The other machine's file is this one's.
            let rc = project.directory.path().join(".coveragerc");
            let text = fs::read_to_string(&rc).unwrap();
            fs::write(&rc, text + &format!("[paths]\nsource =\n    {}\n    /other/machine\n", project.path("")))
                .unwrap();
            project.coverage(["combine"]);

            let json = project.json(&[]);
            let what = format!("{version} branch={branch}");
            assert_eq!(json["b.py"]["executed_lines"], json!([1, 2, 3, 5]), "{what}");
            assert_eq!(json["src/a.c"]["executed_lines"], json!([3, 4]), "{what}");
            assert_eq!(json["src/a.c"]["missing_lines"], json!([5, 8]), "{what}");
            assert_eq!(json["/other/machine/src/a.c"], Value::Null, "{what}");

            let back = project.read(".coverage");
            assert_eq!(back.files().len(), 3, "{what}");
            let python = hits(&back, &project.path("b.py"));
            assert_eq!(python["py"], [1, 2, 5], "{what}");
            assert_eq!(python["ours"], [3], "{what}");
            let native = hits(&back, &project.path("src/a.c"));
            assert_eq!((&native[""][..], &native["test one"][..]), (&[4, 6][..], &[3][..]), "{what}");
            let executable = back.file(&project.path("src/a.c")).unwrap().lines().iter().map(|(line, _)| line);
            assert_eq!(executable.collect::<Vec<_>>(), [3, 4, 5, 6, 8], "{what}");
        }
    }
}

#[test]
fn without_the_plugin_reports_show_python_and_nothing_fails() {
    for version in VERSIONS {
        let project = Project::new(version, "");
        let mut files = project.native();
        let mut python = FileCoverage::new(project.path("b.py"));
        python.record(1, ExecutionCounter::exact(1), "");
        files.extend([
            python,
            native("/nowhere/gone.rs"),
            native(&project.path("src/vector")),
            native(&project.path("x.pyx")),
        ]);
        put(project.directory.path(), "src/vector", C);
        put(project.directory.path(), "x.pyx", C);
        let snapshot = snapshot(files);
        project.write(Path::new(".coverage"), &snapshot, &Options::default());
        let left_out: Vec<_> = coverage_db::left_out(&snapshot, &Options::default()).collect();
        assert_eq!(left_out, ["/nowhere/gone.rs".into(), project.path("src/vector"), project.path("x.pyx")]);
        let json = project.json(&[]);
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["b.py"], "{version}");
        project.coverage(["report"]);
        project.coverage(["html", "-d", "html"]);
        // Whoever reads the data itself finds the lines of the others.
        let back = project.read(".coverage");
        assert_eq!(hits(&back, &project.path("src/a.c"))["test two"], [3], "{version}");
    }
}

#[test]
fn data_of_coverage_py_are_read_as_its_own_interface_does() {
    const ASK: &str = "
import coverage, json, sys
data = coverage.CoverageData(sys.argv[1]); data.read()
print(json.dumps({f: {str(n): sorted(c) for n, c in data.contexts_by_lineno(f).items()} for f in data.measured_files()}))
";
    for version in VERSIONS {
        for settings in ["", "branch = true", "relative_files = true", "dynamic_context = test_function"] {
            // 5.5 would count what setuptools runs at the start of every Python as well.
            let project = Project::new(version, &format!("include = b.py,t.py\n{settings}"));
            let test = "import b\ndef test_x():\n    for i in range(3):\n        pass\ntest_x()\n";
            put(project.directory.path(), "t.py", test);
            project.coverage(["run", "t.py"]);
            let theirs = run(project.tool("python"), ["-c", ASK, ".coverage"]);
            let theirs: BTreeMap<String, BTreeMap<i64, Vec<String>>> = serde_json::from_str(&theirs).unwrap();
            // The ends of arcs that enter and leave a function are negative; old versions give them for lines here.
            let lines = |lines: BTreeMap<i64, Vec<String>>| {
                let lines = lines.into_iter().filter(|(line, _)| *line > 0);
                lines.map(|(line, names)| (u32::try_from(line).unwrap(), names)).collect()
            };
            let theirs: BTreeMap<_, _> = theirs.into_iter().map(|(path, found)| (path, lines(found))).collect();
            assert_eq!(theirs.len(), 2, "{version} {settings} {theirs:?}");
            let mut ours: BTreeMap<String, BTreeMap<u32, Vec<String>>> = BTreeMap::new();
            for file in project.read(".coverage").files() {
                let lines = ours.entry(file.path().to_string()).or_default();
                for (name, hits) in file.contexts() {
                    hits.hits().for_each(|(line, _)| lines.entry(line).or_default().push(name.to_owned()));
                }
            }
            assert_eq!(ours, theirs, "{version} {settings}");
        }
    }
}

/// The names of each line's contexts come in any order.
fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    for names in value.as_object_mut().into_iter().flat_map(|lines| lines.values_mut()) {
        if let Some(names) = names.as_array_mut() {
            names.sort_by_key(Value::to_string);
        }
    }
    value
}

/// The same data in our `coverage.json` and in what coverage.py makes of our `.coverage`, key by key.
#[test]
fn our_json_is_that_of_coverage_py() {
    let project = Project::new(VERSIONS[2], "plugins = cov_agent_coverage");
    let text = "1\n2\n3\n4\n5\n6\n7\n";
    let names = ["src/plain.c", "src/λ x.cpp", "src/none.rs"];
    let mut files: Vec<_> = names.iter().map(|name| FileCoverage::new(project.path(name))).collect();
    names.iter().for_each(|name| drop(put(project.directory.path(), name, text)));
    for file in &mut files[..2] {
        file.record(1, ExecutionCounter::exact(3), "");
        file.record(2, ExecutionCounter::exact(1 << 40), "test one");
        file.record(2, ExecutionCounter::exact(1), "test two");
        [4, 6].into_iter().for_each(|line| file.executable(line));
        file.exclude(5);
    }
    files[2].executable(7);
    let run = Run { directory: project.path("").trim_end_matches('/').to_owned(), ..Run::default() };
    let snapshot = Snapshot::new(run, BTreeSet::new(), Losses::default(), files);
    project.write(Path::new(".coverage"), &snapshot, &with_plugin());
    project.json(&["--show-contexts"]);
    let theirs: Value = serde_json::from_slice(&fs::read(project.directory.path().join("out.json")).unwrap()).unwrap();
    let mut ours = Vec::new();
    json::write(&snapshot, &mut ours).unwrap();
    let ours: Value = serde_json::from_slice(&ours).unwrap();

    assert_eq!(theirs["files"].as_object().unwrap().len(), 3);
    for (name, file) in theirs["files"].as_object().unwrap() {
        for (key, value) in file.as_object().unwrap() {
            // Regions of Python's own.
            if key != "functions" && key != "classes" {
                assert_eq!(sorted(&ours["files"][name][key]), sorted(value), "{name}: {key}");
            }
        }
    }
    assert_eq!(ours["totals"], theirs["totals"]);
    for (key, value) in theirs["meta"].as_object().unwrap() {
        match &**key {
            "version" | "timestamp" => assert!(ours["meta"][key].is_string(), "{key}"),
            _ => assert_eq!(ours["meta"][key], *value, "{key}"),
        }
    }
}

#[test]
fn ten_thousand_files_and_an_installed_plugin() {
    let version = VERSIONS[2];
    let mut project = Project::new(version, "plugins = cov_agent_coverage");
    fs::remove_file(project.directory.path().join("cov_agent_coverage.py")).unwrap();
    let source = project.directory.path().join("plugin");
    fs::create_dir(&source).unwrap();
    for name in ["cov_agent_coverage.py", "pyproject.toml"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name), source.join(name)).unwrap();
    }
    project.venv = venv("coverage-plugin", &[&format!("coverage=={version}"), "setuptools", "wheel"]);
    let pip = ["-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", "--no-build-isolation", "./plugin"];
    run(project.tool("python"), pip);
    let files = (0..10_000).map(|i| native(&format!("/p/{}/{}/mod.rs", i / 100, i % 100))).collect();
    project.write(Path::new(".coverage"), &snapshot(files), &with_plugin());
    let report = project.coverage(["report", "--format=total", "--precision=2"]);
    assert_eq!(report.trim(), "60.00", "{}", project.version);
}
