//! The command line, as clap reads it.

use super::context_args::ContextArgs;
use super::cost_args::CostArgs;
use super::data_args::{AnnotateArgs, CheckArgs, ConfigArgs, ConvertArgs, MergeArgs, ReportArgs, TestsArgs, WhoArgs};
use super::object_args::{DoctorArgs, PlanArgs};
use super::plan_args::{CacheArgs, SelectionArgs};
use crate::config::Python;
use crate::format::Format;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Line coverage, with execution counts, of unmodified programs.
///
/// Runs a program, or attaches to running processes, and counts with eBPF uprobes how often each
/// source line is entered. The program needs debug info (-g), but no rebuild.
#[derive(Debug, Parser)]
#[command(
    name = "cov-agent",
    version,
    disable_help_subcommand = true,
    override_usage = "cov-agent run [OPTIONS] -- PROGRAM [ARGS]...\n       cov-agent [OPTIONS] --pid PID [--pid PID]...\n       cov-agent COMMAND [OPTIONS] [ARGS]..."
)]
pub struct Cli {
    /// What to do; without a command, attach to the processes of `--pid`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Attaching to running processes.
    #[command(flatten)]
    pub attach: AttachArgs,
    /// Options of every command.
    #[command(flatten)]
    pub console: ConsoleArgs,
}

impl Cli {
    /// Reads a command line, the agent's own name first.
    ///
    /// # Errors
    ///
    /// Whatever clap finds wrong; that there is nothing to do; an option of `--pid` before a command,
    /// which would have no effect.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(args)?;
        let cli = Self::from_arg_matches(&matches)?;
        let command = Self::command();
        let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut own = command.get_arguments().filter(|a| !a.is_global_set()).map(|a| a.get_id().as_str());
        let misplaced = own.find(|id| cli.command.is_some() && given(*id));
        if let Some(id) = misplaced {
            let text = format!(
                "'--{}' stands before the command, where it has no effect; put it behind",
                id.replace('_', "-")
            );
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
        if cli.command.is_none() && cli.attach.pid.is_empty() {
            let text =
                "nothing to do; run a program (cov-agent run -- PROGRAM) or attach to a process (cov-agent --pid PID)";
            return Err(clap::Error::raw(ErrorKind::MissingSubcommand, text));
        }
        Ok(cli)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program and count how often each of its source lines is entered
    ///
    /// The program's input, output, environment, signals and exit status are as without the agent.
    #[command(override_usage = "cov-agent run [OPTIONS] -- PROGRAM [ARGS]...")]
    Run(RunArgs),
    /// Run tests, with a context for each
    ///
    /// Like `run --context-from test`, and knows from the command who drives the tests: cargo test,
    /// cargo nextest, CTest, go test, pytest, or the program itself. The runner's report and exit status
    /// are as without the agent.
    #[command(override_usage = "cov-agent test [OPTIONS] -- COMMAND [ARGS]...")]
    Test(RunArgs),
    /// Measure every process of this machine that runs a matching object, until SIGTERM
    ///
    /// SIGUSR1 writes what was counted until then.
    Watch(WatchArgs),
    /// Show the executable lines of a program or library, and the probes chosen for each
    ///
    /// Nothing is run, and no privilege is needed.
    Lines(LinesArgs),
    /// Show where probes would sit, what they would cost and tell
    ///
    /// Nothing is run, and no privilege is needed.
    Plan(PlanArgs),
    /// Say what this machine can do, what is missing, and how to get it
    ///
    /// Exits with 0 if `cov-agent run` would work, with 1 if not.
    Doctor(DoctorArgs),
    /// Write what agents had counted that were killed
    ///
    /// Each into its own output directory, as it would have done it itself.
    Recover(RecoverArgs),
    /// Add coverage data of several runs or machines together
    Merge(MergeArgs),
    /// Write coverage data in other formats
    Convert(ConvertArgs),
    /// Show the coverage of each file
    Report(ReportArgs),
    /// Fail where too few lines were executed
    ///
    /// Exits with 2 below the percentage, and names the files.
    Check(CheckArgs),
    /// Show sources with the count of each line
    Annotate(AnnotateArgs),
    /// Show which tests, or other contexts, ran a line
    Who(WhoArgs),
    /// Show the tests, or other contexts, in the data: which to run for a change, which add nothing
    Tests(TestsArgs),
    /// Show the settings in effect, and where each comes from
    Config(ConfigArgs),
}

/// How the agent speaks on stderr.
#[derive(Debug, Clone, Default, Args)]
pub struct ConsoleArgs {
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    pub quiet: bool,
    /// Print what each stage did and how long it took
    #[arg(short, long, global = true, display_order = 901)]
    pub verbose: bool,
    /// Colour on stderr and stdout
    #[arg(long, value_name = "WHEN", value_enum, global = true, display_order = 902)]
    pub color: Option<ColorChoice>,
    /// Read the configuration from FILE instead of looking for one
    #[arg(long, value_name = "FILE", global = true, display_order = 903)]
    pub config: Option<PathBuf>,
}

/// When to write in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Which sources are measured, and where debug info is looked for.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Measure the source files that match GLOB instead of those below the working directory or
    /// its repository; `**` crosses directories (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub include: Vec<String>,
    /// Leave out the source files that match GLOB (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub exclude: Vec<String>,
    /// Look for separate debug info below DIR too (repeatable)
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub debug_dir: Vec<PathBuf>,
}

