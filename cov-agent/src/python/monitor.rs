//! The engine for CPython 3.12 and later: `sys.monitoring`, switched on by a bootstrap in each process.
//!
//! A private directory outside of the project holds a `sitecustomize` module, which every Python that has the directory
//! in `PYTHONPATH` imports before its program, and which hands over to the one that would have been imported without
//! it. Each process counts in a file of its own there, which it maps (module `store`). The directory goes away
//! with the [`Bootstrap`].

use super::hits::Hits;
use super::statements::Interpreter;
use super::store::Store;
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The one variable that is added to the environment of programs.
pub const VARIABLE: &str = "PYTHONPATH";

const FILES: [(&str, &str); 2] =
    [("sitecustomize.py", include_str!("sitecustomize.py")), ("monitor.py", include_str!("monitor.py"))];

/// What the bootstrap is to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Every hit of a line, or only whether there was one, which costs next to nothing.
    pub counts: bool,
    /// Each test has counters of its own.
    pub tests: bool,
    /// Packages that were installed beside the project are not left out.
    pub third_party: bool,
    /// One of them begins the path of every wanted file.
    pub prefixes: Vec<String>,
}

/// The private directory.
#[derive(Debug)]
pub struct Bootstrap {
    #[expect(dead_code, reason = "what removes it all")]
    directory: TempDir,
    inner: PathBuf,
}

/// Where hits came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No test in particular: a process that was started then, in nanoseconds since the machine was, and whatever that
    /// forked.
    Process(u32, u64),
    /// A test, by what a variable says.
    Test(Vec<u8>),
}

/// What the processes counted.
#[derive(Debug, Default)]
pub struct Counted {
    /// By where it came from, over all processes.
    pub hits: BTreeMap<Origin, Hits>,
    /// The interpreter that ran a file, the first of several.
    pub interpreters: BTreeMap<PathBuf, Interpreter>,
    /// An interpreter that ran, whatever it ran.
    pub any: Option<Interpreter>,
    /// How many processes counted, forked ones included, by version of Python.
    pub processes: BTreeMap<String, usize>,
    /// Processes that ran Python and did not count, and why.
    pub refused: Vec<String>,
    /// What was not counted, in words.
    pub losses: Vec<String>,
    /// Tests that share a context, in words.
    pub mixed: Vec<String>,
}

impl Bootstrap {
    /// Makes the directory.
    ///
    /// # Errors
    /// The system's temporary directory cannot be written to.
    pub fn new(options: &Options) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cov-agent-").tempdir()?;
        // Processes of any user count in it, so the name of the inner directory is what keeps others out: only who was
        // given the variable knows it.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let name = name.iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
        let inner = directory.path().canonicalize()?.join(name);
        let data = inner.join("data");
        for made in [&inner, &data] {
            DirBuilder::new().mode(0o755).create(made)?;
        }
        fs::set_permissions(&inner, Permissions::from_mode(0o755))?;
        fs::set_permissions(&data, Permissions::from_mode(0o1777))?;
        let write = |name: &str, text: &str| {
            let path = inner.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o644))
        };
        FILES.into_iter().try_for_each(|(name, text)| write(name, text))?;
        write("config", &options.text())?;
        Ok(Self { directory, inner })
    }

    /// [`VARIABLE`]'s value, where it would be `old` without the agent.
    #[must_use]
    pub fn value(&self, old: Option<OsString>) -> OsString {
        let mut value = self.inner.clone().into_os_string();
        if let Some(old) = old.filter(|old| !old.is_empty()) {
            value.push(":");
            value.push(old);
        }
        value
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn collect(&self) -> io::Result<Counted> {
        let mut counted = Counted::default();
        let mut refused = BTreeSet::new();
        let entries = fs::read_dir(self.inner.join("data"))?.collect::<io::Result<Vec<_>>>()?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let opened = open(&path);
            if name.ends_with(".refused") {
                let mut text = Vec::new();
                let read =
                    opened.and_then(|(file, _)| io::Read::read_to_end(&mut io::Read::take(file, 4096), &mut text));
                refused.extend(read.is_ok().then(|| String::from_utf8_lossy(&text).into_owned()));
                continue;
            }
            match opened.and_then(|(file, owner)| Ok((Store::read(&file)?, owner))) {
                Ok((store, owner)) => counted.add(store, owner, &name),
                Err(error) => counted.losses.push(format!("Python process {name}: {error}")),
            }
        }
        counted.refused = refused.into_iter().collect();
        Ok(counted)
    }
}

impl Options {
    /// As the bootstrap reads it.
    fn text(&self) -> String {
        let mode = if self.counts { "counts" } else { "hits" };
        let third_party = if self.third_party { "all" } else { "ours" };
        let told_apart = if self.tests { "tests" } else { "nothing" };
        let mut text = format!("{mode}\n{third_party}\n{told_apart}");
        for prefix in &self.prefixes {
            text.push('\n');
            for byte in prefix.bytes() {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }
}

impl Counted {
    fn add(&mut self, store: Store, owner: (u32, u32), name: &str) {
        let interpreter = Interpreter { path: store.executable, owner };
        for (path, _) in store.hits.values().flat_map(Hits::iter) {
            self.interpreters.entry(path.into()).or_insert_with(|| interpreter.clone());
        }
        self.any.get_or_insert(interpreter);
        if store.full {
            self.losses.push(format!("Python process {name}: no room for the counters of all its code"));
        }
        if store.mixed {
            self.mixed.push(format!("Python process {name}: tests that ran in several threads at the same time"));
        }
        *self.processes.entry(store.version).or_default() += 1;
        let (process, time) = store.started;
        for (test, hits) in store.hits {
            let origin = if test.is_empty() { Origin::Process(process, time) } else { Origin::Test(test) };
            self.hits.entry(origin).or_default().merge(hits);
        }
    }
}

/// Opens a file that some process made, and tells whose it is. No other kind of file, and no link: any user may have
/// made it.
fn open(path: &Path) -> io::Result<(File, (u32, u32))> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?.into();
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    Ok((file, (metadata.uid(), metadata.gid())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    fn bootstrap() -> Bootstrap {
        Bootstrap::new(&Options { counts: true, tests: true, third_party: false, prefixes: vec!["/w ü/".into()] })
            .unwrap()
    }

    #[test]
    fn the_directory_is_private_and_goes_away() {
        let bootstrap = bootstrap();
        let inner = bootstrap.inner.clone();
        assert_eq!(fs::read_to_string(inner.join("config")).unwrap(), "counts\nours\ntests\n2f7720c3bc2f");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let outer = inner.parent().unwrap();
        assert_eq!([outer, &inner, &inner.join("data")].map(mode), [0o711, 0o755, 0o1777]);
        assert_eq!(bootstrap.value(None), inner.as_os_str());
        let both = bootstrap.value(Some("a:b".into()));
        assert_eq!(both.as_bytes(), [inner.as_os_str().as_bytes(), b":a:b"].concat());
        drop(bootstrap);
        assert!(!outer.exists());
    }

    #[test]
    fn what_anybody_may_have_put_there_is_not_trusted() {
        let bootstrap = bootstrap();
        let data = bootstrap.inner.join("data");
        fs::write(data.join("1.refused"), "p: no").unwrap();
        fs::write(data.join("2-x"), "nonsense").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", data.join("3-x")).unwrap();
        let counted = bootstrap.collect().unwrap();
        assert_eq!(counted.refused, ["p: no"]);
        assert_eq!(counted.losses.len(), 2);
        assert!(counted.hits.is_empty() && counted.any.is_none());
    }
}
