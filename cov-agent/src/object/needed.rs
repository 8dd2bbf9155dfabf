//! The shared libraries that a program uses: `DT_NEEDED`, resolved as the dynamic linker will do it
//! (ld.so(8); glibc's `elf/dl-load.c`, `_dl_map_object`).
//!
//! What a program opens itself (`dlopen`) is not known before it runs.

use super::elf::{self, text};
use super::ld_cache::LdCache;
use super::paths::to_path;
use super::{Bytes, DebugSearch, ObjectError};
use object::LittleEndian as LE;
use object::elf::{DF_1_NODEFLIB, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, PT_INTERP};
use object::read::elf::{Dyn as _, ProgramHeader as _};
use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads files for [`needed`] by the opener of `search`.
///
/// # Errors
/// Those of the opener, and `InvalidData` for what is no regular file.
pub fn reader(search: &DebugSearch) -> impl Fn(&Path) -> io::Result<Bytes> + '_ {
    |path| match search.open(path) {
        Ok(mapped) => Ok(Arc::new(mapped) as Bytes),
        Err(ObjectError::Read(error)) => Err(error),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// What decides, beside the files, which libraries the dynamic linker takes.
#[derive(Debug, Clone)]
pub struct LoaderEnvironment {
    /// `LD_LIBRARY_PATH`.
    pub library_path: Vec<u8>,
    /// `LD_PRELOAD`.
    pub preload: Vec<u8>,
    /// The program's working directory: relative directories start there.
    pub working_dir: PathBuf,
    /// Whether the program is set-user-id, set-group-id or has file capabilities: both variables,
    /// and directories relative to the program, are ignored.
    pub secure: bool,
    /// The subdirectories of `glibc-hwcaps` that suit the processor, best first.
    pub hwcaps: Vec<&'static str>,
}

impl LoaderEnvironment {
    /// Nothing set, on this machine's processor.
    #[must_use]
    pub fn new(working_dir: PathBuf) -> Self {
        Self { library_path: Vec::new(), preload: Vec::new(), working_dir, secure: false, hwcaps: hwcaps() }
    }
}

/// A library that could not be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLibrary {
    /// What it was asked for as.
    pub name: String,
    /// Which file asks for it.
    pub needed_by: PathBuf,
}

/// The libraries of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Libraries {
    /// Where they are, in the order in which the dynamic linker loads them; it itself at the end.
    pub found: Vec<PathBuf>,
    /// Those that it will not find.
    pub missing: Vec<MissingLibrary>,
}

/// More libraries than this, or directories to look in, no program has.
const MAX_LIBRARIES: usize = 4096;
const CACHE: &str = "/etc/ld.so.cache";
const PRELOAD: &str = "/etc/ld.so.preload";
/// Debian's, Fedora's and older default directories.
const DEFAULT_DIRS: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
const MUSL_DIRS: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// Finds the libraries of `program`. Files are read by `read`, which says `NotFound` for what is not there.
///
/// # Errors
/// If the program itself cannot be read, or needs thousands of libraries.
pub fn needed(
    program: &Path,
    environment: &LoaderEnvironment,
    read: &dyn Fn(&Path) -> io::Result<Bytes>,
) -> Result<Libraries, ObjectError> {
    let main = Library::read(program, None, read)?;
    let interpreter = main.interpreter.clone();
    let musl = interpreter.as_ref().is_some_and(|i| i.as_os_str().as_bytes().windows(7).any(|w| w == b"ld-musl"));
    let cache = if musl {
        LdCache::default()
    } else {
        read(Path::new(CACHE)).map_or_else(|_| LdCache::default(), |b| LdCache::parse((*b).as_ref()))
    };
    let default_dirs = if musl { &MUSL_DIRS[..] } else { &DEFAULT_DIRS[..] };
    let mut loader =
        Loader { environment, read, cache, default_dirs, loaded: vec![main], result: Libraries::default() };
    let Some(interpreter) = interpreter else { return Ok(loader.result) }; // static
    // Libraries name the dynamic linker too, by its file name; musl is its own C library.
    let own_name = interpreter.file_name().map(|n| text(n.as_bytes())).unwrap_or_default();
    let is_interpreter = |name: &str| name == own_name || (musl && name.starts_with("libc.musl-"));

    for name in loader.preloads() {
        loader.load(&name, 0)?; // those that are missing are only warned of
    }
    loader.result.missing.clear();
    let mut next = 0;
    while let Some(library) = loader.loaded.get(next) {
        for name in library.needed.clone() {
            if !is_interpreter(&name) {
                loader.load(&name, next)?;
            }
        }
        next += 1;
    }
    loader.result.found.push(interpreter);
    Ok(loader.result)
}

