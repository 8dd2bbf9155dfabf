//! The way to a directory, walked component by component so that no foreign link is followed.

use super::{OutputError, change_owner};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Symlinks that are followed on the way, as the kernel limits them.
const MAX_LINKS: usize = 40;

/// One step on the way to a directory.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// The steps of a path, last first.
fn steps(path: &Path) -> Vec<Step> {
    let mut steps: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::RootDir => Some(Step::Root),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Down(name.into())),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    steps.reverse();
    steps
}

/// Opens a directory, making what is missing of the way and giving it to `owner`.
pub(super) fn open_directory(path: &Path, owner: Option<(u32, u32)>) -> Result<OwnedFd, OutputError> {
    let error = |source: Errno| OutputError::Directory { path: path.into(), source: source.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |at: &OwnedFd, name: &OsStr| rustix::fs::openat(at, name, flags, Mode::empty());
    let start = |name: &str| rustix::fs::openat(CWD, name, flags, Mode::empty()).map_err(error);
    let mut at = start(".")?;
    let mut seen = PathBuf::new();
    let mut links = 0;
    let mut todo = steps(path);
    while let Some(step) = todo.pop() {
        let name = match step {
            Step::Root => {
                at = start("/")?;
                seen = "/".into();
                continue;
            }
            Step::Up => "..".into(),
            Step::Down(name) => name,
        };
        seen.push(&name);
        let next = match open(&at, &name) {
            Err(Errno::NOENT) => make_directory(&at, &name, owner).and_then(|()| open(&at, &name)),
            next => next,
        };
        at = match next {
            Ok(next) => next,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(error(Errno::LOOP));
                }
                let target = read_trusted_link(&at, &name, owner).map_err(|refusal| match refusal {
                    Refusal::Foreign(owner) => OutputError::ForeignLink { link: seen.clone(), owner },
                    Refusal::Error(e) => error(e),
                })?;
                seen.pop();
                todo.extend(steps(&target));
                continue;
            }
            Err(e) => return Err(error(e)),
        };
    }
    rustix::fs::openat(&at, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(error)
}

fn make_directory(at: &OwnedFd, name: &OsStr, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
        Ok(()) if owner.is_some() => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(at, name, flags, Mode::empty())?;
            change_owner(&made, owner).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        }
        // Another agent made it at the same time.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

enum Refusal {
    Foreign(u32),
    Error(Errno),
}

impl From<Errno> for Refusal {
    fn from(e: Errno) -> Self {
        Self::Error(e)
    }
}

/// The target of a link, if one may follow it. Owner and target are those of one open link: nobody
/// can exchange it in between.
fn read_trusted_link(at: &OwnedFd, name: &OsStr, owner: Option<(u32, u32)>) -> Result<PathBuf, Refusal> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&link)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(Refusal::Error(Errno::NOTDIR));
    }
    let acting = owner.map_or(rustix::process::geteuid().as_raw(), |(user, _)| user);
    let trusted = [0, acting, rustix::fs::fstat(at)?.st_uid];
    if !trusted.contains(&stat.st_uid) {
        return Err(Refusal::Foreign(stat.st_uid));
    }
    let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}
