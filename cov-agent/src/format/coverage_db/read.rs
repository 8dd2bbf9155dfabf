//! Reading `.coverage`, ours or coverage.py's.

use super::{MAX_LINE, SCHEMA_VERSION, native, numbits, too_high};
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Snapshot};
use crate::format::error::Budget;
use crate::format::{Limits, ReadError};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;

/// The biggest data file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 30;

/// Reads a data file. A hit counts "≥1" in its context. Paths stay as they are: relative ones belong to the directory
/// in which coverage.py ran. Executable are the lines that ran, and for native files those that we wrote with them.
///
/// # Errors
/// Those of `input`; anything that is not a data file of schema version 7, is damaged, or announces more than a
/// program can have.
pub fn read(input: &mut dyn Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut bytes = Vec::new();
    input.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ReadError::TooBig(format!("more than {MAX_SIZE} bytes")));
    }
    if announced(&bytes).is_some_and(|size| size > bytes.len() as u64) {
        return Err(invalid("it was cut off"));
    }
    // Opened from memory, SQLite neither looks for a journal beside the file nor writes anything. That the file was
    // once in write-ahead mode (bytes 18 and 19) does not matter then, but SQLite would refuse it.
    if let Some(versions) = bytes.get_mut(18..20) {
        versions.fill(1);
    }
    let mut database = Connection::open_in_memory().map_err(damaged)?;
    database.deserialize_read_exact("main", bytes.as_slice(), bytes.len(), true).map_err(damaged)?;
    drop(bytes);
    Reader::of(database, limits)?.read()
}

/// The size in bytes that the file's header gives: page size at byte 16 (1 stands for 65536), pages at byte 28.
fn announced(bytes: &[u8]) -> Option<u64> {
    let page: [u8; 2] = bytes.get(16..18)?.try_into().ok()?;
    let page = match u16::from_be_bytes(page) {
        1 => 65536,
        size => u64::from(size),
    };
    let pages: [u8; 4] = bytes.get(28..32)?.try_into().ok()?;
    Some(page * u64::from(u32::from_be_bytes(pages)))
}

fn damaged(error: rusqlite::Error) -> ReadError {
    let what = match error {
        rusqlite::Error::SqliteFailure(code, text) => text.unwrap_or_else(|| code.to_string()),
        other => other.to_string(),
    };
    ReadError::damaged("coverage.py data file", what)
}

fn invalid(what: impl Into<String>) -> ReadError {
    ReadError::damaged("coverage.py data file", what)
}

struct Reader {
    database: Connection,
    budget: Budget,
}

impl Reader {
    fn of(database: Connection, limits: Limits) -> Result<Self, ReadError> {
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(damaged)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(damaged)?;
        database.set_limit(Limit::SQLITE_LIMIT_LENGTH, 64 << 20).map_err(damaged)?;
        database.execute_batch("pragma cell_size_check = on").map_err(damaged)?;
        let reader = Self { database, budget: Budget::new(limits) };
        // A view or a computed column under one of these names could make SQLite work for ever.
        for table in ["coverage_schema", "meta", "file", "context", "line_bits", "arc"] {
            let sql = "select sql from sqlite_schema where type = 'table' and name = ?";
            let sql: Option<String> =
                reader.database.query_row(sql, [table], |row| row.get(0)).optional().map_err(damaged)?;
            let Some(sql) = sql.map(|sql| sql.to_ascii_lowercase()) else {
                return Err(invalid(format!("no table \"{table}\"")));
            };
            if !sql.starts_with("create table") || sql.contains(" as ") || sql.contains(" as(") {
                return Err(invalid(format!("\"{table}\" is no plain table")));
            }
        }
        let version: i64 = reader
            .database
            .query_row("select version from coverage_schema", [], |row| row.get(0))
            .optional()
            .map_err(damaged)?
            .ok_or_else(|| invalid("it does not say which schema it follows"))?;
        if version != SCHEMA_VERSION {
            return Err(ReadError::Version {
                format: "coverage.py data file",
                found: version.to_string(),
                known: SCHEMA_VERSION.to_string(),
            });
        }
        Ok(reader)
    }

    /// Calls `each` with every row; each is a record.
    fn rows(
        &mut self,
        sql: &str,
        mut each: impl FnMut(&Row<'_>, &mut Budget) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut statement = self.database.prepare(sql).map_err(damaged)?;
        let mut rows = statement.query([]).map_err(damaged)?;
        while let Some(row) = rows.next().map_err(damaged)? {
            self.budget.records(1)?;
            each(row, &mut self.budget)?;
        }
        Ok(())
    }

    fn read(mut self) -> Result<Snapshot, ReadError> {
        let mut contexts: HashMap<i64, String> = HashMap::new();
        let mut carried = native::Rows::default();
        self.rows("select id, context from context", |row, _| {
            let name: String = row.get(1).map_err(damaged)?;
            match carried.add(&name) {
                Some(true) => {}
                Some(false) => drop(contexts.insert(row.get(0).map_err(damaged)?, name)),
                None => return Err(invalid("the lines of a native file are damaged")),
            }
            Ok(())
        })?;
        carried.sort();

        let mut files: HashMap<i64, FileCoverage> = HashMap::new();
        self.rows("select id, path from file", |row, budget| {
            let path: String = row.get(1).map_err(damaged)?;
            let mut file = FileCoverage::new(path);
            budget.file()?;
            if native::is_native(file.path()) {
                carried.apply(&mut file, budget)?;
            }
            files.insert(row.get(0).map_err(damaged)?, file);
            Ok(())
        })?;
        drop(carried);

        let find = |row: &Row<'_>| -> Result<(i64, i64), ReadError> {
            let (file, context) = (row.get(0).map_err(damaged)?, row.get(1).map_err(damaged)?);
            if contexts.contains_key(&context) { Ok((file, context)) } else { Err(invalid("a line of no context")) }
        };
        let mut record = |(file, context): (i64, i64), line: u32| {
            let file = files.get_mut(&file).ok_or_else(|| invalid("a line of no file"))?;
            file.record(line, ExecutionCounter::at_least(1), contexts.get(&context).map_or("", String::as_str));
            Ok::<_, ReadError>(())
        };
        self.rows("select file_id, context_id, numbits from line_bits", |row, budget| {
            let at = find(row)?;
            let bits = row.get_ref(2).map_err(damaged)?.as_blob().map_err(|e| invalid(e.to_string()))?;
            for line in numbits::lines(bits)? {
                budget.records(1)?;
                record(at, line)?;
            }
            Ok(())
        })?;
        // A line is the end of many arcs and counts once.
        let mut lines: BTreeSet<((i64, i64), u32)> = BTreeSet::new();
        self.rows("select file_id, context_id, fromno, tono from arc", |row, _| {
            let at = find(row)?;
            for column in [2, 3] {
                let line: i64 = row.get(column).map_err(damaged)?;
                if line > 0 {
                    let line = u32::try_from(line).ok().filter(|&line| line <= MAX_LINE);
                    let line = line.ok_or_else(|| too_high(line_number(row, column)))?;
                    lines.insert((at, line));
                }
            }
            Ok(())
        })?;
        lines.into_iter().try_for_each(|(at, line)| record(at, line))?;
        let files = files.into_values().collect();
        Ok(Snapshot::of_runs([], BTreeSet::new(), Losses::default(), files))
    }
}

fn line_number(row: &Row<'_>, column: usize) -> u64 {
    row.get::<_, i64>(column).ok().and_then(|line| u64::try_from(line).ok()).unwrap_or(u64::MAX)
}
