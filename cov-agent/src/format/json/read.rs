//! Reading `coverage.json`, ours or coverage.py's.

use super::FORMAT;
use crate::coverage::{ExecutionCounter, FileCoverage, LossKind, Losses, Object, Run, RunId, Snapshot, Way, paths};
use crate::format::error::Budget;
use crate::format::text::{Hashed, parse_time};
use crate::format::{Limits, ReadError};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;

/// The format's name in messages.
const NAME: &str = "coverage.py JSON file";
/// The last version of coverage.py's format that is known.
const KNOWN: u64 = 3;

/// Reads a JSON report, file by file. Without our counts a hit counts "≥1", in each context that is
/// named. Relative paths are joined to the directory that our key names, else kept. A time without
/// zone is taken as UTC. The run's id comes from the content: the same file gives the same id.
///
/// # Errors
/// It cannot be read, is no such report, is newer, cut off, damaged or beyond the limits.
pub fn read(from: impl Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut hashed = Hashed::new(from);
    let mut parser = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, &mut hashed));
    let report = Report::deserialize(&mut parser).and_then(|report| parser.end().map(|()| report));
    drop(parser);
    let report = report.map_err(read_error)?;
    report.into_snapshot(RunId(hashed.digest()), limits)
}

fn read_error(error: serde_json::Error) -> ReadError {
    match error.classify() {
        serde_json::error::Category::Io => ReadError::Io(error.into()),
        serde_json::error::Category::Eof => ReadError::Truncated { format: NAME, at: format!("line {}", error.line()) },
        _ => ReadError::damaged(NAME, error.to_string()),
    }
}

#[derive(Deserialize)]
struct Report {
    meta: Meta,
    #[serde(deserialize_with = "pairs")]
    files: Vec<(String, FileCoverage)>,
    cov_agent: Option<Whole>,
}

