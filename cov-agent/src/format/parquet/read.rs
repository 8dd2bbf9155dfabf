//! Reading `coverage.parquet`.

use super::DIRECTORY;
use super::column::{Column, Fault, fault};
use super::pages::Pages;
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run, RunId, Snapshot};
use crate::format::error::Budget;
use crate::format::{Limits, ReadError};
use ::parquet::data_type::ByteArray;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// Rows that are held in memory at once.
const BATCH: usize = 1 << 14;

/// Reads a Parquet file from any source; it goes through a temporary file, as Parquet is read from its end.
///
/// # Errors
/// As [`read_file`], and those of the temporary file.
pub fn read(input: &mut dyn Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    read_file(&file, limits)
}

/// Reads a Parquet file, row group by row group. It need not be ours or sorted.
///
/// # Errors
/// Those of the file; anything that is not Parquet with the columns that the module's text names, of these types or
/// wider ones, compressed with zstd, snappy or not at all.
pub fn read_file(file: &File, limits: Limits) -> Result<Snapshot, ReadError> {
    let pages = Arc::new(Pages(file.try_clone()?));
    // The library guards against damaged files, but does not promise never to panic on them.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(file).map_err(fault)?;
        let mut reader = Reader {
            directory: directory(&metadata),
            budget: Budget::new(limits),
            kept: HashSet::new(),
            files: Vec::new(),
            by_path: HashMap::new(),
            runs: Runs::default(),
        };
        for group in metadata.row_groups() {
            reader.group(&pages, group)?;
        }
        Ok(reader.finish())
    }));
    let result = result.unwrap_or_else(|_| Err(Stop::Damaged("it is damaged in a way that cannot be told".into())));
    result.map_err(|stop| match stop {
        Stop::Damaged(what) => ReadError::damaged("Parquet file of coverage", what),
        Stop::TooBig(error) => error,
    })
}

/// Why reading stopped.
enum Stop {
    Damaged(Fault),
    TooBig(ReadError),
}

impl From<Fault> for Stop {
    fn from(what: Fault) -> Self {
        Self::Damaged(what)
    }
}

fn directory(metadata: &ParquetMetaData) -> String {
    let pairs = metadata.file_metadata().key_value_metadata();
    let value = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == DIRECTORY));
    value.and_then(|pair| pair.value.clone()).unwrap_or_default()
}

/// Which of a file's texts.
enum Of {
    BuildId,
    Digest,
    Context,
}

struct Reader {
    directory: String,
    budget: Budget,
    /// The digests of all texts that were kept.
    kept: HashSet<u128>,
    files: Vec<FileCoverage>,
    /// Where each path is in `files`.
    by_path: HashMap<String, usize>,
    runs: Runs,
}

