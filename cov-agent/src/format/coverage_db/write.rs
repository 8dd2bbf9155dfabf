//! Writing `.coverage`.

use super::{Options, SCHEMA, SCHEMA_VERSION, TRACER, is_kept_without_plugin, native, numbits};
use crate::coverage::{FileCoverage, Snapshot, paths};
use rusqlite::{Connection, params};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

/// Writes a snapshot as `.coverage`. Equal data give equal bytes.
///
/// # Errors
/// Those of `out`, and SQLite's when it runs out of memory.
pub fn write(snapshot: &Snapshot, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let mut database = database(snapshot, options).map_err(io::Error::other)?;
    let bytes = database.serialize("main").map_err(io::Error::other)?;
    out.write_all(&bytes)
}

/// The database, in memory: nothing to clean up after a crash, and it reaches the disk in one stream.
fn database(snapshot: &Snapshot, options: &Options) -> rusqlite::Result<Connection> {
    let database = Connection::open_in_memory()?;
    database.execute_batch("pragma journal_mode = off; pragma foreign_keys = off; begin;")?;
    database.execute_batch(SCHEMA)?;
    database.execute("insert into coverage_schema (version) values (?)", [SCHEMA_VERSION])?;
    let mut meta = database.prepare("insert into meta (key, value) values (?, ?)")?;
    meta.execute(["has_arcs", if options.branch { "1" } else { "0" }])?;
    meta.execute(["version", concat!("cov-agent ", env!("CARGO_PKG_VERSION"))])?;
    drop(meta);

    let files: Vec<_> =
        snapshot.files().iter().filter(|f| options.plugin || is_kept_without_plugin(f.path())).collect();
    let hit = files.iter().flat_map(|file| file.contexts()).filter(|(_, lines)| lines.hit() > 0);
    let names: BTreeSet<&str> = hit.map(|(name, _)| name).collect();
    let mut context = database.prepare("insert into context (id, context) values (?, ?)")?;
    // coverage.py makes the default context in every file.
    let names = BTreeSet::from([""]).into_iter().chain(names.into_iter().filter(|name| !name.is_empty()));
    let mut ids = HashMap::new();
    for (id, name) in (1i64..).zip(names) {
        context.execute(params![id, name])?;
        ids.insert(name, id);
    }
    drop(context);

    let mut rows = Rows::prepare(&database)?;
    for (id, file) in (1i64..).zip(files) {
        let path = options.relative_to.as_deref().map_or(&**file.path(), |base| paths::relative(base, file.path()));
        rows.file(id, path, file, options, &ids)?;
    }
    drop(rows);
    database.execute_batch("commit")?;
    Ok(database)
}

/// The prepared statements for one file after the other.
struct Rows<'a> {
    file: rusqlite::Statement<'a>,
    lines: rusqlite::Statement<'a>,
    arc: rusqlite::Statement<'a>,
    tracer: rusqlite::Statement<'a>,
    carrier: rusqlite::Statement<'a>,
}

impl<'a> Rows<'a> {
    fn prepare(database: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            file: database.prepare("insert into file (id, path) values (?, ?)")?,
            lines: database.prepare("insert into line_bits (file_id, context_id, numbits) values (?, ?, ?)")?,
            arc: database.prepare("insert into arc (file_id, context_id, fromno, tono) values (?, ?, ?, ?)")?,
            tracer: database.prepare("insert into tracer (file_id, tracer) values (?, ?)")?,
            carrier: database.prepare("insert into context (context) values (?)")?,
        })
    }

    fn file(
        &mut self,
        id: i64,
        path: &str,
        file: &FileCoverage,
        options: &Options,
        contexts: &HashMap<&str, i64>,
    ) -> rusqlite::Result<()> {
        self.file.execute(params![id, path])?;
        for (name, lines) in file.contexts() {
            let Some(context) = contexts.get(name) else { continue };
            let hits = lines.hits().map(|(line, _)| line);
            if options.branch {
                for line in hits.filter(|&line| line <= super::MAX_LINE) {
                    self.arc.execute(params![id, context, line, line])?;
                }
            } else {
                let bits = numbits::from_lines(hits);
                if !bits.is_empty() {
                    self.lines.execute(params![id, context, bits])?;
                }
            }
        }
        if native::is_native(path) {
            self.carrier.execute([native::context(file, path)])?;
            if options.plugin {
                self.tracer.execute(params![id, TRACER])?;
            }
        }
        Ok(())
    }
}
