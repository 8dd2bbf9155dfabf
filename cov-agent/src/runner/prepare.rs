//! Object files → probe plans: side by side, each object once, only the wanted sources.

use crate::object::{DebugOrigin, DebugSearch, Note, ObjectError, ObjectId};
use crate::plan::ProbePlan;
use crate::{object, plan};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An object with wanted sources, ready to be armed.
#[derive(Debug)]
pub struct Prepared {
    /// Where it was opened.
    pub path: PathBuf,
    /// The very file that was read: what probes are registered with.
    pub file: File,
    /// Where to probe it.
    pub plan: ProbePlan,
    /// Where its debug info was found.
    pub debug: DebugOrigin,
    /// Parts of its debug info that could not be used.
    pub notes: Vec<Note>,
    /// How long reading and planning took.
    pub took: [Duration; 2],
}

/// An object that is not measured.
#[derive(Debug)]
pub struct Skipped {
    /// Where it was looked for.
    pub path: PathBuf,
    /// Why it is not measured; `None` if it only has sources that are not wanted.
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

/// What the preparation is told on its way; called from several threads.
pub trait Watch: Sync {
    /// One more object is done.
    fn object_done(&self) {}
}

impl Watch for () {}

/// Opens and plans the objects at `paths`, each file once however many paths lead to it. The order
/// of `paths` is kept.
pub fn prepare(
    paths: &[PathBuf],
    search: &DebugSearch,
    wanted: &object::Wanted<'_>,
    watch: &dyn Watch,
) -> Objects {
    let mut seen = BTreeSet::new();
    let mut objects = Objects::default();
    let mut files = Vec::new();
    for path in paths {
        match open(path) {
            Ok((file, place)) => {
                if seen.insert(place) {
                    files.push((path.clone(), file));
                }
            }
            Err(error) => objects.skipped.push(Skipped { path: path.clone(), error: Some(error) }),
        }
    }
    let done: Vec<_> = files
        .into_par_iter()
        .map(|(path, file)| {
            let outcome = prepare_one(&path, file, search, wanted);
            watch.object_done();
            (path, outcome)
        })
        .collect();
    for (path, outcome) in done {
        match outcome {
            Ok((prepared, left_out)) => {
                objects.left_out.extend(left_out);
                if prepared.plan.lines.is_empty() && prepared.plan.unmeasurable.is_empty() {
                    objects.skipped.push(Skipped { path, error: None });
                } else {
                    objects.prepared.push(prepared);
                }
            }
            Err(error) => objects.skipped.push(Skipped { path, error: Some(error) }),
        }
    }
    objects
}

/// Opens a file for reading; device and inode say which one it is.
fn open(path: &Path) -> Result<(File, (u64, u64)), ObjectError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, (metadata.dev(), metadata.ino())))
}

fn prepare_one(
    path: &Path,
    file: File,
    search: &DebugSearch,
    wanted: &object::Wanted<'_>,
) -> Result<(Prepared, Vec<PathBuf>), ObjectError> {
    let begun = Instant::now();
    let object = object::open_file(path, &file, search, wanted)?;
    let opened = Instant::now();
    let plan = plan::plan(&object, wanted);
    let took = [opened - begun, opened.elapsed()];
    let prepared = Prepared { path: path.into(), file, plan, debug: object.debug, notes: object.notes, took };
    Ok((prepared, object.left_out))
}