/// What is written, and where.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputArgs {
    /// Write the coverage files into DIR [default: coverage]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write these formats only, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', action = ArgAction::Append, value_parser = format())]
    pub format: Vec<Format>,
}

/// How to measure: what `run`, `--pid` and `watch` have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct MeasureArgs {
    /// Which sources.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// What of them.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Plans.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How much it may cost.
    #[command(flatten)]
    pub cost: CostArgs,
    /// Who ran what.
    #[command(flatten)]
    pub contexts: ContextArgs,
}

/// `cov-agent run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Measure the program's own process only, not those that it starts
    #[arg(long)]
    pub no_follow: bool,
    /// Who counts lines of Python: auto, monitoring, usdt, coverage or off
    #[arg(long, value_name = "ENGINE")]
    pub python: Option<Python>,
    /// Count lines of Python as hit or not, which costs next to nothing
    #[arg(long)]
    pub python_hits: bool,
    /// Run the program as this user, by name or number
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

/// `cov-agent --pid`.
#[derive(Debug, Clone, Args)]
#[group(id = "attach")]
pub struct AttachArgs {
    /// Attach to a running process, without stopping it, until it ends (repeatable)
    #[arg(long, value_name = "PID", action = ArgAction::Append, value_parser = pid)]
    pub pid: Vec<u32>,
    /// Measure the programs that they start from now on too, and libraries that they load
    #[arg(long, requires = "pid")]
    pub follow: bool,
    /// Who counts lines of Python: auto, usdt or off
    #[arg(long, value_name = "ENGINE", requires = "pid")]
    pub python: Option<Python>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "pid")]
    pub duration: Option<Duration>,
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// `cov-agent watch`.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "matching", required = true, multiple = true, args = ["object", "cgroup", "user"])]
pub struct WatchArgs {
    /// Measure objects whose path matches GLOB; `**` crosses directories (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub object: Vec<String>,
    /// Measure processes of this group, and of those below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Measure processes of this user, by name or number
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Write what was counted each time that this many seconds are over
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub interval: Option<Duration>,
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// `cov-agent lines`.
#[derive(Debug, Clone, Args)]
pub struct LinesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which sources.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// What of them.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The program or library
    #[arg(value_name = "OBJECT")]
    pub object: PathBuf,
}

/// `cov-agent recover`.
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// Throw it away instead
    #[arg(long)]
    pub discard: bool,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// One of the formats' names.
fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

/// A process id.
fn pid(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| "give the number of a process".to_owned())
}

/// A time in seconds, with decimals if wanted.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds, such as 10 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "give a number of seconds that is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(["cov-agent"].iter().chain(args).map(OsString::from))
    }

    fn run_command(args: &[&str]) -> Vec<OsString> {
        match parse(args).expect("parses").command {
            Some(Command::Run(run)) => run.command,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault_in_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_behind_the_program_is_the_programs() {
        assert_eq!(run_command(&["run", "--", "ls", "-q", "--", "--pid", "x"]), ["ls", "-q", "--", "--pid", "x"]);
        assert_eq!(run_command(&["run", "-q", "ls", "-q", "--output", "x"]), ["ls", "-q", "--output", "x"]);
        assert_eq!(run_command(&["run", "--", "--odd-name"]), ["--odd-name"]);
    }

    #[test]
    fn unknown_options_are_not_taken_for_a_program() {
        assert!(parse(&["run", "--outptu", "x", "--", "ls"]).is_err());
    }

    #[test]
    fn pids_repeat_and_want_no_command() {
        let cli = parse(&["--pid", "12", "--pid", "13", "--duration", "0.5"]).expect("parses");
        assert_eq!(cli.attach.pid, [12, 13]);
        assert_eq!(cli.attach.duration, Some(Duration::from_millis(500)));
        for bad in [
            &[][..],
            &["--pid", "0"],
            &["--pid", "-3"],
            &["--duration", "1"],
            &["--pid", "1", "--duration", "nan"],
            &["--output", "x"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&["--pid", "1", "doctor"]).is_err());
        assert!(parse(&["--output", "x", "run", "ls"]).is_err());
        assert!(parse(&["-q", "--color", "never", "run", "ls"]).expect("parses").console.quiet);
    }

    #[test]
    fn formats_come_separated_by_commas_or_repeated() {
        let formats = |args: &[&str]| match parse(args).expect("parses").command {
            Some(Command::Run(run)) => run.measure.output.format,
            other => panic!("not run: {other:?}"),
        };
        let wanted = [Format::Lcov, Format::Json];
        assert_eq!(formats(&["run", "--format", "lcov,json", "ls"]), wanted);
        assert_eq!(formats(&["run", "--format", "lcov", "--format", "json", "ls"]), wanted);
        assert_eq!(formats(&["run", "--format", "lcov", "ls"]), [Format::Lcov]);
        assert!(formats(&["run", "ls"]).is_empty());
        assert!(parse(&["run", "--format", "lcvo", "ls"]).is_err());
    }
}
