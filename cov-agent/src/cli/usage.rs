//! A wrong command line, told in one line instead of clap's several.

use super::args::ConsoleArgs;
use super::console::Console;
use super::exit::Exit;
use super::message::{Message, Slug};
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Prints help and version on stdout, an error on stderr.
pub(super) fn report(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that closed the pipe has seen enough.
        let _ = error.print();
        return Exit::Success;
    }
    let message = message(error);
    Console::new(&ConsoleArgs::default()).error(&message);
    message.slug.exit()
}

/// clap's first paragraph, its suggestions, and where to read on.
fn message(error: &clap::Error) -> Message {
    let rendered = error.to_string();
    let what = rendered
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim_start_matches("error:")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut text = what;
    let mut suggested = false;
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue] {
        let names = match error.get(kind) {
            Some(ContextValue::String(name)) => name.clone(),
            Some(ContextValue::Strings(names)) if !names.is_empty() => names.join("' or '"),
            _ => continue,
        };
        text.push_str(&format!("; did you mean '{names}'?"));
        suggested = true;
    }
    if error.kind() == ErrorKind::InvalidSubcommand && !suggested {
        text.push_str("; to run a program: cov-agent run -- PROGRAM");
    }
    text.push_str("; see 'cov-agent --help'");
    Message::new(Slug::Usage, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn says(args: &[&str]) -> String {
        let args = ["cov-agent"].iter().chain(args).map(std::ffi::OsString::from);
        message(&Cli::read(args).expect_err("a usage error")).to_string()
    }

    #[test]
    fn mistakes_are_told_in_one_line_with_the_nearest_option() {
        let cases: [(&[&str], &str); 10] = [
            (&["run", "--outptu", "x", "--", "ls"], "unexpected argument '--outptu' found; did you mean '--output'?"),
            (&["lnies", "x"], "unrecognized subcommand 'lnies'; did you mean 'lines'?"),
            (&["./prog"], "unrecognized subcommand './prog'; to run a program: cov-agent run -- PROGRAM"),
            (&["run"], "the following required arguments were not provided: <PROGRAM>..."),
            (&["--pid", "x"], "invalid value 'x' for '--pid <PID>': give the number of a process"),
            (
                &["--color", "x", "doctor"],
                "invalid value 'x' for '--color <WHEN>' [possible values: auto, always, never]",
            ),
            (&["-q", "-v", "doctor"], "the argument '--quiet' cannot be used with '--verbose'"),
            (
                &["--pid", "1", "--duration", "x"],
                "invalid value 'x' for '--duration <SECONDS>': give a number of seconds, such as 10 or 0.5",
            ),
            (
                &["--output", "x", "run", "ls"],
                "'--output' stands before the command, where it has no effect; put it behind",
            ),
            (
                &[],
                "nothing to do; run a program (cov-agent run -- PROGRAM) or attach to a process (cov-agent --pid PID)",
            ),
        ];
        for (args, text) in cases {
            assert_eq!(says(args), format!("{text}; see 'cov-agent --help' (usage)"), "{args:?}");
        }
    }
}
