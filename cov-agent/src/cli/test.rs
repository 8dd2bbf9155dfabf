//! `cov-agent test -- COMMAND`: `run`, with a context for each test of whatever framework the command drives.

use super::args::RunArgs;
use super::console::Console;
use super::exit::Exit;
use super::message::{Message, Slug};
use super::run;
use crate::config::{ContextFrom, Settings};
use crate::runner::Commands;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who drives the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    CargoTest,
    Nextest,
    CTest,
    GoTest,
    Pytest,
    Unittest,
    /// A suite that is itself the program, or a script judged by its exit status.
    Itself,
}

/// Runs the tests and exits as their runner did.
pub(super) fn test(args: &RunArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let mut settings = settings.clone();
    if *settings.context_from == ContextFrom::Nothing {
        settings.context_from.value = ContextFrom::Test;
    }
    let driver = driver(&args.command);
    console.detail(&format!("tests are driven by {}", driver.name()));
    let mut commands = Commands::default();
    match driver {
        Driver::CTest => commands = listed(&args.command, console),
        Driver::Unittest => commands.unittest = true,
        Driver::Itself => commands.whole = true,
        _ => {}
    }
    run::run(args, &settings, console, commands)
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Self::CargoTest => "cargo test",
            Self::Nextest => "cargo nextest",
            Self::CTest => "CTest",
            Self::GoTest => "go test",
            Self::Pytest => "pytest",
            Self::Unittest => "unittest",
            Self::Itself => "the program itself",
        }
    }
}

/// Who drives the tests of a command, by its words.
fn driver(command: &[impl AsRef<OsStr>]) -> Driver {
    let words: Vec<_> = command.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    let program = words.first().and_then(|word| Path::new(&**word).file_name()).unwrap_or_default().to_string_lossy();
    // The first word that is no option, and of cargo no toolchain.
    let verb = words.iter().skip(1).find(|word| !word.starts_with(['-', '+'])).map_or("", |word| &**word);
    let module = words.iter().position(|word| word == "-m").and_then(|at| words.get(at + 1)).map_or("", |word| &**word);
    match (&*program, verb) {
        ("cargo", "nextest") | ("cargo-nextest", _) => Driver::Nextest,
        ("cargo", "test" | "t") => Driver::CargoTest,
        ("ctest", _) => Driver::CTest,
        ("go", "test") => Driver::GoTest,
        ("pytest" | "py.test", _) => Driver::Pytest,
        (python, _) if python.starts_with("python") && module == "pytest" => Driver::Pytest,
        (python, _) if python.starts_with("python") && module == "unittest" => Driver::Unittest,
        _ => Driver::Itself,
    }
}

/// The tests that CTest will run, as it lists them: it tells a test neither by argument nor by environment.
fn listed(command: &[impl AsRef<OsStr>], console: Console) -> Commands {
    let mut list = Command::new(command.first().map(AsRef::as_ref).unwrap_or_default());
    list.args(command.iter().skip(1)).arg("--show-only=json-v1").stdin(Stdio::null()).stderr(Stdio::null());
    let read = list.output().ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let Some(list) = read else {
        let text = "ctest --show-only=json-v1 gave no list (CMake 3.14 or newer does): its tests are not told apart";
        console.warning(&Message::new(Slug::Failed, text));
        return Commands::default();
    };
    let mut names = BTreeMap::<Vec<u8>, Vec<String>>::new();
    for test in list.get("tests").and_then(Value::as_array).into_iter().flatten() {
        let (Some(name), Some(words)) = (test["name"].as_str(), test["command"].as_array()) else { continue };
        let line = words.iter().filter_map(Value::as_str).flat_map(|word| word.bytes().chain([0])).collect();
        names.entry(line).or_default().push(name.to_owned());
    }
    for same in names.values().filter(|names| names.len() > 1) {
        let text = format!("these tests run the same command and share a context: {}", same.join(", "));
        console.note(&text);
    }
    Commands {
        names: names.into_iter().map(|(line, names)| (line, names.join(" | "))).collect(),
        ..Commands::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_known_by_their_words() {
        let of = |command: &str| driver(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(of("cargo test --workspace"), Driver::CargoTest);
        assert_eq!(of("cargo +nightly --locked t"), Driver::CargoTest);
        assert_eq!(of("/usr/bin/cargo nextest run"), Driver::Nextest);
        assert_eq!(of("ctest -j4"), Driver::CTest);
        assert_eq!(of("go test ./..."), Driver::GoTest);
        assert_eq!(of("pytest -q tests"), Driver::Pytest);
        assert_eq!(of("python3.12 -W error -m pytest"), Driver::Pytest);
        assert_eq!(of("python -m unittest discover"), Driver::Unittest);
        for other in ["cargo build", "go vet", "./suite --gtest_filter=x", "make check", "python tests.py"] {
            assert_eq!(of(other), Driver::Itself, "{other}");
        }
    }
}
