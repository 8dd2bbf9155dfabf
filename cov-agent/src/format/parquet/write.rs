//! Writing `coverage.parquet`.

use super::{DIRECTORY, GROUP_ROWS, SCHEMA};
use crate::coverage::{ExecutionCounter, FileCoverage, Snapshot};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use ::parquet::data_type::ByteArray;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::{ColumnDescPtr, ColumnPath};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

/// Values that are handed to an encoder at once.
const BATCH: usize = 4096;

/// Writes a snapshot as Parquet. Equal data give equal bytes.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    write_groups(snapshot, GROUP_ROWS, out).map_err(|error| match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    })
}

/// [`write()`] with another size of row groups.
pub(super) fn write_groups(snapshot: &Snapshot, rows: usize, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(snapshot, rows, out)?;
    snapshot.files().iter().try_for_each(|file| writer.file(file))?;
    writer.finish()
}

fn properties(snapshot: &Snapshot) -> WriterProperties {
    let directory = KeyValue::new(DIRECTORY.into(), snapshot.directory().to_owned());
    let sorted = (0..3).map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    let column = |name: &str| ColumnPath::from(name);
    WriterProperties::builder()
        .set_created_by(concat!("cov-agent ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![directory]))
        .set_sorting_columns(Some(sorted.collect()))
        // Rising numbers: their differences take a few bits each.
        .set_column_dictionary_enabled(column("line"), false)
        .set_column_encoding(column("line"), Encoding::DELTA_BINARY_PACKED)
        .build()
}

struct Row {
    line: u32,
    context: u32,
    counter: ExecutionCounter,
}

/// What is the same for all rows of a file.
struct File {
    path: ByteArray,
    build_id: ByteArray,
    source: ByteArray,
    rows: usize,
}

/// The rows of one group.
#[derive(Default)]
struct Group {
    files: Vec<File>,
    rows: Vec<Row>,
}

/// A column chunk that has one value in all its rows. Groups of equal size have equal ones, and most columns are such:
/// they are encoded once.
struct Constant {
    value: ByteArray,
    rows: usize,
    encoded: Encoded,
}

/// A column chunk's bytes and what the file's end says of it.
type Encoded = (Bytes, ColumnCloseResult);

/// What is the same for all rows.
struct Whole {
    contexts: Vec<ByteArray>,
    commit: ByteArray,
    shard: ByteArray,
    run: ByteArray,
    time: i64,
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    /// Its sink is emptied into `out` after each group: the library wants one that may change threads.
    file: SerializedFileWriter<Vec<u8>>,
    whole: Whole,
    context_ids: HashMap<String, u32>,
    group: Group,
    group_rows: usize,
    /// By column.
    constants: HashMap<String, Constant>,
}

/// Sorted, each once, separated by commas.
fn joined(texts: impl IntoIterator<Item = impl Into<String>>) -> String {
    let texts: BTreeSet<String> = texts.into_iter().map(Into::into).filter(|text| !text.is_empty()).collect();
    texts.into_iter().collect::<Vec<_>>().join(",")
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

impl<'a> Writer<'a> {
    fn new(snapshot: &Snapshot, group_rows: usize, out: &'a mut dyn Write) -> Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties(snapshot)))?;
        let names: BTreeSet<&str> =
            snapshot.files().iter().flat_map(FileCoverage::contexts).map(|(name, _)| name).collect();
        let names: BTreeSet<&str> = names.into_iter().chain([""]).collect();
        let whole = Whole {
            contexts: names.iter().map(|name| text(name)).collect(),
            commit: text(&joined(snapshot.runs().map(|run| &*run.commit))),
            shard: text(&joined(snapshot.runs().map(|run| &*run.shard))),
            run: text(&joined(snapshot.runs().map(|run| run.id.to_string()))),
            time: i64::try_from(snapshot.end().saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        };
        let context_ids = (0u32..).zip(names).map(|(id, name)| (name.to_owned(), id)).collect();
        let constants = HashMap::new();
        Ok(Self { out, file, whole, context_ids, group: Group::default(), group_rows, constants })
    }

    fn file(&mut self, file: &FileCoverage) -> Result<()> {
        let (path, build_id, source) =
            (text(file.path()), text(&joined(file.build_ids())), text(&joined(file.digests())));
        let begin = |group: &mut Group| {
            let (path, build_id, source) = (path.clone(), build_id.clone(), source.clone());
            group.files.push(File { path, build_id, source, rows: 0 });
        };
        begin(&mut self.group);
        for row in rows(file, &self.context_ids) {
            if self.group.rows.len() == self.group_rows {
                self.write_group()?;
                begin(&mut self.group);
            }
            self.group.rows.push(row);
            if let Some(file) = self.group.files.last_mut() {
                file.rows += 1;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        let rows = group.rows.len();
        let (whole, properties, constants) = (&self.whole, self.file.properties(), &self.constants);
        let columns = self.file.schema_descr().columns();
        let encode = |column: &ColumnDescPtr| -> Result<Encoded> {
            let mut sink = TrackedWrite::new(Vec::new());
            let pages = Box::new(SerializedPageWriter::new(&mut sink));
            let mut writer = get_column_writer(Arc::clone(column), Arc::clone(properties), pages);
            encode(column.name(), &group, whole, &mut writer)?;
            let closed = writer.close()?;
            Ok((Bytes::from(sink.into_inner()?), closed))
        };
        let encode = |column: &ColumnDescPtr| -> Result<(Encoded, Option<Constant>)> {
            let Some(value) = constant(column.name(), &group, whole) else { return Ok((encode(column)?, None)) };
            match constants.get(column.name()) {
                Some(known) if known.rows == rows && known.value == value => Ok((known.encoded.clone(), None)),
                _ => {
                    let encoded = encode(column)?;
                    Ok((encoded.clone(), Some(Constant { value, rows, encoded })))
                }
            }
        };
        // Dictionaries and compression take the time, and columns know nothing of each other.
        let encoded: Vec<Result<(Encoded, Option<Constant>)>> = thread::scope(|scope| {
            let threads: Vec<_> = columns.iter().map(|column| scope.spawn(|| encode(column))).collect();
            let lost = || Err(ParquetError::General("an encoder died".into()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        });
        let names: Vec<_> = columns.iter().map(|column| column.name().to_owned()).collect();
        let mut row_group = self.file.next_row_group()?;
        for (name, column) in names.into_iter().zip(encoded) {
            let ((bytes, closed), constant) = column?;
            row_group.append_column(&bytes, closed)?;
            if let Some(constant) = constant {
                self.constants.insert(name, constant);
            }
        }
        row_group.close()?;
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        self.file.flush()?;
        let bytes = std::mem::take(self.file.inner_mut());
        self.out.write_all(&bytes)?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if !self.group.rows.is_empty() {
            self.write_group()?;
        }
        self.file.finish()?;
        self.drain()
    }
}

/// The rows of a file, by line and context.
fn rows(file: &FileCoverage, context_ids: &HashMap<String, u32>) -> Vec<Row> {
    let mut counted = Vec::new();
    for (name, lines) in file.contexts() {
        let context = context_ids.get(name).copied().unwrap_or(0);
        let lines = lines.iter().filter(|&(_, counter)| counter != ExecutionCounter::ZERO);
        counted.extend(lines.map(|(line, counter)| Row { line, context, counter }));
    }
    if file.has_contexts() {
        counted.sort_unstable_by_key(|row| (row.line, row.context));
    }
    let mut rows = Vec::with_capacity(counted.len() + file.lines().len());
    let mut counted = counted.into_iter().peekable();
    for (line, _) in file.lines().iter() {
        let before = rows.len();
        while let Some(row) = counted.next_if(|row| row.line == line) {
            rows.push(row);
        }
        if rows.len() == before {
            rows.push(Row { line, context: 0, counter: ExecutionCounter::ZERO });
        }
    }
    rows
}

/// The value of a column that has the same in all rows of a group; of what is no text its bytes.
fn constant(name: &str, group: &Group, whole: &Whole) -> Option<ByteArray> {
    let of_files = |value: fn(&File) -> &ByteArray| {
        let mut values = group.files.iter().filter(|file| file.rows > 0).map(value);
        let first = values.next()?;
        values.all(|value| value == first).then(|| first.clone())
    };
    let of_rows = |value: fn(&Row) -> u32| {
        let mut values = group.rows.iter().map(value);
        let first = values.next()?;
        values.all(|value| value == first).then(|| ByteArray::from(first.to_le_bytes().to_vec()))
    };
    match name {
        "build_id" => of_files(|file| &file.build_id),
        "source" => of_files(|file| &file.source),
        "context" => of_rows(|row| row.context),
        "exact" => of_rows(|row| u32::from(!row.counter.is_lower_bound())),
        "commit" => Some(whole.commit.clone()),
        "shard" => Some(whole.shard.clone()),
        "run" => Some(whole.run.clone()),
        "time" => Some(ByteArray::from(whole.time.to_le_bytes().to_vec())),
        _ => None,
    }
}

/// Encodes one column of a group.
fn encode(name: &str, group: &Group, whole: &Whole, writer: &mut ColumnWriter<'_>) -> Result<()> {
    let rows = &group.rows;
    let of_files = |value: fn(&File) -> &ByteArray| group.files.iter().map(move |file| (value(file), file.rows));
    let all = rows.len();
    match (name, writer) {
        ("path", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat(of_files(|f| &f.path), |v| w.write_batch(v, None, None))
        }
        ("build_id", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat(of_files(|f| &f.build_id), |v| w.write_batch(v, None, None))
        }
        ("source", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat(of_files(|f| &f.source), |v| w.write_batch(v, None, None))
        }
        ("commit", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat([(&whole.commit, all)], |v| w.write_batch(v, None, None))
        }
        ("shard", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat([(&whole.shard, all)], |v| w.write_batch(v, None, None))
        }
        ("run", ColumnWriter::ByteArrayColumnWriter(w)) => {
            repeat([(&whole.run, all)], |v| w.write_batch(v, None, None))
        }
        ("time", ColumnWriter::Int64ColumnWriter(w)) => repeat([(&whole.time, all)], |v| w.write_batch(v, None, None)),
        ("context", ColumnWriter::ByteArrayColumnWriter(w)) => {
            let value = |row: &Row| whole.contexts.get(row.context as usize).cloned().unwrap_or_default();
            each(rows, value, |v| w.write_batch(v, None, None))
        }
        ("line", ColumnWriter::Int32ColumnWriter(w)) => {
            each(rows, |row| row.line.cast_signed(), |v| w.write_batch(v, None, None))
        }
        ("count", ColumnWriter::Int64ColumnWriter(w)) => {
            each(rows, |row| row.counter.value().cast_signed(), |v| w.write_batch(v, None, None))
        }
        ("exact", ColumnWriter::BoolColumnWriter(w)) => {
            each(rows, |row| !row.counter.is_lower_bound(), |v| w.write_batch(v, None, None))
        }
        _ => Err(ParquetError::General(format!("no column {name}"))),
    }
}

/// Writes each value as often as it says.
fn repeat<'a, T: Clone + 'a>(
    values: impl IntoIterator<Item = (&'a T, usize)>,
    mut write: impl FnMut(&[T]) -> Result<usize>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for (value, mut count) in values {
        while count > 0 {
            let now = count.min(BATCH - batch.len());
            batch.extend(std::iter::repeat_n(value, now).cloned());
            count -= now;
            if batch.len() == BATCH {
                write(&batch)?;
                batch.clear();
            }
        }
    }
    write(&batch).map(drop)
}

/// Writes a value of each row.
fn each<T>(rows: &[Row], value: impl Fn(&Row) -> T, mut write: impl FnMut(&[T]) -> Result<usize>) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for rows in rows.chunks(BATCH) {
        batch.clear();
        batch.extend(rows.iter().map(&value));
        write(&batch)?;
    }
    Ok(())
}