#[derive(Deserialize)]
struct Meta {
    format: u64,
    #[serde(default)]
    timestamp: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Whole {
    format: u64,
    tool: String,
    program: String,
    directory: String,
    commit: String,
    shard: String,
    selection: String,
    objects: Vec<StoredObject>,
    losses: BTreeMap<String, StoredLoss>,
}

#[derive(Deserialize)]
struct StoredObject {
    build_id: String,
    path: String,
}

#[derive(Deserialize)]
struct StoredLoss {
    count: u64,
    #[serde(default)]
    details: Vec<String>,
}

impl Report {
    fn into_snapshot(self, id: RunId, limits: Limits) -> Result<Snapshot, ReadError> {
        let newer = |format, found: u64, known: &str| {
            Err(ReadError::Version { format, found: found.to_string(), known: known.into() })
        };
        if self.meta.format == 0 || self.meta.format > KNOWN {
            return newer(NAME, self.meta.format, "1 to 3");
        }
        let whole = self.cov_agent.unwrap_or(Whole { format: FORMAT, ..Whole::default() });
        if whole.format != FORMAT {
            return newer("coverage.py JSON file with counts", whole.format, "1");
        }
        let mut budget = Budget::new(limits);
        let mut files = Vec::with_capacity(self.files.len());
        for (path, file) in self.files {
            budget.file()?;
            budget.records(file.lines().len() + file.ways().count())?;
            let joined = !whole.directory.is_empty() && !paths::is_absolute(&path);
            files.push(file.with_path(if joined { paths::normalize(&whole.directory, path) } else { path }));
        }
        let mut losses = Losses::default();
        for (slug, loss) in whole.losses {
            let kind = LossKind::from_slug(&slug)
                .ok_or_else(|| ReadError::damaged(NAME, format!("\"{slug}\" is no kind of loss")))?;
            // The files show their conflicts themselves.
            if kind != LossKind::SourceConflicts {
                losses.add(kind, loss.count);
                loss.details.into_iter().for_each(|detail| losses.describe(kind, detail));
            }
        }
        let run = Run {
            id,
            end: parse_time(&self.meta.timestamp).unwrap_or(0),
            program: whole.program,
            directory: whole.directory,
            tool: whole.tool,
            commit: whole.commit,
            shard: whole.shard,
            selection: whole.selection,
        };
        let objects = whole.objects.into_iter().map(|o| Object { build_id: o.build_id, path: o.path });
        Ok(Snapshot::new(run, objects.collect(), losses, files))
    }
}

/// A map as pairs in the order of the file, each value converted as soon as it is there.
fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, FileCoverage)>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, FileCoverage)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of files")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut files = Vec::new();
            while let Some(path) = map.next_key::<String>()? {
                let file = map.next_value::<StoredFile>()?.into_file();
                files.push((path, file));
            }
            Ok(files)
        }
    }

    from.deserialize_map(Pairs)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StoredFile {
    executed_lines: Vec<u32>,
    missing_lines: Vec<u32>,
    excluded_lines: Vec<u32>,
    contexts: ByLine<Vec<String>>,
    executed_branches: Vec<[i64; 2]>,
    missing_branches: Vec<[i64; 2]>,
    cov_agent: Option<Extra>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Extra {
    counts: ByLine<u64>,
    lower_bounds: Vec<u32>,
    contexts: BTreeMap<String, Counts>,
    not_measurable: ByLine<String>,
    functions: Vec<StoredFunction>,
    branches: Vec<StoredWay>,
    build_ids: Vec<String>,
    digests: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    counts: ByLine<u64>,
    lower_bounds: Vec<u32>,
}

#[derive(Deserialize)]
struct StoredFunction {
    name: String,
    mangled: Option<String>,
    line: u32,
    count: u64,
    #[serde(default)]
    lower_bound: bool,
}

#[derive(Deserialize)]
struct StoredWay {
    line: u32,
    shape: u32,
    jump: u32,
    way: u32,
    to: u32,
    count: u64,
    #[serde(default)]
    lower_bound: bool,
}

impl StoredFile {
    /// The branches of coverage.py: pairs of lines, a negative one being the end of a function.
    fn arcs(arcs: &[[i64; 2]], counter: ExecutionCounter, file: &mut FileCoverage) {
        for &[from, to] in arcs {
            let (Ok(line), Ok(number)) = (u32::try_from(from), u32::try_from(to.unsigned_abs())) else { continue };
            let to = u32::try_from(to).unwrap_or_default();
            file.way(Way { line, number, to, ..Way::default() }, counter);
        }
    }

    fn into_file(self) -> FileCoverage {
        let mut file = FileCoverage::new("");
        self.excluded_lines.into_iter().for_each(|line| file.exclude(line));
        self.missing_lines.into_iter().for_each(|line| file.executable(line));
        let Some(extra) = self.cov_agent else {
            let mut in_no_context = self.executed_lines;
            for (line, contexts) in self.contexts.0 {
                contexts.iter().for_each(|context| file.record(line, ExecutionCounter::at_least(1), context));
            }
            in_no_context.retain(|&line| file.lines().get(line).is_none_or(|counter| !counter.is_hit()));
            in_no_context.into_iter().for_each(|line| file.record(line, ExecutionCounter::at_least(1), ""));
            Self::arcs(&self.executed_branches, ExecutionCounter::at_least(1), &mut file);
            Self::arcs(&self.missing_branches, ExecutionCounter::ZERO, &mut file);
            return file;
        };
        self.executed_lines.into_iter().for_each(|line| file.executable(line));
        if extra.contexts.is_empty() {
            Counts { counts: extra.counts, lower_bounds: extra.lower_bounds }.record(&mut file, "");
        }
        extra.contexts.into_iter().for_each(|(context, counts)| counts.record(&mut file, &context));
        for function in extra.functions {
            let counter = counter(function.count, function.lower_bound);
            file.function(function.line, function.mangled.unwrap_or(function.name), counter);
        }
        for StoredWay { line, shape, jump, way: number, to, count, lower_bound } in extra.branches {
            file.way(Way { line, shape, jump, number, to }, counter(count, lower_bound));
        }
        extra.not_measurable.0.into_iter().for_each(|(line, reason)| file.unmeasurable(line, reason));
        extra.build_ids.into_iter().for_each(|id| file.compiled_into(id));
        extra.digests.into_iter().for_each(|digest| file.digest(digest));
        file
    }
}

impl Counts {
    fn record(mut self, file: &mut FileCoverage, context: &str) {
        self.lower_bounds.sort_unstable();
        let lower = |line: u32| self.lower_bounds.binary_search(&line).is_ok();
        let counted: BTreeMap<u32, u64> =
            self.lower_bounds.iter().map(|&line| (line, 0)).chain(self.counts.0).collect();
        counted.into_iter().for_each(|(line, count)| file.record(line, counter(count, lower(line)), context));
    }
}

fn counter(value: u64, lower_bound: bool) -> ExecutionCounter {
    if lower_bound { ExecutionCounter::at_least(value) } else { ExecutionCounter::exact(value) }
}

/// A map whose keys are line numbers as text.
struct ByLine<T>(Vec<(u32, T)>);

impl<T> Default for ByLine<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByLine<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Lines<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Lines<T> {
            type Value = ByLine<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by line number")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut lines = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let line = key.parse().map_err(|_| A::Error::custom(format!("\"{key}\" is no line number")))?;
                    lines.push((line, map.next_value()?));
                }
                Ok(ByLine(lines))
            }
        }

        from.deserialize_map(Lines(PhantomData))
    }
}
