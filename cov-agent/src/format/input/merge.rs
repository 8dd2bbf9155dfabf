//! Merging inputs, those of the raw format file by file.

use super::{HEAD, Input, InputError, detect, read};
use crate::coverage::{RunId, Snapshot};
use crate::format::raw::{RawReader, RawWriter, segments};
use crate::format::source::{FileSource, InMemory, Merged};
use crate::format::{Format, Limits, ReadError};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

/// Sources that are open at once: below the usual limit of 1024 descriptors. More are merged in
/// batches.
const BATCH: usize = 256;

/// How to merge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Count a run that is there twice twice.
    pub allow_duplicates: bool,
    /// What one input may hold.
    pub limits: Limits,
}

type Source = Box<dyn FileSource>;

/// Reads and merges inputs. Beyond the result this takes the memory of some files of each input, if
/// they are raw; of inputs in other formats the memory of their data.
///
/// # Errors
/// An input cannot be read; two hold the same run and that is not allowed.
pub fn merge(inputs: &[Input], options: &Options) -> Result<Snapshot, InputError> {
    Merger::new(inputs, options).in_memory(inputs.len())
}

/// Merges inputs into one raw segment. As [`merge`], but never keeps more than some files, unless
/// there are more than 256 inputs.
///
/// # Errors
/// As [`merge`], and those of `out`.
pub fn merge_to_raw(inputs: &[Input], options: &Options, out: impl Write) -> Result<(), InputError> {
    let mut merger = Merger::new(inputs, options);
    let first = inputs.len().saturating_sub(BATCH);
    let result = merger.in_memory(first)?;
    let (mut merged, names) = merger.open(result, first..inputs.len())?;
    let mut writer = RawWriter::new(out, merged.head()).map_err(InputError::Write)?;
    while let Some(file) = merged.next_file().map_err(|(at, e)| error(inputs, &names, at, e))? {
        writer.file(&file).map_err(InputError::Write)?;
    }
    writer.finish().map_err(InputError::Write)
}

/// An error of a source, with the input that it is of.
fn error(inputs: &[Input], names: &[usize], at: usize, source: ReadError) -> InputError {
    // The first source is the result so far, which has no errors.
    let input = at.checked_sub(1).and_then(|at| inputs.get(*names.get(at)?)).cloned();
    InputError::Read { input: input.unwrap_or(Input::Stdin), source }
}

struct Merger<'a> {
    inputs: &'a [Input],
    options: &'a Options,
    /// What must not be there twice, and which input has it.
    seen: HashMap<Unique, usize>,
}

#[derive(PartialEq, Eq, Hash)]
enum Unique {
    Run(RunId),
    /// Device and inode.
    File(u64, u64),
}

impl<'a> Merger<'a> {
    fn new(inputs: &'a [Input], options: &'a Options) -> Self {
        Self { inputs, options, seen: HashMap::new() }
    }

    /// Merges the first `count` inputs.
    fn in_memory(&mut self, count: usize) -> Result<Snapshot, InputError> {
        let mut result = Snapshot::default();
        for first in (0..count).step_by(BATCH) {
            let (mut merged, names) = self.open(result, first..count.min(first + BATCH))?;
            let mut files = Vec::new();
            while let Some(file) = merged.next_file().map_err(|(at, e)| error(self.inputs, &names, at, e))? {
                files.push(file);
            }
            result = merged.head().clone().into_snapshot(files);
        }
        Ok(result)
    }

    /// The result so far and the sources of some inputs as one, and of which input each source is.
    fn open(&mut self, result: Snapshot, range: Range<usize>) -> Result<(Merged<Source>, Vec<usize>), InputError> {
        let mut sources: Vec<Source> = vec![Box::new(InMemory::from(result))];
        let mut names = Vec::new();
        for at in range {
            let Some(input) = self.inputs.get(at) else { break };
            for source in self.open_input(at, input)? {
                source.head().runs.keys().try_for_each(|&id| self.once(Unique::Run(id), at, || format!("run {id}")))?;
                sources.push(source);
                names.push(at);
            }
        }
        let merged = Merged::new(sources).map_err(|(at, e)| error(self.inputs, &names, at, e))?;
        Ok((merged, names))
    }

    fn open_input(&mut self, at: usize, input: &Input) -> Result<Vec<Source>, InputError> {
        let limits = self.options.limits;
        let error = |source: ReadError| InputError::Read { input: input.clone(), source };
        let whole = |from: &mut dyn Read| -> Result<Vec<Source>, ReadError> {
            Ok(vec![Box::new(InMemory::from(read(from, limits)?))])
        };
        let path = match input {
            Input::Stdin => return whole(&mut io::stdin().lock()).map_err(error),
            Input::File(path) => path,
        };
        let mut file = File::open(path).map_err(|e| error(e.into()))?;
        let stat = file.metadata().map_err(|e| error(e.into()))?;
        if !stat.is_file() {
            return whole(&mut file).map_err(error);
        }
        self.once(Unique::File(stat.dev(), stat.ino()), at, || "the same file".into())?;
        let mut head = [0; HEAD];
        let length = file.read_at(&mut head, 0).map_err(|e| error(e.into()))?;
        if detect(head.get(..length).unwrap_or(&[])) != Some(Format::Raw) {
            return whole(&mut file).map_err(error);
        }
        let starts = segments(&mut file).map_err(error)?;
        let file = Arc::new(file);
        let open = |offset| -> Result<Source, ReadError> {
            Ok(Box::new(RawReader::new(BufReader::new(FileFrom { file: Arc::clone(&file), offset }), limits)?))
        };
        starts.into_iter().map(open).collect::<Result<_, _>>().map_err(error)
    }

    /// Refuses what was seen before.
    fn once(&mut self, what: Unique, at: usize, words: impl Fn() -> String) -> Result<(), InputError> {
        match self.seen.insert(what, at) {
            Some(first) if !self.options.allow_duplicates => {
                let name = |at: usize| self.inputs.get(at).cloned().unwrap_or(Input::Stdin);
                Err(InputError::Duplicate { first: name(first), second: name(at), what: words() })
            }
            _ => Ok(()),
        }
    }
}

/// A file from an offset on, with a place of its own: the segments of one file share its descriptor.
struct FileFrom {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