impl Reader {
    fn group(&mut self, pages: &Arc<Pages>, group: &RowGroupMetaData) -> Result<(), Stop> {
        let open = |name: &str| Column::open(pages, group, name);
        let needed = |name: &str| open(name)?.ok_or_else(|| format!("it has no column \"{name}\""));
        let (mut path, mut line, mut count) = (needed("path")?, needed("line")?, needed("count")?);
        let (mut context, mut exact) = (open("context")?, open("exact")?);
        let (mut build_id, mut source) = (open("build_id")?, open("source")?);
        let (mut run, mut commit, mut shard, mut time) = (open("run")?, open("commit")?, open("shard")?, open("time")?);
        let mut batch = Batch::default();
        let mut left = u64::try_from(group.num_rows()).map_err(|error| error.to_string())?;
        // A few bytes can announce any number of equal rows.
        self.budget.records(usize::try_from(left).unwrap_or(usize::MAX)).map_err(Stop::TooBig)?;
        while left > 0 {
            let rows = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
            path.texts(rows, &mut batch.path)?;
            line.numbers(rows, &mut batch.line)?;
            count.numbers(rows, &mut batch.count)?;
            optional(&mut context, |c| c.texts(rows, &mut batch.context))?;
            optional(&mut exact, |c| c.bools(rows, &mut batch.exact))?;
            optional(&mut build_id, |c| c.texts(rows, &mut batch.build_id))?;
            optional(&mut source, |c| c.texts(rows, &mut batch.source))?;
            optional(&mut run, |c| c.texts(rows, &mut batch.run))?;
            optional(&mut commit, |c| c.texts(rows, &mut batch.commit))?;
            optional(&mut shard, |c| c.texts(rows, &mut batch.shard))?;
            optional(&mut time, |c| c.numbers(rows, &mut batch.time))?;
            self.batch(&batch, rows)?;
            left -= rows as u64;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch, rows: usize) -> Result<(), Stop> {
        let none = ByteArray::from(Vec::new());
        let text = |column: &'_ [ByteArray], row: usize| column.get(row).unwrap_or(&none).clone();
        let mut at = None;
        for row in 0..rows {
            // Rows mostly come file by file: what is a file's or a run's own is looked at once for many rows.
            let same = row > 0 && batch.same_as_before(row);
            let file = match at {
                Some(at) if same => at,
                _ => {
                    let path = text(&batch.path, row);
                    let path = utf8("path", &path)?;
                    let at = self.by_path.get(path).copied().unwrap_or(self.files.len());
                    if at == self.files.len() {
                        self.budget.file().map_err(Stop::TooBig)?;
                        self.budget.text(path.len()).map_err(Stop::TooBig)?;
                        self.by_path.insert(path.to_owned(), at);
                        self.files.push(FileCoverage::new(path));
                    }
                    let (ids, digests) = (text(&batch.build_id, row), text(&batch.source, row));
                    for id in utf8("build_id", &ids)?.split(',').filter(|id| !id.is_empty()) {
                        if self.is_new(at, Of::BuildId, id)?
                            && let Some(file) = self.files.get_mut(at)
                        {
                            file.compiled_into(id);
                        }
                    }
                    for digest in utf8("source", &digests)?.split(',').filter(|digest| !digest.is_empty()) {
                        if self.is_new(at, Of::Digest, digest)?
                            && let Some(file) = self.files.get_mut(at)
                        {
                            file.digest(digest);
                        }
                    }
                    self.runs.add(batch, row, &mut self.budget)?;
                    at
                }
            };
            at = Some(file);
            let context = batch.context.get(row).map_or(Ok(""), |context| utf8("context", context))?;
            if !context.is_empty() {
                self.is_new(file, Of::Context, context)?;
            }
            let (Some(file), Some(&line), Some(&count)) =
                (self.files.get_mut(file), batch.line.get(row), batch.count.get(row))
            else {
                continue;
            };
            let line =
                u32::try_from(line).ok().filter(|&line| line > 0).ok_or_else(|| format!("there is no line {line}"))?;
            let exact = batch.exact.get(row).copied().unwrap_or(true);
            let counter = if exact { ExecutionCounter::exact(count) } else { ExecutionCounter::at_least(count) };
            file.record(line, counter, context);
        }
        Ok(())
    }

    /// Whether a text of a file appears for the first time; then it is one more to keep.
    fn is_new(&mut self, file: usize, of: Of, text: &str) -> Result<bool, Stop> {
        let seed = (file as u64) << 2 | of as u64;
        let new = self.kept.insert(XxHash3_128::oneshot_with_seed(seed, text.as_bytes()));
        if new {
            self.budget.text(text.len()).map_err(Stop::TooBig)?;
        }
        Ok(new)
    }

    fn finish(self) -> Snapshot {
        let runs = self.runs.found.into_values().map(|run| Run { directory: self.directory.clone(), ..run });
        Snapshot::of_runs(runs, BTreeSet::new(), Losses::default(), self.files)
    }
}

fn optional(column: &mut Option<Column>, read: impl FnOnce(&mut Column) -> Result<(), Fault>) -> Result<(), Fault> {
    column.as_mut().map_or(Ok(()), read)
}

fn utf8<'a>(column: &str, bytes: &'a ByteArray) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes.data()).map_err(|_| format!("a text in the column \"{column}\" is not UTF-8"))
}

/// Some rows, column by column; a column that the file does not have is empty.
#[derive(Default)]
struct Batch {
    path: Vec<ByteArray>,
    line: Vec<u64>,
    context: Vec<ByteArray>,
    count: Vec<u64>,
    exact: Vec<bool>,
    build_id: Vec<ByteArray>,
    source: Vec<ByteArray>,
    run: Vec<ByteArray>,
    commit: Vec<ByteArray>,
    shard: Vec<ByteArray>,
    time: Vec<u64>,
}

impl Batch {
    /// Whether the row belongs to the same file and run as the one before.
    fn same_as_before(&self, row: usize) -> bool {
        let texts = [&self.path, &self.build_id, &self.source, &self.run, &self.commit, &self.shard];
        texts.iter().all(|column| column.get(row) == column.get(row - 1))
            && self.time.get(row) == self.time.get(row - 1)
    }
}

/// The runs that the rows come from.
#[derive(Default)]
struct Runs {
    found: HashMap<RunId, Run>,
}

impl Runs {
    fn add(&mut self, batch: &Batch, row: usize, budget: &mut Budget) -> Result<(), Stop> {
        let text = |name: &str, column: &[ByteArray]| -> Result<String, Fault> {
            column.get(row).map_or(Ok(String::new()), |text| utf8(name, text).map(str::to_owned))
        };
        for id in text("run", &batch.run)?.split(',').filter(|id| !id.is_empty()) {
            let id = run_id(id).ok_or_else(|| format!("\"{id}\" in the column \"run\" is not the id of a run"))?;
            if let Entry::Vacant(entry) = self.found.entry(id) {
                let (commit, shard) = (text("commit", &batch.commit)?, text("shard", &batch.shard)?);
                budget.text(size_of::<Run>() + commit.len() + shard.len()).map_err(Stop::TooBig)?;
                entry.insert(Run {
                    id,
                    end: batch.time.get(row).copied().unwrap_or(0) / 1_000_000,
                    commit,
                    shard,
                    selection: String::new(),
                    program: String::new(),
                    directory: String::new(),
                    tool: String::new(),
                });
            }
        }
        Ok(())
    }
}

/// An id of 32 hexadecimal digits.
fn run_id(text: &str) -> Option<RunId> {
    let number = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())??;
    Some(RunId(number.to_be_bytes()))
}
