//! What happens in the forked child until it is the program.
//!
//! The agent may have threads, so only async-signal-safe calls are allowed: everything that needs
//! memory is made ready before.
#![expect(unsafe_code, reason = "system calls after fork(2), where nothing else is allowed")]

use super::executable::Executable;
use super::inherited::Inherited;
use super::{Identity, LaunchError};
use libc::c_char;
use nix::errno::Errno;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

const SHELL: &CStr = c"/bin/sh";

/// What the child executes.
pub(super) struct Execution {
    path: CString,
    /// The program's name as it was given, and its arguments.
    argv: Strings,
    /// The same for a script that the kernel does not know how to execute: a shell runs it.
    shell_argv: Option<Strings>,
    envp: Strings,
    identity: Option<Identity>,
}

/// Strings, and the array of pointers to them that exec wants.
struct Strings {
    #[expect(dead_code, reason = "what the pointers point to")]
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { strings, pointers }
    }
}

/// At which step the child failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Step {
    /// Becoming the other user.
    Identity = 1,
    /// Executing the program.
    Execute = 2,
}

/// What the child tells before it gives up: a step and an error number.
pub(super) const REPORT: usize = 8;

/// The step and the error number of a report.
pub(super) fn read_report(report: [u8; REPORT]) -> (Step, Errno) {
    let [step, errno] = [0, 4].map(|at| {
        let mut word = [0; 4];
        word.copy_from_slice(report.get(at..at + 4).unwrap_or(&[0; 4]));
        i32::from_ne_bytes(word)
    });
    (if step == Step::Identity as i32 { Step::Identity } else { Step::Execute }, Errno::from_raw(errno))
}

impl Execution {
    /// `program` is what the person typed, `file` what it names.
    pub(super) fn new(
        file: &Executable,
        program: &OsStr,
        args: &[OsString],
        variables: &[(&str, OsString)],
        identity: Option<Identity>,
    ) -> Result<Self, LaunchError> {
        let text =
            |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| LaunchError::NullByte { text: text.to_owned() });
        let path = text(file.path.as_os_str())?;
        let args = args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
        let argv = Strings::new([text(program)?].into_iter().chain(args.iter().cloned()).collect());
        let shell_argv =
            file.text.then(|| Strings::new([SHELL.to_owned(), path.clone()].into_iter().chain(args).collect()));
        let mut environment = environment();
        for (name, value) in variables {
            let prefix = format!("{name}=");
            environment.retain(|entry| !entry.as_bytes().starts_with(prefix.as_bytes()));
            let mut entry = OsString::from(prefix);
            entry.push(value);
            environment.push(text(&entry)?);
        }
        Ok(Self { path, argv, shell_argv, envp: Strings::new(environment), identity })
    }

    /// The child's way: becomes what the agent was when it began, waits for a byte from `go`,
    /// executes. Ends if `go` ends without one; tells `report` why if it fails.
    ///
    /// # Safety
    /// Only in a child right after fork(2).
    pub(super) unsafe fn run(&self, inherited: &Inherited, go: i32, report: i32) -> ! {
        inherited.restore();
        let mut byte = 0u8;
        loop {
            // SAFETY: one byte is valid for writing.
            let count = unsafe { libc::read(go, (&raw mut byte).cast(), 1) };
            if count == 1 {
                break;
            }
            if count == 0 || Errno::last() != Errno::EINTR {
                // SAFETY: ends the process.
                unsafe { libc::_exit(125) }
            }
        }
        let (step, errno) = match self.identity.as_ref().map_or(Ok(()), become_user) {
            Err(errno) => (Step::Identity, errno),
            Ok(()) => {
                self.execute();
                (Step::Execute, Errno::last())
            }
        };
        let words = [step as i32, errno as i32];
        // SAFETY: eight bytes are valid for reading; then the process ends.
        unsafe {
            libc::write(report, words.as_ptr().cast(), REPORT);
            libc::_exit(127)
        }
    }

    /// Returns only if it fails, the error number set.
    fn execute(&self) {
        let envp = self.envp.pointers.as_ptr();
        // SAFETY: strings and arrays end with null and live in `self`.
        unsafe {
            libc::execve(self.path.as_ptr(), self.argv.pointers.as_ptr(), envp);
            // No format that the kernel knows: a shell's script without a first line.
            if let (Errno::ENOEXEC, Some(argv)) = (Errno::last(), &self.shell_argv) {
                libc::execve(SHELL.as_ptr(), argv.pointers.as_ptr(), envp);
            }
        }
    }
}

/// Takes on all rights of a user, for good. The calls of the C library would speak to other threads,
/// which a child does not have.
fn become_user(identity: &Identity) -> Result<(), Errno> {
    let (uid, gid) = (identity.uid.as_raw(), identity.gid.as_raw());
    // SAFETY: `Gid` is a transparent `gid_t`; the rest are integers.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_setgroups, identity.groups.len(), identity.groups.as_ptr()))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// The environment as it is, entries without `=` and doubled ones included.
fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: nothing in this process changes its environment, and the array ends with null.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            entries.push(CStr::from_ptr(*entry).to_owned());
            entry = entry.add(1);
        }
    }
    entries
}
