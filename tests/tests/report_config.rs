//! `cov-agent config`, and what a faulty configuration does to every command.

use cov_tests::Workdir;

#[test]
fn each_value_is_shown_with_its_origin() {
    let files = [("pyproject.toml", "[tool.cov-agent]\nprecision = 2\n[tool.coverage.run]\nomit = [\"*/gen/*\"]\n")];
    let dir = Workdir::new(&files);
    let mut command = dir.command(&["config", "--output", "out", "--format", "lcov,json"]);
    let said = dir.said(&command.env("COV_AGENT_SORT", "-missing").output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let mut lines = said.out.lines();
    assert_eq!(lines.next(), Some("configuration file: pyproject.toml"));
    let changed: Vec<&str> = lines.filter(|line| !line.ends_with("(default)")).collect();
    let expected = [
        "output = out                         (--output)",
        "output_format = lcov,json            (--format)",
        "exclude_patterns = **/gen/**         (pyproject.toml:4)",
        "precision = 2                        (pyproject.toml:2)",
        "sort = -missing                      (COV_AGENT_SORT)",
    ];
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(changed.iter().map(|l| squeeze(l)).collect::<Vec<_>>(), expected.map(squeeze));
}

#[test]
fn json_says_the_same() {
    let dir = Workdir::new(&[("coverage.ini", "[cov-agent]\nenabled = no\n")]);
    let json: serde_json::Value = serde_json::from_str(&dir.prints(&["config", "--json"])).unwrap();
    assert_eq!(json["file"], "coverage.ini");
    assert_eq!(json["keys"]["enabled"], serde_json::json!({"value": "false", "origin": "coverage.ini:2"}));
    assert_eq!(json["keys"]["output"], serde_json::json!({"value": "coverage", "origin": "default"}));
}

#[test]
fn the_default_file_is_a_configuration() {
    let dir = Workdir::new(&[]);
    let text = dir.prints(&["config", "--default"]);
    dir.write("coverage.ini", &text);
    let shown = dir.prints(&["config"]);
    assert!(shown.starts_with("configuration file: coverage.ini\nenabled = true"), "{shown}");
    assert!(!shown.contains("(default)"), "{shown}");
}

#[test]
fn options_win_over_the_environment_and_that_over_files() {
    let dir = Workdir::new(&[("x.ini", "[cov-agent]\noutput = from-file\n")]);
    let output = |args: &[&str], variable: Option<&str>| {
        let mut command = dir.command(args);
        command.envs(variable.map(|value| ("COV_AGENT_OUTPUT", value)));
        let text = dir.said(&command.output().unwrap()).out;
        let line = text.lines().find(|line| line.starts_with("output = ")).unwrap();
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(output(&["config"], None), "coverage (default)");
    assert_eq!(output(&["config", "--config", "x.ini"], None), "from-file (x.ini:2)");
    assert_eq!(output(&["config", "--config", "x.ini"], Some("env")), "env (COV_AGENT_OUTPUT)");
    assert_eq!(output(&["config", "--config", "x.ini", "-o", "opt"], Some("env")), "opt (--output)");
}

#[test]
fn faults_end_every_command_before_it_does_anything() {
    let text = "[cov-agent]\noutptu = x\nprecision = -1\n";
    let expected = "\
cov-agent: error: coverage.ini:2: unknown key 'outptu'; did you mean 'output'? (config)
cov-agent: error: coverage.ini:3: precision: '-1' is not allowed; give a whole number from 0 to 9 (config)
";
    let dir = Workdir::new(&[("coverage.ini", text)]);
    for args in [&["config"][..], &["report"], &["check"], &["run", "--", "true"], &["lines", "x"], &["doctor"]] {
        let said = dir.agent(args);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (64, "", expected), "{args:?}");
    }
}

#[test]
fn oddities_are_told_and_do_no_harm() {
    let dir = Workdir::new(&[(".coveragerc", "[run]\nomitt = x\n")]);
    let said = dir.agent(&["config", "--json"]);
    assert_eq!(said.code, 0);
    let expected = "cov-agent: warning: .coveragerc:2: [run] omitt: neither cov-agent nor coverage.py has such a key; \
                    did you mean 'omit'? (config)\n";
    assert_eq!(said.err, expected);
    assert_eq!(dir.agent(&["config", "--json", "-q"]).err, "");
}

#[test]
fn the_environment_may_silence_the_agent() {
    let dir = Workdir::new(&[(".coveragerc", "[run]\nomitt = x\n")]);
    let quiet = |args: &[&str]| {
        let output = dir.command(args).env("COV_AGENT_QUIET", "true").output().unwrap();
        output.stderr.is_empty()
    };
    assert!(quiet(&["config"]));
    // What the command line says wins.
    assert!(!quiet(&["config", "--verbose"]));
}
