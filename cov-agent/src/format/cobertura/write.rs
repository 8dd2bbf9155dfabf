//! Writing `cobertura.xml`.

use super::NO_SOURCE;
use crate::coverage::{Branches, FileCoverage, Snapshot, paths, percent};
use crate::format::demangle::demangle;
use crate::format::report_time;
use crate::format::text::Out;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes a snapshot as Cobertura XML.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let mut packages: BTreeMap<&str, Vec<&FileCoverage>> = BTreeMap::new();
    for file in snapshot.files() {
        packages.entry(directory(relative(snapshot, file))).or_default().push(file);
    }
    let mut out = Out::new(out);
    let total = Rate::of(snapshot.files());
    out.text("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")?;
    out.text("<!DOCTYPE coverage SYSTEM \"http://cobertura.sourceforge.net/xml/coverage-04.dtd\">\n<coverage")?;
    total.write(&mut out)?;
    attribute(&mut out, "lines-covered", &total.covered.to_string())?;
    attribute(&mut out, "lines-valid", &total.valid.to_string())?;
    attribute(&mut out, "branches-covered", &total.branches.covered.to_string())?;
    attribute(&mut out, "branches-valid", &total.branches.total.to_string())?;
    attribute(&mut out, "version", concat!("cov-agent ", env!("CARGO_PKG_VERSION")))?;
    // Milliseconds, as Cobertura and coverage.py write it.
    attribute(&mut out, "timestamp", &report_time(snapshot).saturating_mul(1000).to_string())?;
    out.text(">\n<sources><source>")?;
    let source = snapshot.directory();
    out.text(&escape(if source.is_empty() { NO_SOURCE } else { source }))?;
    out.text("</source></sources>\n<packages>\n")?;
    for (name, files) in packages {
        out.text("<package")?;
        let name = if name.is_empty() { ".".into() } else { name.trim_start_matches('/').replace('/', ".") };
        attribute(&mut out, "name", &name)?;
        Rate::of(files.iter().copied()).write(&mut out)?;
        out.text(">\n<classes>\n")?;
        for file in files {
            write_class(relative(snapshot, file), file, &mut out)?;
        }
        out.text("</classes>\n</package>\n")?;
    }
    out.text("</packages>\n</coverage>\n")?;
    out.flush()
}

fn relative<'a>(snapshot: &Snapshot, file: &'a FileCoverage) -> &'a str {
    paths::relative(snapshot.directory(), file.path())
}

/// The directory of a path; empty where it has none.
fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn write_class(path: &str, file: &FileCoverage, out: &mut Out<'_>) -> io::Result<()> {
    out.text("<class")?;
    attribute(out, "name", path.rsplit('/').next().unwrap_or(path))?;
    attribute(out, "filename", path)?;
    Rate::of([file]).write(out)?;
    if file.functions().next().is_none() {
        out.text(">\n<methods/>\n<lines>\n")?;
    } else {
        out.text(">\n<methods>\n")?;
        for (function, counter) in file.functions() {
            out.text("<method")?;
            attribute(out, "name", &demangle(&function.name))?;
            out.text(" signature=\"\"")?;
            Rate { covered: usize::from(counter.is_hit()), valid: 1, branches: Branches::default() }.write(out)?;
            out.text("><lines>")?;
            write_line(function.line.max(1), counter.value(), None, out)?;
            out.text("</lines></method>\n")?;
        }
        out.text("</methods>\n<lines>\n")?;
    }
    let mut branches: BTreeMap<u32, Branches> = BTreeMap::new();
    for (way, counter) in file.ways() {
        branches.entry(way.line).or_default().add([counter].into_iter().collect());
    }
    for (line, counter) in file.lines().iter() {
        write_line(line, counter.value(), branches.get(&line).copied(), out)?;
        out.text("\n")?;
    }
    out.text("</lines>\n</class>\n")
}

fn write_line(line: u32, hits: u64, branches: Option<Branches>, out: &mut Out<'_>) -> io::Result<()> {
    out.text("<line number=\"")?;
    out.number(u64::from(line))?;
    out.text("\" hits=\"")?;
    out.number(hits)?;
    if let Some(Branches { total, covered }) = branches {
        let percent = percent::display(covered, total, 0);
        out.text(&format!("\" branch=\"true\" condition-coverage=\"{percent}% ({covered}/{total})"))?;
    }
    out.text("\"/>")
}

/// The attributes that every level has.
#[derive(Clone, Copy, Default)]
struct Rate {
    covered: usize,
    valid: usize,
    branches: Branches,
}

impl Rate {
    fn of<'a>(files: impl IntoIterator<Item = &'a FileCoverage>) -> Self {
        let mut rate = Self::default();
        for file in files {
            rate.covered += file.lines().hit();
            rate.valid += file.lines().len();
            rate.branches.add(file.branches());
        }
        rate
    }

    fn write(self, out: &mut Out<'_>) -> io::Result<()> {
        attribute(out, "line-rate", &share(self.covered, self.valid))?;
        let Branches { total, covered } = self.branches;
        let rate = if total == 0 { "0".to_owned() } else { share(covered, total) };
        attribute(out, "branch-rate", &rate)?;
        out.text(" complexity=\"0\"")
    }
}

/// Four digits, of which neither 0 nor 1 is said falsely.
fn share(covered: usize, valid: usize) -> String {
    let percent: f64 = percent::display(covered, valid, 2).parse().unwrap_or(0.0);
    format!("{:.4}", percent / 100.0)
}

fn attribute(out: &mut Out<'_>, name: &str, value: &str) -> io::Result<()> {
    out.text(" ")?;
    out.text(name)?;
    out.text("=\"")?;
    out.text(&escape(value))?;
    out.text("\"")
}

/// Text for an attribute or an element. What XML cannot hold, in any form, becomes `?`.
fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}') || c.is_control();
    if !text.contains(special) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if special(c) => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped.into()
}

/// The snapshot in consecutive parts, each of at most `max_bytes` when written, for readers that take no bigger file
/// ([`super::GITLAB_MAX_BYTES`]). A file that is bigger by itself is a part of its own.
#[must_use]
pub fn parts(snapshot: &Snapshot, max_bytes: u64) -> Vec<Snapshot> {
    // What stands around the files; each may begin a package.
    let frame = size(&Snapshot::of_runs(snapshot.runs().cloned(), [].into(), Default::default(), Vec::new())) + 64;
    let mut parts = vec![(frame, Vec::new())];
    for file in snapshot.files() {
        let path = relative(snapshot, file);
        let mut counter = Counter(0);
        let mut out = Out::new(&mut counter);
        // A counter takes everything.
        let _ = write_class(path, file, &mut out).and_then(|()| out.flush());
        let package = 128 + 6 * directory(path).len() as u64;
        let bytes = counter.0 + package;
        match parts.last_mut() {
            Some((size, files)) if files.is_empty() || *size + bytes <= max_bytes => {
                *size += bytes;
                files.push(file.clone());
            }
            _ => parts.push((frame + bytes, vec![file.clone()])),
        }
    }
    let runs = || snapshot.runs().cloned();
    parts.into_iter().map(|(_, files)| Snapshot::of_runs(runs(), [].into(), Default::default(), files)).collect()
}

fn size(snapshot: &Snapshot) -> u64 {
    let mut counter = Counter(0);
    let _ = write(snapshot, &mut counter);
    counter.0
}

/// Counts bytes.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
