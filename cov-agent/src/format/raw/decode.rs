//! Bytes to file records. What it reads is hostile: every length is checked against what is left.

use crate::coverage::{ExecutionCounter, FileCoverage, LineTracker, Way};
use crate::format::ReadError;
use crate::format::error::Budget;
use std::sync::Arc;

/// A record that is not as it should be; the reader says where.
pub(super) enum Bad {
    Record(&'static str),
    TooBig(ReadError),
}

impl From<ReadError> for Bad {
    fn from(error: ReadError) -> Self {
        Self::TooBig(error)
    }
}

type Result<T> = std::result::Result<T, Bad>;

/// A place in a section's bytes.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Whether records have conditional jumps.
    branches: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8], branches: bool) -> Self {
        Self { rest, branches }
    }

    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn number(&mut self) -> Result<u64> {
        // Nearly all numbers are small.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        self.long_number()
    }

    fn long_number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte, rest @ ..] = self.rest else { return Err(Bad::Record("a number is cut off")) };
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Bad::Record("a number has more than 64 bits"))
    }

    /// The length of a list: each item takes a byte or more.
    fn length(&mut self) -> Result<usize> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > self.rest.len() { Err(Bad::Record("a length is beyond the record")) } else { Ok(length) }
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Bad::Record("a text is cut off"))?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| Bad::Record("a text is not UTF-8"))
    }

    /// A text that will be kept.
    fn name(&mut self, budget: &mut Budget) -> Result<&'a str> {
        let name = self.text()?;
        budget.text(name.len())?;
        Ok(name)
    }

    fn line(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| Bad::Record("a line is out of bounds"))
    }

    /// The items of a rising list of `length`, all below `end`.
    fn rising(&mut self, length: usize, end: u64) -> Result<Vec<u32>> {
        let mut items = Vec::with_capacity(length);
        let mut next = 0u64;
        for _ in 0..length {
            let item = next.checked_add(self.number()?).filter(|&item| item < end);
            let item = item.ok_or(Bad::Record("a list goes beyond its bounds"))?;
            items.push(u32::try_from(item).map_err(|_| Bad::Record("a list goes beyond its bounds"))?);
            next = item + 1;
        }
        Ok(items)
    }

    fn lines(&mut self) -> Result<Vec<u32>> {
        let length = self.length()?;
        self.rising(length, 1 << 32)
    }

    fn texts(&mut self, budget: &mut Budget) -> Result<Vec<&'a str>> {
        let length = self.length()?;
        budget.records(length)?;
        (0..length).map(|_| self.name(budget)).collect()
    }

    /// The next record.
    pub(super) fn file(&mut self, budget: &mut Budget) -> Result<FileCoverage> {
        let mut file = FileCoverage::new(self.name(budget)?);
        let executable = self.lines()?;
        // One for the record: a few packed bytes can announce any number of empty ones.
        budget.records(executable.len() + 1)?;
        self.contexts(&executable, &mut file, budget)?;
        for _ in 0..self.length()? {
            budget.records(1)?;
            let (line, name) = (self.line()?, self.name(budget)?);
            let counter = counter(self.number()?, self.number()? != 0);
            file.function(line, name, counter);
        }
        for _ in 0..self.length()? {
            let reason: Arc<str> = self.name(budget)?.into();
            let lines = self.lines()?;
            budget.records(lines.len())?;
            lines.into_iter().for_each(|line| file.unmeasurable(line, Arc::clone(&reason)));
        }
        let excluded = self.lines()?;
        budget.records(excluded.len())?;
        excluded.into_iter().for_each(|line| file.exclude(line));
        self.texts(budget)?.into_iter().for_each(|id| file.compiled_into(id));
        self.texts(budget)?.into_iter().for_each(|digest| file.digest(digest));
        if self.branches {
            for _ in 0..self.length()? {
                budget.records(1)?;
                let [line, shape, jump] = [self.line()?, self.line()?, self.line()?];
                let (number, to) = (self.line()?, self.line()?);
                file.way(Way { line, shape, jump, number, to }, counter(self.number()?, self.number()? != 0));
            }
        }
        Ok(file)
    }

    fn contexts(&mut self, executable: &[u32], file: &mut FileCoverage, budget: &mut Budget) -> Result<()> {
        let contexts = self.length()?;
        let mut totals = vec![ExecutionCounter::ZERO; executable.len()];
        let mut tables: Vec<(&str, LineTracker)> = Vec::new();
        for _ in 0..contexts {
            let name = self.name(budget)?;
            let length = self.length()?;
            budget.records(length + 1)?;
            let places = self.rising(length, executable.len() as u64)?;
            let mut counters = Vec::with_capacity(length);
            for _ in 0..length {
                counters.push(ExecutionCounter::exact(self.number()?));
            }
            let lower = self.length()?;
            for at in self.rising(lower, length as u64)? {
                if let Some(counter) = counters.get_mut(at as usize) {
                    *counter = ExecutionCounter::at_least(counter.value());
                }
            }
            for (&place, &counter) in places.iter().zip(&counters) {
                if let Some(total) = totals.get_mut(place as usize) {
                    *total += counter;
                }
            }
            if contexts > 1 || !name.is_empty() {
                let lines = places.iter().filter_map(|&place| executable.get(place as usize).copied());
                tables.push((name, lines.zip(counters).collect()));
            }
        }
        file.set_lines(executable.iter().copied().zip(totals).collect(), tables);
        Ok(())
    }
}

fn counter(value: u64, lower_bound: bool) -> ExecutionCounter {
    if lower_bound { ExecutionCounter::at_least(value) } else { ExecutionCounter::exact(value) }
}
