//! stderr, where the agent speaks: errors, warnings, notes, and how wide and colourful it may be.

use super::args::{ColorChoice, ConsoleArgs};
use super::message::Message;
use anstyle::{AnsiColor, Style};
use std::io::{IsTerminal, Write as _};
use std::os::fd::AsFd;

/// Bold red: errors, and little coverage.
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
/// Bold yellow: warnings, and some coverage.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// Green: what is well.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// What is less important.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Headings and totals.
pub(crate) const BOLD: Style = Style::new().bold();

/// The widest line that is written where nobody says how wide the paper is.
const PLAIN_WIDTH: usize = 100;

/// How much the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: errors.
    Quiet,
    /// Errors, warnings, the summary.
    Normal,
    /// `-v`: what each stage did, too.
    Verbose,
}

/// stderr and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    verbosity: Verbosity,
    terminal: bool,
    color: bool,
    width: usize,
}

impl Console {
    /// The console as the options and the environment want it.
    #[must_use]
    pub fn new(args: &ConsoleArgs) -> Self {
        Self::of(args, &std::io::stderr())
    }

    /// What stdout is like, for results that are printed there.
    #[must_use]
    pub fn stdout(args: &ConsoleArgs) -> Self {
        Self::of(args, &std::io::stdout())
    }

    fn of(args: &ConsoleArgs, stream: &(impl IsTerminal + AsFd)) -> Self {
        let terminal = stream.is_terminal();
        let width = if terminal {
            terminal_size::terminal_size_of(stream).map_or(PLAIN_WIDTH, |(width, _)| usize::from(width.0))
        } else {
            PLAIN_WIDTH
        };
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        };
        Self {
            verbosity,
            terminal,
            color: wants_color(args.color.unwrap_or(ColorChoice::Auto), terminal),
            width: width.max(40),
        }
    }

    /// No terminal, no colour, `width` columns: for tests, and for text that goes elsewhere.
    #[must_use]
    pub fn plain(width: usize) -> Self {
        Self { verbosity: Verbosity::Normal, terminal: false, color: false, width }
    }

    /// Whether stderr is a terminal.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Columns that a line may have.
    #[must_use]
    pub fn width(self) -> usize {
        self.width
    }

    /// How much to say.
    #[must_use]
    pub fn verbosity(self) -> Verbosity {
        self.verbosity
    }

    /// `text` in `style`, or plain where there is no colour.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Something failed.
    pub fn error(self, message: &Message) {
        self.line(&format!("cov-agent: {} {message}", self.paint(RED, "error:")));
    }

    /// Something is not as the person may believe.
    pub fn warning(self, message: &Message) {
        if self.verbosity > Verbosity::Quiet {
            self.line(&format!("cov-agent: {} {message}", self.paint(YELLOW, "warning:")));
        }
    }

    /// Something that a person at a terminal wants to know now.
    pub fn note(self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.line(&format!("cov-agent: {}", super::message::one_line(text)));
        }
    }

    /// A detail for `-v`.
    pub fn detail(self, text: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.line(&format!("cov-agent: {}", super::message::one_line(text)));
        }
    }

    /// Lines that are ready to be shown, unless `-q`.
    pub fn block(self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.write(text);
        }
    }

    fn line(self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// One write(2) for each text, so that the program's own lines do not land inside. A closed
    /// stderr is no reason to fail: the files are what counts.
    fn write(self, text: &str) {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Whether to write in colour: <https://no-color.org>, and terminals that say they are dumb.
pub(crate) fn wants_color(choice: ColorChoice, terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
    }
}
