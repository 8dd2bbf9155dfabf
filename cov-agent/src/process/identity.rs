//! On whose behalf: the user a program runs as, and the user whose rights decide which files the
//! agent may open.

use super::LaunchError;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User as Entry, getegid, geteuid, getgrouplist, getgroups, setfsgid, setfsuid};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A user's rights: user, group and supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: Uid,
    /// The main group's number.
    pub gid: Gid,
    /// The other groups' numbers.
    pub groups: Vec<Gid>,
}

/// A user to run a program as.
#[derive(Debug, Clone)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Its rights.
    pub identity: Identity,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

impl User {
    /// The user of that name, or of that number where no user has the name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &OsStr) -> Result<Self, LaunchError> {
        let none = || LaunchError::NoSuchUser { name: name.to_owned() };
        let text = name.to_str().ok_or_else(none)?;
        let doing = LaunchError::system("reading the user database");
        let entry = match (Entry::from_name(text).map_err(&doing)?, text.parse()) {
            (None, Ok(number)) => Entry::from_uid(Uid::from_raw(number)).map_err(&doing)?,
            (entry, _) => entry,
        };
        let entry = entry.ok_or_else(none)?;
        let groups = groups_of(&entry).map_err(&doing)?;
        let identity = Identity { uid: entry.uid, gid: entry.gid, groups };
        Ok(Self { name: entry.name, identity, home: entry.dir, shell: entry.shell })
    }

    /// The variables that say who a user is. All others stay as they are, as with `su`.
    pub(super) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("HOME", self.home.clone().into()),
            ("SHELL", self.shell.clone().into()),
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
        ]
    }
}

impl Identity {
    /// This process's own.
    ///
    /// # Errors
    /// When the system fails.
    pub fn own() -> io::Result<Self> {
        Ok(Self { uid: geteuid(), gid: getegid(), groups: getgroups()? })
    }

    /// That of the person at the keyboard: under sudo the user who called it, else this process's
    /// own. Only root believes the variables that sudo sets, and only gives rights up by that.
    ///
    /// # Errors
    /// When the user database cannot be read.
    pub fn invoking() -> io::Result<Self> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let (Some(uid), Some(gid), true) = (number("SUDO_UID"), number("SUDO_GID"), geteuid().is_root()) else {
            return Self::own();
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let groups = match Entry::from_uid(uid)? {
            Some(entry) => groups_of(&Entry { gid, ..entry })?,
            None => vec![gid],
        };
        Ok(Self { uid, gid, groups })
    }

    /// Runs `f` on this thread with these rights over files, and no privilege over them if this is
    /// not root. Threads that `f` starts keep them.
    ///
    /// # Errors
    /// When the rights cannot be taken on, which needs root if they are not the process's own. `f`
    /// then has not run.
    pub fn with_rights<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        let own = Self::own()?;
        if *self == own {
            return Ok(f());
        }
        /// Gives the thread its own rights back, also when `f` panics.
        struct Restore(Identity);
        impl Drop for Restore {
            fn drop(&mut self) {
                // The user first: only it has the right to change the rest.
                if let Err(error) = self.0.take_user().and_then(|()| self.0.take_groups()) {
                    // Going on with another user's rights over files would be wrong in a way nobody sees.
                    eprintln!("cov-agent: cannot take the own rights back: {error}");
                    std::process::abort();
                }
            }
        }
        let restore = Restore(own);
        self.take_groups()?;
        self.take_user()?;
        let result = f();
        drop(restore);
        Ok(result)
    }

    /// Opens a file for reading with these rights.
    ///
    /// # Errors
    /// As [`File::open`], and as [`with_rights`](Self::with_rights).
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.with_rights(|| File::open(path))?
    }

    fn take_user(&self) -> io::Result<()> {
        setfsuid(self.uid);
        // It reports no error; asking for an invalid user tells who it is now.
        if setfsuid(Uid::from_raw(u32::MAX)) == self.uid { Ok(()) } else { Err(Errno::EPERM.into()) }
    }

    fn take_groups(&self) -> io::Result<()> {
        setgroups(&self.groups)?;
        setfsgid(self.gid);
        if setfsgid(Gid::from_raw(u32::MAX)) == self.gid { Ok(()) } else { Err(Errno::EPERM.into()) }
    }
}

/// Sets the calling thread's supplementary groups. The C library would set those of all threads.
fn setgroups(groups: &[Gid]) -> Result<(), Errno> {
    // SAFETY: `Gid` is a transparent `gid_t`; pointer and length are those of the slice.
    #[expect(unsafe_code, reason = "setgroups(2) of one thread has no wrapper")]
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

fn groups_of(entry: &Entry) -> Result<Vec<Gid>, Errno> {
    let name = CString::new(OsStr::new(&entry.name).as_bytes()).map_err(|_| Errno::EINVAL)?;
    getgrouplist(&name, entry.gid)
}