/// A file, and what it tells the dynamic linker.
struct Library {
    path: PathBuf,
    /// The library that had it loaded, by its place in the list.
    loader: Option<usize>,
    /// What other libraries may call it.
    names: Vec<String>,
    needed: Vec<String>,
    rpath: Vec<u8>,
    runpath: Option<Vec<u8>>,
    no_default_dirs: bool,
    interpreter: Option<PathBuf>,
}

impl Library {
    fn read(
        path: &Path,
        loader: Option<usize>,
        read: &dyn Fn(&Path) -> io::Result<Bytes>,
    ) -> Result<Self, ObjectError> {
        let bytes = read(path)?;
        let data = (*bytes).as_ref();
        let elf = elf::parse(data, elf::Kind::Program)?;
        let mut library = Self {
            path: path.to_path_buf(),
            loader,
            names: Vec::new(),
            needed: Vec::new(),
            rpath: Vec::new(),
            runpath: None,
            no_default_dirs: false,
            interpreter: None,
        };
        for header in elf.elf_program_headers().iter().filter(|h| h.p_type(LE) == PT_INTERP) {
            let name = header.data(LE, data).unwrap_or_default();
            library.interpreter = name.split(|&b| b == 0).next().filter(|n| !n.is_empty()).map(to_path);
        }
        let Ok(table) = elf.elf_dynamic_table() else { return Ok(library) };
        let string = |value: u64| {
            let offset = u32::try_from(value).ok()?;
            table.strings().get(offset).ok().filter(|s| s.len() <= super::units::MAX_NAME)
        };
        for entry in table.dynamics() {
            let value = entry.d_val(LE);
            match entry.d_tag(LE) {
                DT_NEEDED => library.needed.extend(string(value).map(text)),
                DT_SONAME => library.names.extend(string(value).map(text)),
                DT_RPATH => library.rpath = string(value).unwrap_or_default().to_vec(),
                DT_RUNPATH => library.runpath = Some(string(value).unwrap_or_default().to_vec()),
                DT_FLAGS_1 => library.no_default_dirs = value & DF_1_NODEFLIB.0 != 0,
                _ => {}
            }
            if library.needed.len() > MAX_LIBRARIES {
                return Err(ObjectError::TooBig { what: "needed libraries", limit: MAX_LIBRARIES as u64 });
            }
        }
        Ok(library)
    }
}

struct Loader<'a> {
    environment: &'a LoaderEnvironment,
    read: &'a dyn Fn(&Path) -> io::Result<Bytes>,
    cache: LdCache,
    default_dirs: &'a [&'a str],
    loaded: Vec<Library>,
    result: Libraries,
}

