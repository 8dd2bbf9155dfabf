//! Object files → probe plans: side by side, each object once, only the wanted sources.

use super::cache::{self, Cache, Found, Opened};
use crate::object::{self, DebugOrigin, DebugSearch, Note, Object, ObjectError, Segment};
use crate::plan::{self, MarkSite, PlanOptions, ProbePlan, Stopped};
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that may be measured.
#[derive(Debug)]
pub struct Candidate {
    /// Where it was found.
    pub path: PathBuf,
    /// The very file, opened: its path may lead to another one a moment later.
    pub file: File,
}

impl Candidate {
    /// Opens the file at `path`. Never waits: of a pipe nothing is read.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        Ok(Self { path: path.into(), file: file.into() })
    }

    /// The same file once more.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { path: self.path.clone(), file: self.file.try_clone()? })
    }
}

/// An object with wanted sources, ready to be armed.
#[derive(Debug)]
pub struct Prepared {
    /// Where it was found.
    pub path: PathBuf,
    /// The very file that was read: what probes are registered with.
    pub file: File,
    /// Where to probe it.
    pub plan: ProbePlan,
    /// Where its debug info was found.
    pub debug: DebugOrigin,
    /// Parts of its debug info that could not be used.
    pub notes: Vec<Note>,
    /// Where its test framework begins and ends tests.
    pub marks: Vec<MarkSite>,
    /// The part of it that nobody writes to, where a test framework may have names.
    pub constants: Vec<Segment>,
    /// How long it took to read it, and to plan; to find its plan in the cache, and nothing.
    pub took: [Duration; 2],
    /// Whether its plan was found in the cache.
    pub cached: bool,
}

impl Prepared {
    /// How its plan came to be and how long that took, for people.
    #[must_use]
    pub fn how(&self) -> String {
        let [read, planned] = self.took;
        match self.cached {
            true => format!("plan found in the cache in {read:.1?}"),
            false => format!("read in {read:.1?}, planned in {planned:.1?}"),
        }
    }
}

/// An object that is not measured.
#[derive(Debug)]
pub struct Skipped {
    /// Where it was found.
    pub path: PathBuf,
    /// Why it is not measured; `None` if it has debug info, but of no source that is wanted.
    pub error: Option<ObjectError>,
}

/// What became of a set of objects.
#[derive(Debug, Default)]
pub struct Objects {
    /// Those to be armed.
    pub prepared: Vec<Prepared>,
    /// Those not measured.
    pub skipped: Vec<Skipped>,
    /// Source files of all of them that were not wanted.
    pub left_out: BTreeSet<PathBuf>,
}

/// Reads and plans the objects, each file once however many paths lead to it, in their order.
/// `done` is called after each, from several threads.
pub fn prepare(
    candidates: Vec<Candidate>,
    search: &DebugSearch,
    options: &PlanOptions<'_>,
    cache: Option<&Cache>,
    done: &(dyn Fn() + Sync),
) -> Objects {
    let one = |Candidate { path, file }| {
        let outcome = prepare_one(&path, file, search, options, cache);
        done();
        (path, outcome)
    };
    let candidates = each_once(candidates);
    let outcomes: Vec<_> = match candidates.len() {
        // Threads that look for work would only be in the way of the one that loads programs.
        0 | 1 => candidates.into_iter().map(one).collect(),
        _ => candidates.into_par_iter().map(one).collect(),
    };
    let mut objects = Objects::default();
    for (path, outcome) in outcomes {
        let error = match outcome {
            Ok((prepared, left_out)) => {
                objects.left_out.extend(left_out);
                if !prepared.plan.lines.is_empty() || !prepared.plan.unmeasurable.is_empty() {
                    objects.prepared.push(prepared);
                    continue;
                }
                None
            }
            Err(error) => Some(error),
        };
        objects.skipped.push(Skipped { path, error });
    }
    objects
}

/// Reads the object of a candidate and plans it.
///
/// # Errors
/// It cannot be measured.
pub fn read_and_plan(
    candidate: Candidate,
    search: &DebugSearch,
    options: &PlanOptions<'_>,
) -> Result<(Object, ProbePlan), ObjectError> {
    let object = object::open_file(&candidate.path, candidate.file, search, options.wanted)?;
    let plan = plan::plan(&object, options);
    Ok((object, plan))
}

/// The same with the formulas that hold where `threads` stopped; see [`plan::plan_stopped`].
///
/// # Errors
/// It cannot be read any more.
pub fn read_and_plan_stopped(
    candidate: Candidate,
    search: &DebugSearch,
    options: &PlanOptions<'_>,
    threads: &[Stopped],
) -> Result<ProbePlan, ObjectError> {
    let object = object::open_file(&candidate.path, candidate.file, search, options.wanted)?;
    Ok(plan::plan_stopped(&object, options, threads))
}

fn each_once(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut seen = BTreeSet::new();
    // What has no metadata is kept: reading it will say why.
    let first = |c: &Candidate| c.file.metadata().map_or(true, |m| seen.insert((m.dev(), m.ino())));
    candidates.into_iter().filter(first).collect()
}

fn prepare_one(
    path: &Path,
    file: File,
    search: &DebugSearch,
    options: &PlanOptions<'_>,
    cache: Option<&Cache>,
) -> Result<(Prepared, Vec<PathBuf>), ObjectError> {
    let begun = Instant::now();
    let bytes = cache.and_then(|_| cache::bytes_of(&file));
    let key = cache.zip(bytes.as_ref()).and_then(|(cache, bytes)| cache.key((**bytes).as_ref(), options));
    let place = cache.zip(key);
    if let (Some((cache, key)), Some(bytes)) = (&place, &bytes)
        && let Some(Found { plan, debug, left_out }) = cache.find(key, (**bytes).as_ref(), search, options)
    {
        let took = [begun.elapsed(), Duration::ZERO];
        let (notes, marks, constants) = (Vec::new(), Vec::new(), Vec::new());
        let path = path.into();
        let prepared = Prepared { path, file, plan, debug, notes, marks, constants, took, cached: true };
        return Ok((prepared, left_out));
    }
    let opened = Opened::default();
    let object = match &bytes {
        Some(bytes) => object::parse(path, bytes, &opened.watch(search), options.wanted)?,
        None => object::open_file(path, file.try_clone()?, search, options.wanted)?,
    };
    let read = Instant::now();
    let plan = plan::plan(&object, options);
    let took = [read - begun, read.elapsed()];
    let marks = plan::marks(&object);
    let Object { image, debug, notes, left_out, .. } = object;
    let constants = image.segments.into_iter().filter(|segment| !segment.writable).collect();
    let prepared = Prepared { path: path.into(), file, plan, debug, notes, marks, constants, took, cached: false };
    if let Some((cache, key)) = &place {
        cache.keep(key, &prepared, &left_out, &opened, options);
    }
    Ok((prepared, left_out))
}
