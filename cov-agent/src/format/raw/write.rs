//! Writing file by file.

use super::encode::Part;
use super::section::{Kind, SectionWriter};
use super::{Head, MAGIC, MAX_SECTION, VERSION, VERSION_WITHOUT_BRANCHES, encode, head};
use crate::coverage::FileCoverage;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

/// A section is closed when it has so many bytes: readers of many files keep one section of each.
const SECTION: usize = 128 << 10;
/// Lines of one file that go into one record: a file of more is split.
const PART: usize = 100_000;

/// Writes one segment, file by file.
pub struct RawWriter<W> {
    out: SectionWriter<W>,
    section: Vec<u8>,
    records: u64,
    last: Option<Arc<str>>,
    branches: bool,
}

impl<W: Write> RawWriter<W> {
    /// Begins a segment.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, head: &Head) -> io::Result<Self> {
        let mut start = MAGIC.to_vec();
        let version = if head.branches { VERSION } else { VERSION_WITHOUT_BRANCHES };
        start.extend_from_slice(&version.to_le_bytes());
        let mut out = SectionWriter::new(out, &start)?;
        out.section(Kind::Head, &head::encode(head)?)?;
        Ok(Self { out, section: Vec::with_capacity(2 * SECTION), records: 0, last: None, branches: head.branches })
    }

    /// Writes a file. They must come by rising path.
    ///
    /// # Errors
    /// Those of `out`; `InvalidInput` if the path is not above the one before, or if the file has conditional jumps and
    /// the head says that there are none.
    pub fn file(&mut self, file: &FileCoverage) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|last| last >= file.path()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "files must be written by rising path"));
        }
        if !self.branches && file.ways().next().is_some() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the head announces no conditional jumps"));
        }
        self.last = Some(Arc::clone(file.path()));
        let contexts = 0..file.contexts().count();
        let mut first = 0;
        let starts = file.lines().iter().map(|(line, _)| line).step_by(PART).skip(1);
        for start in starts.collect::<Vec<_>>() {
            self.part(file, &Part { lines: first..=start - 1, contexts: contexts.clone() })?;
            first = start;
        }
        self.part(file, &Part { lines: first..=u32::MAX, contexts })
    }

    fn part(&mut self, file: &FileCoverage, part: &Part) -> io::Result<()> {
        let before = self.section.len();
        encode::record(file, part.clone(), &mut self.section);
        if self.branches {
            encode::ways(file, part, &mut self.section);
        }
        if self.section.len() > MAX_SECTION && before > 0 {
            // Perhaps it fits into a section of its own.
            let record = self.section.split_off(before);
            self.close_section()?;
            self.section = record;
        }
        if self.section.len() > MAX_SECTION
            && let Some((one, other)) = halves(file, part)
        {
            self.section.clear();
            self.part(file, &one)?;
            return self.part(file, &other);
        }
        self.records += 1;
        if self.section.len() >= SECTION { self.close_section() } else { Ok(()) }
    }

    fn close_section(&mut self) -> io::Result<()> {
        if !self.section.is_empty() {
            self.out.section(Kind::Files, &self.section)?;
            self.section.clear();
        }
        Ok(())
    }

    /// Ends the segment.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<()> {
        self.close_section()?;
        self.out.section(Kind::End, &self.records.to_le_bytes())?;
        self.out.flush()
    }
}

/// Two halves of a part: of its lines, or of its contexts where it has one line. `None`: it is
/// too small to be halved.
fn halves(file: &FileCoverage, part: &Part) -> Option<(Part, Part)> {
    let Part { lines, contexts } = part.clone();
    let (first, last) = lines.into_inner();
    let executable: Vec<u32> = file.lines().range(first..=last).map(|(line, _)| line).collect();
    let half = |lines, contexts| Part { lines, contexts };
    if let Some(&middle) = executable.get(executable.len() / 2).filter(|&&line| line > first) {
        return Some((half(first..=middle - 1, contexts.clone()), half(middle..=last, contexts)));
    }
    let middle = usize::midpoint(contexts.start, contexts.end);
    let lines = || first..=last;
    (contexts.len() > 1).then(|| (half(lines(), contexts.start..middle), half(lines(), middle..contexts.end)))
}
