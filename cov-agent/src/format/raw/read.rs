//! Reading file by file.

use super::decode::{Bad, Cursor};
use super::section::{HEADER, Kind, SectionReader, header};
use super::{Head, MAGIC, NAME, VERSION, head};
use crate::coverage::{FileCoverage, Snapshot};
use crate::format::error::Budget;
use crate::format::{Limits, ReadError};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

/// Reads one segment, file by file.
///
/// ```
/// # use cov_agent::{coverage::Snapshot, format::{Limits, raw}};
/// # let mut bytes = Vec::new();
/// # raw::write(&Snapshot::default(), &mut bytes).unwrap();
/// let mut reader = raw::RawReader::new(&bytes[..], Limits::default())?;
/// println!("{} runs", reader.head().runs.len());
/// while let Some(file) = reader.next_file()? {
///     println!("{}: {} of {} lines", file.path(), file.lines().hit(), file.lines().len());
/// }
/// # Ok::<(), cov_agent::format::ReadError>(())
/// ```
pub struct RawReader<R> {
    from: SectionReader<R>,
    head: Head,
    budget: Budget,
    /// The section at hand, and how much of it was used.
    section: Vec<u8>,
    used: usize,
    records: u64,
    /// Read already, to see whether the file goes on in the next record.
    ahead: Option<FileCoverage>,
    last: Option<Arc<str>>,
    ended: bool,
}

impl<R: Read> RawReader<R> {
    /// Begins to read the first segment.
    ///
    /// # Errors
    /// It cannot be read, is none, newer, cut off or damaged.
    pub fn new(from: R, limits: Limits) -> Result<Self, ReadError> {
        let mut this = Self {
            from: SectionReader::new(from)?,
            head: Head::default(),
            budget: Budget::new(limits),
            section: Vec::new(),
            used: 0,
            records: 0,
            ahead: None,
            last: None,
            ended: false,
        };
        let first = this.from.first()?.ok_or(ReadError::Truncated { format: NAME, at: "0 bytes".into() })?;
        this.start(first)?;
        Ok(this)
    }

    fn start(&mut self, first: u8) -> Result<(), ReadError> {
        let mut rest = [0; 7];
        self.from.exact(&mut rest)?;
        let [magic, expected @ ..] = MAGIC;
        if first != magic || rest != expected {
            return Err(ReadError::damaged(NAME, "it begins otherwise"));
        }
        let mut version = [0; 4];
        self.from.exact(&mut version)?;
        let version = u32::from_le_bytes(version);
        if version > VERSION || version == 0 {
            return Err(ReadError::Version {
                format: NAME,
                found: version.to_string(),
                known: format!("1 to {VERSION}"),
            });
        }
        if self.from.section(&mut self.section)? != Kind::Head {
            return Err(self.damaged("the first section is no head"));
        }
        self.budget.text(self.section.len())?;
        self.head = Head { branches: version == VERSION, ..head::decode(&self.section)? };
        self.section.clear();
        Ok(())
    }

    fn damaged(&self, what: &str) -> ReadError {
        ReadError::damaged(NAME, format!("{what} (before byte {})", self.from.offset()))
    }

    /// What the segment says beside its files.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next file, by rising path; `None` at the segment's end.
    ///
    /// # Errors
    /// It cannot be read, is cut off or damaged, or exceeds the limits.
    pub fn next_file(&mut self) -> Result<Option<FileCoverage>, ReadError> {
        let Some(mut file) = (match self.ahead.take() {
            Some(file) => Some(file),
            None => self.next_record()?,
        }) else {
            return Ok(None);
        };
        while let Some(next) = self.next_record()? {
            if next.path() != file.path() {
                self.ahead = Some(next);
                break;
            }
            file.merge(&next);
        }
        Ok(Some(file))
    }

    fn next_record(&mut self) -> Result<Option<FileCoverage>, ReadError> {
        while self.used == self.section.len() {
            if self.ended {
                return Ok(None);
            }
            self.used = 0;
            match self.from.section(&mut self.section)? {
                Kind::Files => {}
                Kind::Head => return Err(self.damaged("a second head")),
                Kind::End => {
                    if self.section != self.records.to_le_bytes() {
                        return Err(self.damaged("the number of files does not match"));
                    }
                    self.ended = true;
                    self.section.clear();
                }
            }
        }
        let mut cursor = Cursor::new(self.section.get(self.used..).unwrap_or(&[]), self.head.branches);
        let record = cursor.file(&mut self.budget);
        let left = cursor.left();
        let file = record.map_err(|bad| match bad {
            Bad::Record(what) => self.damaged(what),
            Bad::TooBig(error) => error,
        })?;
        self.used = self.section.len() - left;
        self.records += 1;
        match &self.last {
            Some(last) if last == file.path() => {}
            Some(last) if last > file.path() => return Err(self.damaged("the files are not sorted")),
            _ => {
                self.budget.file()?;
                self.last = Some(Arc::clone(file.path()));
            }
        }
        Ok(Some(file))
    }

    /// Goes on to the next segment, after [`next_file`](Self::next_file) gave `None`; false if
    /// there is none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn next_segment(&mut self) -> Result<bool, ReadError> {
        while self.next_file()?.is_some() {}
        self.from.restart();
        let Some(first) = self.from.first()? else { return Ok(false) };
        (self.records, self.last, self.ended) = (0, None, false);
        self.start(first)?;
        Ok(true)
    }
}

/// Reads all segments into one snapshot.
///
/// # Errors
/// It cannot be read, is none, newer, cut off, damaged or beyond the limits.
pub fn read(from: impl Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut reader = RawReader::new(from, limits)?;
    let (mut head, mut files) = (Head::default(), Vec::new());
    loop {
        head.merge(reader.head().clone());
        while let Some(file) = reader.next_file()? {
            files.push(file);
        }
        if !reader.next_segment()? {
            return Ok(head.into_snapshot(files));
        }
    }
}

/// Where segments begin, in bytes from the start, found by skipping from section to section.
/// Contents are not checked: reading the segments does that.
///
/// # Errors
/// It cannot be read, is none or cut off.
pub fn segments(from: &mut (impl Read + Seek)) -> Result<Vec<u64>, ReadError> {
    let size = from.seek(SeekFrom::End(0))?;
    let (mut starts, mut at) = (Vec::new(), 0u64);
    while at < size || starts.is_empty() {
        starts.push(at);
        let start = at;
        at += MAGIC.len() as u64 + 4;
        loop {
            let cut_off = ReadError::Truncated { format: NAME, at: format!("{size} bytes") };
            if at.saturating_add(HEADER as u64) > size {
                return Err(cut_off);
            }
            from.seek(SeekFrom::Start(at))?;
            let mut bytes = [0; HEADER];
            from.read_exact(&mut bytes)?;
            let header = header(&bytes, at - start)?;
            at += (HEADER + header.stored) as u64;
            if at > size {
                return Err(cut_off);
            }
            if header.kind == Kind::End {
                break;
            }
        }
    }
    Ok(starts)
}
