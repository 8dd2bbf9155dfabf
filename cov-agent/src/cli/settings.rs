//! The settings of a command: files and environment first, then its own options.

use super::args::{Cli, ColorChoice, Command, ConsoleArgs, MeasureArgs, OutputArgs, SourceArgs};
use super::console::Console;
use super::data_args::given;
use super::message::{Message, Slug};
use super::plan_args::{CacheArgs, SelectionArgs};
use crate::config::{Color, Environment, Formats, Functions, LineLists, Loaded, Origin, Patterns, Seconds, Settings};

/// The settings in effect for a command line, with odd ones told.
pub(super) fn load(cli: &Cli, console: Console) -> Result<Loaded, Message> {
    let environment = Environment::current()
        .map_err(|error| Message::new(Slug::CannotRead, format!("the working directory: {error}")))?;
    load_in(cli, &environment, console)
}

/// The same in another environment.
pub(super) fn load_in(cli: &Cli, environment: &Environment, console: Console) -> Result<Loaded, Message> {
    let mut loaded = Settings::load(cli.console.config.as_deref(), environment).map_err(|error| {
        // One line for each fault; the last is the error that ends the agent.
        let mut faults = error.0;
        let last = faults.pop().map(|fault| fault.to_string()).unwrap_or_default();
        faults.iter().for_each(|fault| console.error(&Message::new(Slug::Config, fault)));
        Message::new(Slug::Config, last)
    })?;
    apply(cli, &mut loaded.settings);
    Ok(loaded)
}

/// What the command line says wins.
fn apply(cli: &Cli, settings: &mut Settings) {
    cli.console.apply(settings);
    match &cli.command {
        None => {
            cli.attach.measure.apply(settings);
            settings.python.command_line("--python", cli.attach.python);
            settings.duration.command_line("--duration", cli.attach.duration.map(|time| Seconds(Some(time))));
        }
        Some(Command::Run(args) | Command::Test(args)) => {
            args.measure.apply(settings);
            settings.user.command_line("--user", args.user.clone());
            settings.follow.command_line("--no-follow", args.no_follow.then_some(false));
            settings.python.command_line("--python", args.python);
            settings.python_counts.command_line("--python-hits", args.python_hits.then_some(false));
        }
        Some(Command::Watch(args)) => args.measure.apply(settings),
        Some(Command::Lines(args)) => {
            args.sources.apply(settings);
            args.selection.apply(settings);
        }
        Some(Command::Plan(args)) => {
            args.sources.apply(settings);
            args.selection.apply(settings);
        }
        Some(Command::Doctor(_)) => {}
        Some(Command::Recover(args)) => args.output.apply(settings),
        Some(Command::Merge(args)) => {
            args.input.files.apply(settings);
            args.output.apply(settings);
        }
        Some(Command::Convert(args)) => {
            args.input.files.apply(settings);
            args.output.apply(settings);
        }
        Some(Command::Report(args)) => {
            args.input.files.apply(settings);
            settings.sort.command_line("--sort", args.sort);
            settings.precision.command_line("--precision", args.precision);
            settings.show_missing.command_line("--missing", args.missing.then_some(true));
        }
        Some(Command::Check(args)) => {
            args.input.files.apply(settings);
            settings.fail_under.command_line("--fail-under", args.fail_under);
            settings.fail_under_file.command_line("--fail-under-file", args.fail_under_file);
            settings.precision.command_line("--precision", args.precision);
        }
        Some(Command::Annotate(args)) => args.input.files.apply(settings),
        Some(Command::Who(args)) => args.input.files.apply(settings),
        Some(Command::Tests(args)) => args.input.files.apply(settings),
        Some(Command::Config(args)) => {
            args.files.apply(settings);
            args.output.apply(settings);
        }
    }
}

impl ConsoleArgs {
    fn apply(&self, settings: &mut Settings) {
        settings.quiet.command_line("--quiet", self.quiet.then_some(true));
        settings.verbose.command_line("--verbose", self.verbose.then_some(true));
        let color = self.color.map(|color| match color {
            ColorChoice::Auto => Color::Auto,
            ColorChoice::Always => Color::Always,
            ColorChoice::Never => Color::Never,
        });
        settings.color.command_line("--color", color);
    }

    /// The same as the settings have it. An option of the command line puts out a setting that
    /// contradicts it.
    pub(super) fn of(settings: &Settings) -> Self {
        let loudest = |a: &Origin, b: &Origin| a >= b;
        let color = match settings.color.value {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            quiet: *settings.quiet && (!*settings.verbose || loudest(&settings.quiet.origin, &settings.verbose.origin)),
            verbose: *settings.verbose && (!*settings.quiet || settings.verbose.origin > settings.quiet.origin),
            color: Some(color),
            config: None,
        }
    }
}

impl MeasureArgs {
    fn apply(&self, settings: &mut Settings) {
        self.sources.apply(settings);
        self.selection.apply(settings);
        self.output.apply(settings);
        self.cache.apply(settings);
        self.cost.apply(settings);
        self.contexts.apply(settings);
    }
}

impl SourceArgs {
    fn apply(&self, settings: &mut Settings) {
        settings.include_patterns.command_line("--include", given(&self.include).map(Patterns));
        settings.exclude_patterns.command_line("--exclude", given(&self.exclude).map(Patterns));
        settings.debug_dir.command_line("--debug-dir", given(&self.debug_dir));
    }
}

impl SelectionArgs {
    fn apply(&self, settings: &mut Settings) {
        settings.functions.command_line("--function", given(&self.function).map(Functions));
        settings.lines.command_line("--lines", given(&self.lines).map(LineLists));
        settings.lines_diff.command_line("--lines-diff", self.lines_diff.clone());
        settings.only_missing.command_line("--only-missing", given(&self.only_missing));
        settings.branch.command_line("--branch", self.branch.then_some(true));
        settings.profile.command_line("--profile", given(&self.profile));
    }
}

impl CacheArgs {
    fn apply(&self, settings: &mut Settings) {
        settings.cache.command_line("--cache", self.cache.clone());
        let keep = if self.no_cache { Some(false) } else { self.cache.as_ref().map(|_| true) };
        settings.plan_cache.command_line(if self.no_cache { "--no-cache" } else { "--cache" }, keep);
    }
}

impl OutputArgs {
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.output.command_line("--output", self.output.clone());
        settings.output_format.command_line("--format", given(&self.format).map(Formats));
    }
}
