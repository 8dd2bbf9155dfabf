//! Which file is the configuration.

use super::layer::{CONFIG_VARIABLE, Environment, Findings, Layer};
use super::origin::Origin;
use super::problem::Problem;
use super::{ini, toml};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where a configuration is looked for in the working directory, in this order, and whether the
/// file is for coverage alone.
const NAMES: [(&str, bool); 5] = [
    ("coverage.ini", true),
    (".coveragerc", true),
    ("setup.cfg", false),
    ("tox.ini", false),
    ("pyproject.toml", false),
];

/// A bigger file is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// The file that counts, and what it says. `config` is the one that the command line names.
pub(crate) fn find(
    config: Option<&Path>,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<(PathBuf, Layer)> {
    let variable = environment.variables.get(OsStr::new(CONFIG_VARIABLE)).filter(|value| !value.is_empty());
    if let Some(path) = config.or(variable.map(Path::new)) {
        let layer = match read(&environment.directory.join(path)) {
            Ok(text) => interpret(path, true, &text, environment, findings).unwrap_or_default(),
            Err(error) => {
                findings.faults.push(cannot_read(path, &error));
                Layer::default()
            }
        };
        return Some((path.to_owned(), layer));
    }
    NAMES.iter().find_map(|(name, own)| {
        let path = Path::new(name);
        match read(&environment.directory.join(path)) {
            Ok(text) => interpret(path, *own, &text, environment, findings).map(|layer| (path.to_owned(), layer)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                // Somebody else's file that we may not read is none of our business.
                own.then(|| findings.faults.push(cannot_read(path, &error)));
                own.then(|| (path.to_owned(), Layer::default()))
            }
        }
    })
}

/// What a file says; nothing where it is somebody else's and says nothing to us.
fn interpret(path: &Path, own: bool, text: &str, environment: &Environment, findings: &mut Findings) -> Option<Layer> {
    if !own && !text.contains("coverage") && !text.contains("cov-agent") {
        return None;
    }
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    match if is_toml { toml::parse(text, own) } else { ini::parse(text) } {
        Ok(sections) => {
            let ours = |name: &str| name == "cov-agent" || name.starts_with("coverage:");
            let any = sections.iter().any(|section| ours(&section.name.text));
            (own || any).then(|| Layer::of_file(path, own, sections, environment, findings))
        }
        Err(error) => {
            let place = Origin::File { path: path.to_owned(), line: error.line };
            findings.faults.push(Problem { place, text: error.text });
            Some(Layer::default())
        }
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Problem {
    let place = Origin::File { path: path.to_owned(), line: 0 };
    let text = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Problem { place, text }
}

/// The text of a file of reasonable size.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    // A pipe that nobody writes to would stop us for good.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "bigger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}
