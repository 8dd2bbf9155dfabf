//! coverage.py's own names: what they mean here, and which of them mean nothing here.

use super::document::{Line, Raw};
use super::keys::Form;
use crate::coverage::paths;
use std::path::Path;

/// Options of coverage.py that no key stands for: they are its own business, and no mistake.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "_crash",
            "branch",
            "command_line",
            "concurrency",
            "core",
            "cover_pylib",
            "debug",
            "debug_file",
            "disable_warnings",
            "dynamic_context",
            "parallel",
            "patch",
            "plugins",
            "sigterm",
            "timid",
        ],
    ),
    (
        "report",
        &[
            "contexts",
            "format",
            "ignore_errors",
            "include_namespace_packages",
            "partial_also",
            "partial_branches",
            "partial_branches_always",
            "skip_covered",
            "skip_empty",
        ],
    ),
    ("html", &["directory", "extra_css", "show_contexts", "skip_covered", "skip_empty", "title"]),
    ("xml", &["output", "package_depth"]),
    ("json", &["output", "pretty_print", "show_contexts"]),
    ("lcov", &["line_checksums", "output"]),
];

/// The sections that coverage.py has.
pub(crate) const SECTIONS: [&str; 7] = ["run", "report", "paths", "html", "xml", "json", "lcov"];

/// The options of `section` that no key stands for.
pub(crate) fn others(section: &str) -> &'static [&'static str] {
    OTHERS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, options)| options)
}

/// A value as our own key would have it. `directory` is the working directory, `home` the user's.
pub(crate) fn translate(form: Form, raw: Raw, directory: &Path, home: Option<&Path>) -> Raw {
    let each = |raw, translate: &dyn Fn(&str) -> Vec<String>| {
        let lines = items(raw)
            .into_iter()
            .flat_map(|line| translate(&line.text).into_iter().map(move |text| Line { number: line.number, text }));
        Raw::Items(lines.collect())
    };
    match form {
        Form::Same | Form::Section => raw,
        Form::Globs => each(raw, &|text| vec![glob(text)]),
        Form::Directories => each(raw, &|text| vec![below(directory, text)]),
        Form::Packages => each(raw, &package),
        Form::Sources => each(raw, &|text| {
            let is_directory = directory.join(text).is_dir() || text.contains(['/', '\\']);
            if is_directory { vec![below(directory, text)] } else { package(text) }
        }),
        Form::Path => {
            let expanded = raw.try_map(&mut |line: Line| {
                Ok::<_, std::convert::Infallible>(Line { text: expand_user(&line.text, home), ..line })
            });
            match expanded {
                Ok(raw) => raw,
            }
        }
    }
}

/// The items of a list; coverage.py's globs know no braces, so that every comma separates.
fn items(raw: Raw) -> Vec<Line> {
    let lines = match raw {
        Raw::Items(lines) => lines,
        Raw::Text(lines) => lines
            .into_iter()
            .flat_map(|line| {
                let texts: Vec<String> = line.text.split(',').map(str::to_owned).collect();
                texts.into_iter().map(move |text| Line { number: line.number, text })
            })
            .collect(),
        Raw::Table(_) => Vec::new(),
    };
    let trimmed = lines.into_iter().map(|line| Line { text: line.text.trim().to_owned(), ..line });
    trimmed.filter(|line| !line.text.is_empty()).collect()
}

/// A glob of coverage.py (7.0 and later, `_glob_to_regex` in its `files.py`) as one of ours.
fn glob(text: &str) -> String {
    let mut glob = text.replace('\\', "/");
    if !glob.contains('/') {
        glob = format!("**/{glob}");
    }
    if let Some(rest) = glob.strip_prefix("*/") {
        glob = format!("**/{rest}");
    }
    if let Some(rest) = glob.strip_suffix("/*") {
        glob = format!("{rest}/**");
    }
    glob.chars().map(|c| if matches!(c, '{' | '}') { format!("[{c}]") } else { c.to_string() }).collect()
}

/// All files below a directory.
fn below(directory: &Path, text: &str) -> String {
    format!("{}/**", globset::escape(paths::normalize(directory, text).trim_end_matches('/')))
}

/// All files of a Python package or module.
fn package(name: &str) -> Vec<String> {
    let path = globset::escape(&name.replace('.', "/"));
    vec![format!("**/{path}/**"), format!("**/{path}.py")]
}

/// `~` and `~/…` at the home directory.
fn expand_user(text: &str, home: Option<&Path>) -> String {
    let home = home.map(|home| home.display().to_string());
    match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Filter;

    #[test]
    fn globs_mean_what_they_mean_to_coverage_py() {
        let cases = [
            ("*/tests/*", "/p/tests/deep/a.py", true),
            ("*/tests/*", "/p/tests.py", false),
            ("test_*.py", "/p/deep/test_a.py", true),
            ("src/*", "/w/src/deep/a.py", true),
            ("src/*.py", "/w/src/deep/a.py", false),
            ("**/gen/*.py", "/w/x/gen/a.py", true),
            (r"src\*", "/w/src/a.py", true),
            ("a{b}.py", "/w/a{b}.py", true),
            ("/w/x.py", "/w/x.py", true),
        ];
        for (text, path, expected) in cases {
            let filter = Filter::new(&[glob(text)], &[] as &[&str], "/w").unwrap();
            assert_eq!(filter.matches(path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn sources_are_directories_or_packages() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("src")).unwrap();
        let root = directory.path().to_str().unwrap();
        let texts = |form, text: &str| {
            let Raw::Items(lines) = translate(form, Raw::text(1, text), directory.path(), None) else {
                panic!("a list")
            };
            lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
        };
        let expected = [&format!("{root}/src/**"), "**/my/pkg/**", "**/my/pkg.py", &format!("{root}/no/such/**")];
        assert_eq!(texts(Form::Sources, "src, my.pkg\nno/such"), expected);
        assert_eq!(texts(Form::Sources, "."), [format!("{root}/**")]);
        assert_eq!(texts(Form::Directories, "gone"), [format!("{root}/gone/**")]);
        assert_eq!(texts(Form::Packages, "src"), ["**/src/**", "**/src.py"]);
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = Some(Path::new("/home/me"));
        let cases = [("~/x", "/home/me/x"), ("~", "/home/me"), ("~you/x", "~you/x"), ("a~", "a~")];
        for (text, expected) in cases {
            assert_eq!(expand_user(text, home), expected);
        }
        assert_eq!(expand_user("~/x", None), "~/x");
    }
}
