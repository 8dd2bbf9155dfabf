//! Merging sorted streams, one file of each in memory.

use super::{Head, RawReader};
use crate::coverage::FileCoverage;
use crate::format::ReadError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::sync::Arc;

/// Several segments as one: files by rising path, those of one path merged. Takes the memory of one
/// section and one or two files of each segment, however big they are.
pub struct Merged<R> {
    readers: Vec<RawReader<R>>,
    /// The next file of each reader that has one.
    next: Vec<Option<FileCoverage>>,
    /// The same by path, smallest first.
    order: BinaryHeap<Reverse<(Arc<str>, usize)>>,
    head: Head,
}

impl<R: Read> Merged<R> {
    /// Of readers that have not given a file yet. An error is given with the index of its reader.
    ///
    /// # Errors
    /// Those of the readers.
    pub fn new(readers: Vec<RawReader<R>>) -> Result<Self, (usize, ReadError)> {
        let mut head = Head::default();
        readers.iter().for_each(|reader| head.merge(reader.head().clone()));
        let next = readers.iter().map(|_| None).collect();
        let mut this = Self { readers, next, order: BinaryHeap::new(), head };
        for at in 0..this.readers.len() {
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
        let (Some(reader), Some(next)) = (self.readers.get_mut(at), self.next.get_mut(at)) else { return Ok(()) };
        *next = reader.next_file().map_err(|e| (at, e))?;
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
    /// Those of the readers.
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