impl Loader<'_> {
    /// `LD_PRELOAD`, then `/etc/ld.so.preload`.
    fn preloads(&self) -> Vec<String> {
        let system = (self.read)(Path::new(PRELOAD)).map(|b| (*b).as_ref().to_vec()).unwrap_or_default();
        let own = if self.environment.secure { &[][..] } else { &self.environment.preload };
        let own = own.split(|b| matches!(b, b' ' | b':'));
        let system = system.split(|b| b.is_ascii_whitespace() || *b == b':').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let names = own.map(<[u8]>::to_vec).chain(system).filter(|name| !name.is_empty());
        names.map(|name| text(&name)).take(MAX_LIBRARIES).collect()
    }

    /// Loads what `by` calls `name`, unless it is there already.
    fn load(&mut self, name: &str, by: usize) -> Result<(), ObjectError> {
        if self.loaded.iter().any(|l| l.names.iter().any(|n| n == name)) {
            return Ok(());
        }
        let found = self.candidates(name, by).into_iter().find_map(|path| {
            // Of another class or machine: the dynamic linker goes on looking, too.
            Library::read(&path, Some(by), self.read).ok()
        });
        let Some(mut library) = found else {
            let needed_by = self.loaded.get(by).map(|l| l.path.clone()).unwrap_or_default();
            self.result.missing.push(MissingLibrary { name: name.to_owned(), needed_by });
            return Ok(());
        };
        library.names.push(name.to_owned());
        if let Some(same) = self.loaded.iter_mut().find(|l| l.path == library.path) {
            same.names.push(name.to_owned());
            return Ok(());
        }
        if self.loaded.len() >= MAX_LIBRARIES {
            return Err(ObjectError::TooBig { what: "needed libraries", limit: MAX_LIBRARIES as u64 });
        }
        self.result.found.push(library.path.clone());
        self.loaded.push(library);
        Ok(())
    }

    /// Where the dynamic linker looks for `name`, in its order.
    fn candidates(&self, name: &str, by: usize) -> Vec<PathBuf> {
        if name.contains('/') {
            return self.expand(name.as_bytes(), by).iter().map(|p| self.absolute(p)).collect();
        }
        let mut dirs = Vec::new();
        let requester = self.loaded.get(by);
        let runpath = requester.and_then(|l| l.runpath.as_deref());
        if runpath.is_none() {
            // DT_RPATH of who asks, of who loaded that one, and so on to the program.
            let mut chain = Some(by);
            while let Some((n, library)) = chain.and_then(|n| Some((n, self.loaded.get(n)?))) {
                if library.runpath.is_none() {
                    self.add_dirs(&mut dirs, &library.rpath, b":", n);
                }
                chain = library.loader.filter(|&m| m < n);
            }
        }
        if !self.environment.secure {
            self.add_dirs(&mut dirs, &self.environment.library_path, b":;", 0);
        }
        if let Some(runpath) = runpath {
            self.add_dirs(&mut dirs, runpath, b":", by);
        }
        let mut seen = HashSet::new();
        dirs.retain(|dir| seen.insert(dir.clone()));
        let mut paths: Vec<PathBuf> = dirs.iter().flat_map(|dir| self.in_dir(dir, name)).collect();
        let defaults = || self.default_dirs.iter().map(Path::new);
        let use_defaults = !requester.is_some_and(|l| l.no_default_dirs);
        let cached = self.cache.find(name, &self.environment.hwcaps).into_iter();
        paths.extend(cached.filter(|p| use_defaults || !defaults().any(|d| p.starts_with(d))).map(Path::to_path_buf));
        if use_defaults {
            paths.extend(defaults().flat_map(|dir| self.in_dir(dir, name)));
        }
        paths
    }

    fn in_dir(&self, dir: &Path, name: &str) -> Vec<PathBuf> {
        let variants = self.environment.hwcaps.iter().map(|h| dir.join("glibc-hwcaps").join(h).join(name));
        variants.chain([dir.join(name)]).collect()
    }

    fn add_dirs(&self, dirs: &mut Vec<PathBuf>, list: &[u8], separators: &[u8], by: usize) {
        if list.is_empty() {
            return;
        }
        for dir in list.split(|b| separators.contains(b)) {
            if dirs.len() < MAX_LIBRARIES {
                dirs.extend(self.expand(dir, by).iter().map(|d| self.absolute(d)));
            }
        }
    }

    /// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`. `$LIB` is decided when glibc is built: Debian's and
    /// everybody else's are both tried.
    fn expand(&self, template: &[u8], by: usize) -> Vec<Vec<u8>> {
        if !template.contains(&b'$') {
            return vec![template.to_vec()];
        }
        let origin = self.loaded.get(by).and_then(|l| l.path.parent()).unwrap_or(Path::new("/"));
        let origin = self.absolute(origin.as_os_str().as_bytes());
        let mut expanded = Vec::new();
        for lib in ["lib/x86_64-linux-gnu", "lib64"] {
            let mut out = Vec::new();
            let mut rest = template;
            while let Some((&first, tail)) = rest.split_first() {
                let (value, after) = match token(rest) {
                    // Who may choose a set-user-id program's directory would choose its libraries.
                    Some(("ORIGIN", _)) if self.environment.secure => return Vec::new(),
                    Some(("ORIGIN", after)) => (origin.as_os_str().as_bytes(), after),
                    Some(("LIB", after)) => (lib.as_bytes(), after),
                    Some((_, after)) => (&b"x86_64"[..], after),
                    None => (std::slice::from_ref(&first), tail),
                };
                out.extend_from_slice(value);
                rest = after;
            }
            if !expanded.contains(&out) {
                expanded.push(out);
            }
        }
        expanded
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        // Not folded: `..` after a symbolic link means what the kernel makes of it.
        self.environment.working_dir.join(to_path(path))
    }
}

/// The token that `rest` begins with, `$NAME` or `${NAME}`, and what follows it.
fn token(rest: &[u8]) -> Option<(&'static str, &[u8])> {
    for name in ["ORIGIN", "LIB", "PLATFORM"] {
        for (open, close) in [("${", "}"), ("$", "")] {
            let after = rest.strip_prefix(open.as_bytes()).and_then(|r| r.strip_prefix(name.as_bytes()));
            let Some(after) = after.and_then(|r| r.strip_prefix(close.as_bytes())) else { continue };
            let ends = !close.is_empty() || !after.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
            if ends {
                return Some((name, after));
            }
        }
    }
    None
}

/// Which variants of libraries the processor can run (x86-64 psABI, "micro-architecture levels").
fn hwcaps() -> Vec<&'static str> {
    macro_rules! has {
        ($($feature:tt)*) => { true $(&& is_x86_feature_detected!($feature))* };
    }
    let v2 = has!("cmpxchg16b" "popcnt" "sse4.2" "ssse3");
    let v3 = v2 && has!("avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
    let v4 = v3 && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
    let levels = [(v4, "x86-64-v4"), (v3, "x86-64-v3"), (v2, "x86-64-v2")];
    levels.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
}
