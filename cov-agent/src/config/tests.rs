use super::*;
use crate::format::Format;
use std::fs;

/// A directory with files, and variables.
fn environment(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (tempfile::TempDir, Environment) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let environment = Environment { directory: directory.path().to_owned(), variables };
    (directory, environment)
}

fn load(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    let (_directory, environment) = environment(files, variables);
    Settings::load(None, &environment).unwrap()
}

/// The faults, one a line.
fn faults(files: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
    let (_directory, environment) = environment(files, variables);
    Settings::load(None, &environment).unwrap_err().to_string()
}

fn warnings(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
    load(files, variables).warnings.iter().map(ToString::to_string).collect()
}

/// The values that are not the default's, with their origins.
fn changed(settings: &Settings) -> Vec<String> {
    let rows = settings.rows().into_iter().filter(|(_, _, origin)| **origin != Origin::Default);
    rows.map(|(key, value, origin)| format!("{} = {value} ({origin})", key.name)).collect()
}

#[test]
fn the_default_file_has_every_key_in_the_tables_order() {
    let defaults = reference::explained();
    assert_eq!(
        defaults.iter().map(|e| e.key.name).collect::<Vec<_>>(),
        KEYS.iter().map(|k| k.name).collect::<Vec<_>>()
    );
    let lines = DEFAULT.lines().filter(|line| !line.starts_with(['#', ' ', '[']) && !line.is_empty());
    let names: Vec<_> = lines.map(|line| line.split('=').next().unwrap().trim()).collect();
    assert_eq!(names, KEYS.iter().map(|k| k.name).collect::<Vec<_>>());
    for explained in &defaults {
        assert!(!explained.text.is_empty() && !explained.example.is_empty(), "{}", explained.key.name);
    }
}

#[test]
fn the_default_file_and_its_examples_have_no_faults() {
    assert_eq!(load(&[("coverage.ini", DEFAULT)], &[]).settings.rows().len(), KEYS.len());
    for explained in reference::explained() {
        let text = format!("[cov-agent]\n{}\n", explained.example);
        let loaded = load(&[("coverage.ini", &text)], &[]);
        assert!(loaded.warnings.is_empty());
        let name = explained.key.name;

        let origins: Vec<_> = loaded.settings.rows().into_iter().filter(|row| *row.2 != Origin::Default).collect();
        assert_eq!(origins.iter().map(|row| row.2.to_string()).collect::<Vec<_>>(), ["coverage.ini:2"], "{name}");
        assert_eq!(origins[0].0.name, name);
        let default = Settings::defaults().rows().into_iter().find(|row| row.0.name == name).unwrap().1;
        assert_ne!(origins[0].1, default, "the example of {name} shows the default");
    }
}

#[test]
fn every_key_can_be_given_in_the_environment() {
    for explained in reference::explained() {
        let name = explained.key.name;
        let row = |loaded: &Loaded| {
            let row = loaded.settings.rows().into_iter().find(|row| row.0.name == name).unwrap();
            (row.1, row.2.to_string())
        };
        let text = format!("[cov-agent]\n{}\n", explained.example);
        let (value, _) = row(&load(&[("coverage.ini", &text)], &[]));
        // What is shown can be read again.
        let variable = explained.key.environment();
        assert_eq!(variable, format!("COV_AGENT_{}", name.to_uppercase()));
        assert_eq!(row(&load(&[("coverage.ini", "[cov-agent]")], &[(&variable, &value)])), (value, variable.clone()));
    }
}

#[test]
fn the_manual_explains_every_key() {
    const MARK: &str = "cargo xtask golden -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, keys) = page.split_once(MARK).unwrap();
    if std::env::var_os("COV_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, format!("{before}{MARK}{}", reference())).unwrap();
    } else {
        assert!(keys == reference(), "{} is not what the code says; run `cargo xtask golden`", path.display());
    }
}

