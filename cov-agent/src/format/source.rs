//! Data as a stream of files.

use super::ReadError;
use super::raw::{Head, RawReader};
use crate::coverage::{FileCoverage, Snapshot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::sync::Arc;
use std::vec::IntoIter;

/// A snapshot of which one file at a time is in memory: first the head, then the files by rising
/// path, each path once.
pub trait FileSource {
    /// What there is beside the files.
    fn head(&self) -> &Head;

    /// The next file; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read.
    fn next_file(&mut self) -> Result<Option<FileCoverage>, ReadError>;
}

impl<R: Read> FileSource for RawReader<R> {
    fn head(&self) -> &Head {
        Self::head(self)
    }

    fn next_file(&mut self) -> Result<Option<FileCoverage>, ReadError> {
        Self::next_file(self)
    }
}

impl<S: FileSource + ?Sized> FileSource for Box<S> {
    fn head(&self) -> &Head {
        (**self).head()
    }

    fn next_file(&mut self) -> Result<Option<FileCoverage>, ReadError> {
        (**self).next_file()
    }
}

/// A snapshot in memory as a stream; each file is freed by who takes it.
pub struct InMemory {
    head: Head,
    files: IntoIter<FileCoverage>,
}

impl From<Snapshot> for InMemory {
    fn from(snapshot: Snapshot) -> Self {
        Self { head: Head::of(&snapshot), files: snapshot.into_files().into_iter() }
    }
}

impl FileSource for InMemory {
    fn head(&self) -> &Head {
        &self.head
    }

    fn next_file(&mut self) -> Result<Option<FileCoverage>, ReadError> {
        Ok(self.files.next())
    }
}

/// Several sources as one: files by rising path, those of one path merged. Takes the memory of one
/// or two files of each source.
pub struct Merged<S> {
    sources: Vec<S>,
    /// The next file of each source that has one.
    next: Vec<Option<FileCoverage>>,
    /// The same by path, smallest first.
    order: BinaryHeap<Reverse<(Arc<str>, usize)>>,
    head: Head,
}

impl<S: FileSource> Merged<S> {
    /// Of sources that have not given a file yet. An error comes with the index of its source.
    ///
    /// # Errors
    /// Those of the sources.
    pub fn new(sources: Vec<S>) -> Result<Self, (usize, ReadError)> {
        let mut head = Head::default();
        sources.iter().for_each(|source| head.merge(source.head().clone()));
        let next = sources.iter().map(|_| None).collect();
        let mut this = Self { sources, next, order: BinaryHeap::new(), head };
        for at in 0..this.sources.len() {
            this.advance(at)?;
        }
        Ok(this)
    }

    /// The heads, merged.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn advance(&mut self, at: usize) -> Result<(), (usize, ReadError)> {
        let (Some(source), Some(next)) = (self.sources.get_mut(at), self.next.get_mut(at)) else { return Ok(()) };
        *next = source.next_file().map_err(|e| (at, e))?;
        if let Some(file) = next {
            self.order.push(Reverse((Arc::clone(file.path()), at)));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<FileCoverage>, (usize, ReadError)> {
        let Some(Reverse((_, at))) = self.order.pop() else { return Ok(None) };
        let file = self.next.get_mut(at).and_then(Option::take);
        self.advance(at)?;
        Ok(file)
    }

    /// The next file of all.
    ///
    /// # Errors
    /// Those of the sources.
    pub fn next_file(&mut self) -> Result<Option<FileCoverage>, (usize, ReadError)> {
        let Some(mut file) = self.pop()? else { return Ok(None) };
        while self.order.peek().is_some_and(|Reverse((path, _))| path == file.path()) {
            if let Some(same) = self.pop()? {
                file.merge(&same);
            }
        }
        Ok(Some(file))
    }
}
