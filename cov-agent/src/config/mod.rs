//! Configuration: as written → validated, with the origin of each value.
//!
//! The command line wins over the environment (`COV_AGENT_<KEY>`), that over a file, that over the
//! embedded [`DEFAULT`], which is also the reference: each key with what it means.
//!
//! ```
//! use cov_agent::config::{Environment, Origin, Settings};
//! let mut environment = Environment { directory: "/nowhere".into(), ..Environment::default() };
//! environment.variables.insert("COV_AGENT_PRECISION".into(), "2".into());
//! let loaded = Settings::load(None, &environment)?;
//! assert_eq!(loaded.settings.precision.value.0, 2);
//! assert_eq!(loaded.settings.precision.origin, Origin::Environment("COV_AGENT_PRECISION".into()));
//! assert_eq!(loaded.settings.output.origin, Origin::Default);
//! # Ok::<(), cov_agent::config::ConfigError>(())
//! ```

mod context;
mod coverage_py;
mod document;
mod expand;
mod file;
mod ini;
mod keys;
mod layer;
mod list;
mod origin;
mod problem;
mod project;
mod python;
mod reference;
mod selected;
#[cfg(test)]
mod tests;
mod toml;
mod value;

pub use context::ContextFrom;
pub use keys::{Alias, Form, KEYS, Key, Settings};
pub use layer::Environment;
pub use list::{Formats, PathMap, Patterns, PrefixMap, Regexes};
pub use origin::{Origin, Setting};
pub use problem::{ConfigError, Problem};
pub use project::CoveragePy;
pub use python::Python;
pub use reference::reference;
pub use selected::{Functions, LineList, LineLists, function};
pub use value::{Color, Overhead, Precision, Relative, Seconds, Sort, SortColumn, Threshold};

use layer::{Findings, Layer};
use std::path::{Path, PathBuf};

/// The default file, commented: every key with its default value.
pub const DEFAULT: &str = include_str!("default.ini");

/// A configuration, and what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// What is odd but does no harm.
    pub warnings: Vec<Problem>,
}

impl Settings {
    /// The values that nobody gave.
    #[must_use]
    pub fn defaults() -> Self {
        let mut settings = Self::default();
        let mut findings = Findings::default();
        let sections = ini::parse(DEFAULT).unwrap_or_default();
        let environment = Environment::default();
        let mut layer = Layer::of_file(Path::new("default.ini"), true, sections, &environment, &mut findings);
        layer.0.iter_mut().for_each(|entry| entry.origin = Origin::Default);
        settings.apply(&layer, &mut findings.faults);
        settings
    }

    /// The default, then the file (`config` if given, else as the reference says), then the
    /// environment. What the command line says is up to the caller: [`Setting::command_line`].
    ///
    /// # Errors
    ///
    /// Every fault of the file and the environment: a file that is not there, cannot be read or
    /// understood; unknown keys; values that are not allowed.
    pub fn load(config: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let mut findings = Findings::default();
        let mut settings = Self::defaults();
        let found = file::find(config, environment, &mut findings);
        let file = found.map(|(file, layer)| {
            settings.apply(&layer, &mut findings.faults);
            file
        });
        let layer = Layer::of_environment(environment, &mut findings);
        settings.apply(&layer, &mut findings.faults);
        if findings.faults.is_empty() {
            Ok(Loaded { settings, file, warnings: findings.warnings })
        } else {
            Err(ConfigError(findings.faults))
        }
    }
}