#[test]
fn the_default_file_gives_what_no_file_gives() {
    let from_file = load(&[("coverage.ini", DEFAULT)], &[]).settings;
    let defaults = Settings::defaults();
    let values = |settings: &Settings| settings.rows().into_iter().map(|row| row.1).collect::<Vec<_>>();
    assert_eq!(values(&from_file), values(&defaults));
    assert_eq!(defaults.output_format.value.0, [Format::Coverage, Format::Json, Format::Raw, Format::Lcov]);
    assert_eq!(defaults.exclude_lines.value.0.len(), 2);
    assert!(defaults.enabled.value);
}

#[test]
fn files_are_looked_for_in_the_documented_order() {
    let all = [
        ("coverage.ini", "[cov-agent]\nprecision = 1"),
        (".coveragerc", "[report]\nprecision = 2"),
        ("setup.cfg", "[metadata]\nname = x\n[coverage:report]\nprecision = 3"),
        ("tox.ini", "[cov-agent]\nprecision = 4"),
        ("pyproject.toml", "[tool.coverage.report]\nprecision = 5"),
    ];
    for at in 0..all.len() {
        let settings = load(&all[at..], &[]).settings;
        assert_eq!(settings.precision.value.0, at + 1);
        let line = [2, 2, 4, 2, 2][at];
        assert_eq!(settings.precision.origin.to_string(), format!("{}:{line}", all[at].0));
    }
}

#[test]
fn files_of_others_are_passed_over() {
    let files = [
        ("setup.cfg", "[tool:pytest]\naddopts = --cov\n[run]\nprecision = 1"),
        ("tox.ini", "[tox\nthis is coverage no INI"),
    ];
    assert_eq!(faults(&files, &[]), "tox.ini:1: an entry needs a section above it, such as [cov-agent]");
    let files = [("tox.ini", "[tox\nbroken"), ("pyproject.toml", "[tool.cov-agent]\nprecision = 1")];
    assert_eq!(load(&files, &[]).file, Some("pyproject.toml".into()));
    assert_eq!(load(&files[..1], &[]).file, None);
    // A file for coverage alone counts even when it says nothing.
    assert_eq!(load(&[(".coveragerc", ""), files[1]], &[]).file, Some(".coveragerc".into()));
}

#[test]
fn a_named_file_counts_and_must_be_there() {
    let files = [
        ("coverage.ini", "[cov-agent]\nprecision = 1"),
        ("x.cfg", "[report]\nprecision = 2"),
        ("y.toml", "cov-agent.precision = 3"),
    ];
    let (_directory, mut environment) = environment(&files, &[("COV_AGENT_CONFIG", "x.cfg")]);
    assert_eq!(Settings::load(None, &environment).unwrap().settings.precision.value.0, 2);
    let named = Settings::load(Some(Path::new("y.toml")), &environment).unwrap();
    assert_eq!((named.settings.precision.value.0, named.file), (3, Some("y.toml".into())));
    let error = Settings::load(Some(Path::new("no.ini")), &environment).unwrap_err().to_string();
    assert_eq!(error, "no.ini: there is no such file");
    environment.variables.insert("COV_AGENT_CONFIG".into(), "gone.ini".into());
    assert_eq!(Settings::load(None, &environment).unwrap_err().to_string(), "gone.ini: there is no such file");
    environment.variables.insert("COV_AGENT_CONFIG".into(), "".into());
    assert_eq!(Settings::load(None, &environment).unwrap().settings.precision.value.0, 1);
}

