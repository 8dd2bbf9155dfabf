//! Many files, made when first seen.

use super::{FileCoverage, Filter, paths};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Makes a source path canonical; see [`FileTracker::with_canonical`].
type Canonical = Box<dyn Fn(&Path) -> Option<PathBuf> + Send + Sync>;

/// One file that is being recorded; cheap to clone. Look it up once and record many lines.
#[derive(Debug, Clone)]
pub struct FileHandle(Arc<Mutex<FileCoverage>>);

impl FileHandle {
    /// The file, for as long as the guard lives. A thread that died while it held the guard leaves
    /// sums that are whole: every record is one call.
    pub fn lock(&self) -> MutexGuard<'_, FileCoverage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a run: one entry per canonical source path, however many objects compile it and
/// however they spell it. Safe to use from many threads.
///
/// ```
/// use cov_agent::coverage::{ExecutionCounter, FileTracker, Filter};
/// let filter = Filter::new(&["src/**"], &[] as &[&str], "/w")?;
/// let files = FileTracker::default().with_base("/w").with_filter(filter);
/// for spelled in ["/w/src/a.c", "src/a.c", "src/x/../a.c"] {
///     files.file(spelled).expect("kept").lock().record(3, ExecutionCounter::exact(1), "");
/// }
/// assert!(files.file("/usr/include/stdio.h").is_none());
/// let files = files.into_files();
/// assert_eq!((files.len(), &**files[0].path()), (1, "/w/src/a.c"));
/// assert_eq!(files[0].lines().get(3), Some(ExecutionCounter::exact(3)));
/// # Ok::<(), cov_agent::coverage::FilterError>(())
/// ```
#[derive(Default)]
pub struct FileTracker {
    filter: Option<Filter>,
    canonical: Option<Canonical>,
    base: PathBuf,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the path as it was spelled; `None`: the filter leaves it out.
    spelled: HashMap<PathBuf, Option<FileHandle>>,
    /// By the canonical path.
    canonical: HashMap<Arc<str>, Option<FileHandle>>,
}

impl FileTracker {
    /// Leaves out the files that `filter` does not match.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Joins relative paths to `base`.
    #[must_use]
    pub fn with_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = base.into();
        self
    }

    /// Makes paths canonical with `canonical`, for instance to follow symlinks with the invoking
    /// user's rights; it gives nothing for a file that is not there. What it gives is then folded
    /// lexically, which is all that happens without it. A relative path that leads to no file below
    /// the base stays relative: libraries of a distribution are compiled in `.`.
    #[must_use]
    pub fn with_canonical(mut self, canonical: impl Fn(&Path) -> Option<PathBuf> + Send + Sync + 'static) -> Self {
        self.canonical = Some(Box::new(canonical));
        self
    }

    /// The file at `path`, made if it is new; `None` if the filter leaves it out.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<FileHandle> {
        let path = path.as_ref();
        if let Some(known) = self.inner.read().unwrap_or_else(PoisonError::into_inner).spelled.get(path) {
            return known.clone();
        }
        let (key, keep) = self.resolve(path);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let handle = inner.canonical.entry(Arc::clone(&key)).or_default();
        if handle.is_none() && keep {
            *handle = Some(FileHandle(Arc::new(Mutex::new(FileCoverage::new(key)))));
        }
        let handle = handle.clone();
        inner.spelled.insert(path.into(), handle.clone());
        handle
    }

    /// Whether the filter keeps the file at `path`. Unlike [`file`](Self::file) this makes none: it
    /// is for asking before anything is known of the file.
    pub fn keeps(&self, path: impl AsRef<Path>) -> bool {
        self.resolve(path.as_ref()).1
    }

    /// The canonical path of the file at `path`: the one under which it is recorded.
    pub fn canonical(&self, path: impl AsRef<Path>) -> Arc<str> {
        self.resolve(path.as_ref()).0
    }

    /// The canonical path, and whether the filter keeps it under either name.
    fn resolve(&self, path: &Path) -> (Arc<str>, bool) {
        let absolute = paths::is_absolute(&path.to_string_lossy());
        let joined = if absolute { path.into() } else { self.base.join(path) };
        let (resolved, named) = match &self.canonical {
            None => (joined.clone(), joined),
            Some(canonical) => match canonical(&joined) {
                Some(resolved) => (resolved, joined),
                None => (path.into(), path.into()),
            },
        };
        let key: Arc<str> = paths::normalize("", resolved).into();
        let keep = self.filter.as_ref().is_none_or(|f| f.matches(&key) || f.matches(&paths::normalize("", &named)));
        (key, keep)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).canonical.values().flatten().count()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The canonical paths that the filter left out, sorted.
    pub fn left_out(&self) -> Vec<Arc<str>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut out: Vec<_> = inner.canonical.iter().filter(|(_, h)| h.is_none()).map(|(p, _)| Arc::clone(p)).collect();
        out.sort_unstable();
        out
    }

    /// A copy of all files as they are now, sorted by path. Each file is consistent in itself.
    pub fn files(&self) -> Vec<FileCoverage> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        sorted(inner.canonical.values().flatten().map(|handle| handle.lock().clone()))
    }

    /// The files, sorted by path, without copying those to which nobody keeps a handle.
    #[must_use]
    pub fn into_files(self) -> Vec<FileCoverage> {
        let Inner { spelled, canonical } = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(spelled);
        sorted(canonical.into_values().flatten().map(|FileHandle(file)| match Arc::try_unwrap(file) {
            Ok(file) => file.into_inner().unwrap_or_else(PoisonError::into_inner),
            Err(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }))
    }
}

fn sorted(files: impl Iterator<Item = FileCoverage>) -> Vec<FileCoverage> {
    let mut files: Vec<_> = files.collect();
    files.sort_unstable_by(|a, b| a.path().cmp(b.path()));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_for_all_spellings() {
        let files = FileTracker::default().with_base("/w");
        for spelled in ["/w/a.c", "a.c", "./a.c", "/w/x/../a.c", "/w//a.c"] {
            files.file(spelled).unwrap().lock().executable(1);
        }
        assert_eq!(files.len(), 1);
        let files = files.into_files();
        assert_eq!(&**files[0].path(), "/w/a.c");
    }

    #[test]
    fn links_are_followed_by_the_hook_and_the_filter_sees_both_names() {
        let filter = || Filter::new(&["/w/**"], &[] as &[&str], "/w").unwrap();
        let resolve = |path: &Path| match path.strip_prefix("/w/link") {
            Ok(rest) => Some(Path::new("/real").join(rest)),
            Err(_) => (path != Path::new("/w/csu/libc-start.c")).then(|| path.into()),
        };
        let files = FileTracker::default().with_base("/w").with_filter(filter()).with_canonical(resolve);
        assert!(files.keeps("/w/link/a.c") && !files.keeps("/usr/include/x.h"));
        assert!(files.keeps("a.c") && !files.keeps("./csu/libc-start.c"), "only what is there is below the base");
        assert!(files.is_empty() && files.left_out().is_empty());
        assert_eq!(&**files.file("/w/link/a.c").unwrap().lock().path(), "/real/a.c");
        assert!(files.file("/usr/include/x.h").is_none());
        assert_eq!(files.left_out(), [Arc::from("/usr/include/x.h")]);
    }
}
