//! Which files of a directory are data.

use super::{Input, InputError};
use crate::format::Format;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep directories are searched.
const MAX_DEPTH: usize = 32;

/// What to read for the paths that a person names: files and `-` as they are; of a directory the data
/// in it and below.
///
/// A run writes one data in several formats, so of each directory only the files of one format are
/// taken, the one that keeps most: raw, else Parquet, JSON, `.coverage`, Cobertura, LCOV. Beside
/// `coverage_raw.dat` its history, `coverage_raw.N.dat`, is left out: it is in it. Links to
/// directories are not followed. Sorted, each file once.
///
/// # Errors
/// A path cannot be read; a directory holds no data.
pub fn find(paths: impl IntoIterator<Item = PathBuf>) -> Result<Vec<Input>, InputError> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            inputs.push(Input::Stdin);
        } else if path.is_dir() {
            let before = inputs.len();
            search(&path, MAX_DEPTH, &mut inputs)?;
            if inputs.len() == before {
                return Err(InputError::Nothing { directory: path });
            }
        } else {
            inputs.push(Input::File(path));
        }
    }
    Ok(inputs)
}

fn search(directory: &Path, depth: usize, inputs: &mut Vec<Input>) -> Result<(), InputError> {
    let error = |e: std::io::Error| InputError::Read { input: Input::File(directory.into()), source: e.into() };
    let mut entries: Vec<_> = fs::read_dir(directory).and_then(Iterator::collect).map_err(error)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found: BTreeMap<usize, Vec<Input>> = BTreeMap::new();
    let mut below = Vec::new();
    for entry in entries {
        let kind = entry.file_type().map_err(error)?;
        if kind.is_dir() {
            below.push(entry.path());
        } else if let Some(rank) = entry.file_name().to_str().and_then(rank)
            && fs::metadata(entry.path()).is_ok_and(|data| data.is_file())
        {
            found.entry(rank).or_default().push(Input::File(entry.path()));
        }
    }
    let mut found = found.into_values().next().unwrap_or_default();
    let whole = Input::File(directory.join(Format::Raw.file_name()));
    if found.contains(&whole) {
        found.retain(|input| !matches!(input, Input::File(path) if is_history(path)));
    }
    inputs.extend(found);
    if depth > 0 {
        below.iter().try_for_each(|directory| search(directory, depth - 1, inputs))?;
    }
    Ok(())
}

/// Whether a file is `coverage_raw.N.dat`: one run's data, which `coverage_raw.dat` beside it holds
/// too (the setting `preserve_data`).
fn is_history(path: &Path) -> bool {
    let number = |name: &str| Some(name.strip_prefix("coverage_raw.")?.strip_suffix(".dat")?.parse::<u64>().is_ok());
    path.file_name().and_then(|name| number(name.to_str()?)).unwrap_or(false)
}

/// Whether a file's name says that it is of a format.
type HasName = fn(&str) -> bool;

/// The formats by how much they keep, and the files whose name says that they are of one.
const BY_NAME: [(Format, HasName); 6] = [
    (Format::Raw, |name| name.ends_with(".dat")),
    (Format::Parquet, |name| name.ends_with(".parquet")),
    (Format::Json, |name| name.starts_with("coverage") && name.ends_with(".json")),
    (Format::Coverage, |name| {
        let rest = name.strip_prefix(".coverage");
        rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !rest.ends_with("-journal")))
    }),
    (Format::Cobertura, |name| {
        (name.starts_with("cobertura") || name.starts_with("coverage")) && name.ends_with(".xml")
    }),
    (Format::Lcov, |name| name.ends_with(".info")),
];

fn rank(name: &str) -> Option<usize> {
    BY_NAME.iter().position(|(_, matches)| matches(name))
}