#[test]
fn files_that_cannot_be_read_are_faults() {
    let (directory, environment) = environment(&[], &[]);
    fs::create_dir(directory.path().join("coverage.ini")).unwrap();
    let says = |environment| Settings::load(None, environment).unwrap_err().to_string();
    assert_eq!(says(&environment), "coverage.ini: cannot be read: not a regular file");
    fs::remove_dir(directory.path().join("coverage.ini")).unwrap();
    fs::write(directory.path().join("coverage.ini"), b"[cov-agent]\noutput = \xff").unwrap();
    assert_eq!(says(&environment), "coverage.ini: cannot be read: not UTF-8");
    fs::write(directory.path().join("coverage.ini"), "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(says(&environment), "coverage.ini: cannot be read: bigger than 1 MiB");
    fs::remove_file(directory.path().join("coverage.ini")).unwrap();
    fs::create_dir(directory.path().join("setup.cfg")).unwrap();
    assert!(Settings::load(None, &environment).is_ok());
}

#[test]
fn every_fault_names_file_line_key_and_what_is_allowed() {
    let text = r"[cov-agent]
enabled = maybe
outptu = x
omit = x
colour = never
speed = 3
output_format = json, xml
line_threshold = -1
fail_under = 101
precision = ten
include_patterns =
    src/**
    lib/[a
exclude_lines =
    ok
    (
sort = speed
color = red
duration = soon
prefix_map = /a=/b, /c
paths =
    a = src, /ci
    b = one
context = ${NO_SUCH?}
";
    let keys = KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    let expected = [
        "coverage.ini:3: unknown key 'outptu'; did you mean 'output'?".to_owned(),
        "coverage.ini:4: unknown key 'omit'; here it is called 'exclude_patterns'".to_owned(),
        "coverage.ini:5: unknown key 'colour'; did you mean 'color'?".to_owned(),
        format!("coverage.ini:6: unknown key 'speed'; the keys are {keys}"),
        "coverage.ini:24: context: the environment variable NO_SUCH is not set".to_owned(),
        "coverage.ini:2: enabled: 'maybe' is not allowed; give true or false".to_owned(),
        "coverage.ini:7: output_format: no format is called 'xml'; there are coverage, json, raw, lcov, cobertura, parquet".to_owned(),
        "coverage.ini:8: line_threshold: '-1' is not allowed; give a whole number, 0 or more".to_owned(),
        "coverage.ini:9: fail_under: '101' is not allowed; give a percentage from 0 to 100, or nothing".to_owned(),
        "coverage.ini:10: precision: 'ten' is not allowed; give a whole number from 0 to 9".to_owned(),
        "coverage.ini:13: include_patterns: bad pattern \"lib/[a\": unclosed character class; missing ']' (`*` matches inside a directory, `**` across directories, `?` one letter)".to_owned(),
        "coverage.ini:16: exclude_lines: bad exclusion pattern \"(\": unclosed group".to_owned(),
        "coverage.ini:17: sort: 'speed' is not allowed; give name, lines, missing, cover or hottest, with - in front for the other way round".to_owned(),
        "coverage.ini:18: color: 'red' is not allowed; give auto, always or never".to_owned(),
        "coverage.ini:19: duration: 'soon' is not allowed; give a number of seconds such as 10 or 0.5, or nothing".to_owned(),
        "coverage.ini:20: prefix_map: '/c' is not allowed; give OLD=NEW, with OLD not empty".to_owned(),
        "coverage.ini:23: paths: 'one' is not allowed; give at least two paths: the one to keep, and one that means the same".to_owned(),
    ];
    let found = faults(&[("coverage.ini", text)], &[]);
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn faults_of_toml_and_of_the_environment_are_located_too() {
    let toml = "[tool.cov-agent]\nenabled = 1\noutput = [\"a\"]\nprecision = 3.5\ninclude-patterns = []\nexclude_patterns = { a = 1 }\npaths = [1]\ncontext.x = 1\n";
    let expected = [
        "pyproject.toml:5: unknown key 'include-patterns'; did you mean 'include_patterns'?",
        "pyproject.toml:3: output: 'a list' is not allowed; give a path",
        "pyproject.toml:4: precision: '3.5' is not allowed; give a whole number from 0 to 9",
        "pyproject.toml:6: exclude_patterns: 'a table' is not allowed; give globs on source paths",
        "pyproject.toml:7: paths: 'a list' is not allowed; give 'NAME = KEEP, SAME, …', one a line or separated by ';'",
        "pyproject.toml:8: context: 'a table' is not allowed; give text",
        "COV_AGENT_ENABLED: 'perhaps' is not allowed; give true or false",
        "COV_AGENT_OUTPUT_FORMAT: no format is called 'xml'; there are coverage, json, raw, lcov, cobertura, parquet",
    ];
    let variables = [("COV_AGENT_ENABLED", "perhaps"), ("COV_AGENT_OUTPUT_FORMAT", "raw,xml")];
    assert_eq!(faults(&[("pyproject.toml", toml)], &variables).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn oddities_are_warnings() {
    let text =
        "[cov-agnet]\nx = 1\n[runn]\n[my_plugin]\nx = 1\n[run]\nbranch = true\nomitt = x\nzzz = 1\n[html]\ntitel = x\n";
    let expected = [
        ".coveragerc:1: the section [cov-agnet] means nothing here; did you mean [cov-agent]?",
        ".coveragerc:3: the section [runn] means nothing here; did you mean [run]?",
        ".coveragerc:8: [run] omitt: neither cov-agent nor coverage.py has such a key; did you mean 'omit'?",
        ".coveragerc:9: [run] zzz: neither cov-agent nor coverage.py has such a key",
        ".coveragerc:11: [html] titel: neither cov-agent nor coverage.py has such a key; did you mean 'title'?",
    ];
    assert_eq!(warnings(&[(".coveragerc", text)], &[]), expected);
    let variables = [("COV_AGENT_OUTPUTS", "x"), ("COV_AGENT_XYZ", "1"), ("COV_AGENT_USER", "")];
    let expected = [
        "COV_AGENT_OUTPUTS: no key has this environment variable; did you mean 'COV_AGENT_OUTPUT'?",
        "COV_AGENT_XYZ: no key has this environment variable",
    ];
    assert_eq!(warnings(&[], &variables), expected);
}

#[test]
fn coverage_pys_names_mean_the_same() {
    let text = "
[run]
source_pkgs = pkg
omit = */gen/*
data_file = ~/x/.coverage
relative_files = yes
context = ${CTX-none}
[report]
omit = a.py
exclude_also =
    if TYPE_CHECKING:
    $x^
fail_under = 80.5
sort = -Miss
precision = 2
[paths]
Source = src, */ci/src
";
    let text = text.replace("-Miss", "-miss");
    let settings = load(&[(".coveragerc", &text)], &[("HOME", "/h"), ("CTX", "nightly, weekly")]).settings;
    let expected = [
        "data_file = /h/x/.coverage (.coveragerc:5)",
        "include_patterns = **/pkg/**, **/pkg.py (.coveragerc:3)",
        "exclude_patterns = **/gen/**, **/a.py (.coveragerc:4)",
        "relative_files = true (.coveragerc:6)",
        "paths = source = src, */ci/src (.coveragerc:16)",
        "context = nightly, weekly (.coveragerc:7)",
        "exclude_also = if TYPE_CHECKING: ⏎ ^ (.coveragerc:10)",
        "fail_under = 80.5 (.coveragerc:13)",
        "precision = 2 (.coveragerc:15)",
        "sort = -missing (.coveragerc:14)",
    ];
    assert_eq!(changed(&settings), expected);
}

#[test]
fn our_own_names_win_over_coverage_pys_in_one_file() {
    let toml = "[tool.coverage.run]\ninclude = [\"a/*\"]\nomit = [\"b/*\"]\n[tool.cov-agent]\ninclude_patterns = [\"c/{d,e}\"]\n";
    let settings = load(&[("pyproject.toml", toml)], &[]).settings;
    let expected = ["include_patterns = c/{d,e} (pyproject.toml:5)", "exclude_patterns = b/** (pyproject.toml:3)"];
    assert_eq!(changed(&settings), expected);
    // As in coverage.py, include says nothing beside source.
    let ini = "[run]\ninclude = a.py\nsource = pkg\n[report]\ninclude = b.py";
    assert_eq!(
        changed(&load(&[(".coveragerc", ini)], &[]).settings),
        ["include_patterns = **/pkg/**, **/pkg.py (.coveragerc:3)"]
    );
}

#[test]
fn default_sections_are_inherited_without_a_word() {
    let ini = "[DEFAULT]\nprecision = 3\nbasedir = /x\n[cov-agent]\nenabled = no\n[run]\n";
    let loaded = load(&[("coverage.ini", ini)], &[]);
    assert_eq!(changed(&loaded.settings), ["enabled = false (coverage.ini:5)", "precision = 3 (coverage.ini:2)"]);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn lists_come_in_every_form() {
    let forms = ["src/**,lib/{a,b}/**", " src/** ,\n    lib/{a,b}/**,\n\n", "\n  src/**\n  lib/{a,b}/**"];
    for form in forms {
        let settings = load(&[("coverage.ini", &format!("[cov-agent]\ninclude_patterns = {form}"))], &[]).settings;
        assert_eq!(settings.include_patterns.value.0, ["src/**", "lib/{a,b}/**"], "{form:?}");
    }
    let settings = load(&[], &[("COV_AGENT_PATHS", "a = src, /ci ; b = lib, */lib")]).settings;
    assert_eq!(settings.paths.value.show_rows(), "a = src, /ci; b = lib, */lib");
    let settings = load(&[], &[("COV_AGENT_OUTPUT_FORMAT", "lcov,json,lcov")]).settings;
    assert_eq!(settings.output_format.value.0, [Format::Lcov, Format::Json]);
}

impl PathMap {
    fn show_rows(&self) -> String {
        value::Value::show(self)
    }
}

mod precedence {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// For every subset of the sources that give a value, the highest of them wins, whatever
        /// the others say of other keys.
        #[test]
        fn command_line_over_environment_over_file_over_default(
            line in proptest::option::of(1u64..100),
            variable in proptest::option::of(100u64..200),
            native in proptest::option::of(200u64..300),
            other in proptest::option::of(0usize..9),
            toml in any::<bool>(),
        ) {
            let mut text = String::from(if toml { "[tool.cov-agent]\n" } else { "[cov-agent]\n" });
            native.iter().for_each(|n| text += &format!("line_threshold = {n}\n"));
            other.iter().for_each(|n| text += &format!("precision = {n}\n"));
            let value = variable.map(|n| n.to_string());
            let variables: Vec<_> = value.iter().map(|n| ("COV_AGENT_LINE_THRESHOLD", n.as_str())).collect();
            let name = if toml { "pyproject.toml" } else { "coverage.ini" };
            let mut settings = load(&[(name, &text)], &variables).settings;
            settings.line_threshold.command_line("--line-threshold", line);
            let expected = line.or(variable).or(native).unwrap_or(0);
            prop_assert_eq!(settings.line_threshold.value, expected);
            let origin = if line.is_some() {
                Origin::CommandLine("--line-threshold")
            } else if variable.is_some() {
                Origin::Environment("COV_AGENT_LINE_THRESHOLD".into())
            } else if native.is_some() {
                Origin::File { path: name.into(), line: 2 }
            } else {
                Origin::Default
            };
            prop_assert_eq!(settings.line_threshold.origin, origin);
            prop_assert_eq!(settings.precision.value.0, other.unwrap_or(0));
        }

        /// Whatever a file says, reading it ends with values or faults that name the file.
        #[test]
        fn no_file_is_too_odd(text in "(\\[(cov-agent|run|tool\\.cov-agent|paths)\\]\n|[a-z_]{1,8} ?[=:] ?[^\n]{0,12}\n|[ \t][^\n]{0,9}\n|[^\n]{0,9}\n){0,12}") {
            for name in ["coverage.ini", "pyproject.toml"] {
                let (_directory, environment) = environment(&[(name, &text)], &[]);
                if let Err(ConfigError(problems)) = Settings::load(None, &environment) {
                    for problem in problems {
                        let says = problem.to_string();
                        prop_assert!(says.starts_with(&format!("{name}:")), "{}", says);
                    }
                }
            }
        }
    }
}
