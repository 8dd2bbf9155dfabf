//! Another process's code: breakpoints are taken out of it, byte by byte, while it runs.
//!
//! This is the only place that writes to another process. A byte is written only where it is a breakpoint, in a private
//! mapping of the very file and place that the breakpoint was armed at, and only what the file has there. All that is
//! looked at belongs to one process and was opened just before, so a process number that is given away, or an exec,
//! ends in an error or leads to the same check against what is there then. Where an exec must not be missed, the memory
//! is [held](Foreign::hold): what the process executes later has another one.

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, pread, pwrite};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

/// What the kernel puts at a probed instruction (x86: `int3`).
const BREAKPOINT: u8 = 0xcc;

/// How many bytes before a breakpoint, and from it on, must be what the file has.
const AROUND: usize = 8;

/// A probed instruction in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breakpoint {
    /// Where it is in the process's memory.
    pub address: u64,
    /// Where it is in the file.
    pub offset: u64,
}

/// What became of the breakpoints of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Those that are gone.
    pub gone: usize,
    /// Those left alone: they were no breakpoints any more, or something about them is not as expected.
    pub left: usize,
}

/// Why nothing can be taken out of a process.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It has ended, or executes something else by now.
    #[error("the process has ended")]
    Ended,
    /// A debugger is at it, which may have breakpoints of its own in the same places.
    #[error("process {tracer} traces it")]
    Traced {
        /// The debugger.
        tracer: u32,
    },
    /// The kernel does not let its code be written to.
    #[error("its code cannot be written to: {0}")]
    Forbidden(io::Error),
    /// Anything else.
    #[error(transparent)]
    System(io::Error),
}

impl From<Errno> for ForeignError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::SRCH | Errno::NOENT => Self::Ended,
            Errno::ACCESS | Errno::PERM => Self::Forbidden(errno.into()),
            errno => Self::System(errno.into()),
        }
    }
}

impl From<io::Error> for ForeignError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(errno) => errno.into(),
            None => Self::System(error),
        }
    }
}

/// A process, whatever becomes of its number.
#[derive(Debug)]
pub struct Foreign {
    /// Its directory in /proc: once the process has ended, nothing in there can be opened any more.
    directory: OwnedFd,
    /// Its memory, if that is held.
    memory: Option<OwnedFd>,
}

impl Foreign {
    /// Takes hold of the process that has the number `pid` now.
    ///
    /// # Errors
    /// There is none, or the system fails.
    pub fn open(pid: u32) -> Result<Self, ForeignError> {
        let path = format!("/proc/{pid}");
        let directory = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { directory, memory: None })
    }

    /// The same with the memory that it has now: nothing is written to another one, whatever it executes later.
    ///
    /// # Errors
    /// There is none, it may not be written to, or the system fails.
    pub fn hold(pid: u32) -> Result<Self, ForeignError> {
        let mut process = Self::open(pid)?;
        process.memory = Some(process.open_file("mem", OFlags::RDWR)?);
        Ok(process)
    }

    /// Whether something may be taken out of it.
    ///
    /// # Errors
    /// It has ended, or is being debugged.
    pub fn is_free(&self) -> Result<(), ForeignError> {
        match self.tracer()? {
            0 => Ok(()),
            tracer => Err(ForeignError::Traced { tracer }),
        }
    }

    /// Where the process has these places of `file` as code.
    ///
    /// # Errors
    /// The process has ended, or the system fails.
    pub fn places(&self, file: &File, offsets: &[u64]) -> Result<Vec<Breakpoint>, ForeignError> {
        let maps = self.read("maps")?;
        let stat = fstat(file)?;
        let places = Places { process: self, file: &stat, maps: &maps, last: None };
        let lines = maps.split(|&byte| byte == b'\n').filter_map(Line::parse);
        let mapped = lines.filter(|line| line.private && places.is_file(line)).map(|line| line.mapped);
        let of = |m: Mapped| {
            let within = move |&&offset: &&u64| (m.offset..m.offset + (m.end - m.start)).contains(&offset);
            let place = move |&offset: &u64| Breakpoint { address: m.start + (offset - m.offset), offset };
            offsets.iter().filter(within).map(place)
        };
        Ok(mapped.flat_map(of).collect())
    }

    /// Takes breakpoints that are armed on `file` out of the process's memory. They stay armed for others, and come
    /// back when the process maps the file anew or changes the mapping.
    ///
    /// # Errors
    /// The process has ended, is being debugged, or may not be written to. Some may be gone all the same.
    pub fn remove(&self, file: &File, breakpoints: &[Breakpoint]) -> Result<Removed, ForeignError> {
        self.is_free()?;
        let maps = self.read("maps")?;
        let opened;
        let memory = match &self.memory {
            Some(held) => held,
            None => {
                opened = self.open_file("mem", OFlags::RDWR)?;
                &opened
            }
        };
        let stat = fstat(file)?;
        let mut removed = Removed::default();
        let mut places = Places { process: self, file: &stat, maps: &maps, last: None };
        for breakpoint in breakpoints {
            let Some(range) = places.of(*breakpoint) else {
                removed.left += 1;
                continue;
            };
            match remove(memory, file, *breakpoint, range) {
                Ok(true) => removed.gone += 1,
                Ok(false) => removed.left += 1,
                // Also when it is unmapped meanwhile; where nothing can be written, nothing ever was.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                    if !may_write() {
                        return Err(ForeignError::Forbidden(error));
                    }
                    removed.left += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    /// The process that traces it; 0 if none does.
    fn tracer(&self) -> Result<u32, ForeignError> {
        let status = self.read("status")?;
        let field = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"TracerPid:"));
        let number = field.and_then(|field| std::str::from_utf8(field).ok()?.trim().parse().ok());
        number.ok_or_else(|| ForeignError::System(io::ErrorKind::InvalidData.into()))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, ForeignError> {
        Ok(openat(&self.directory, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ForeignError> {
        let mut bytes = Vec::new();
        File::from(self.open_file(name, OFlags::RDONLY)?).read_to_end(&mut bytes)?;
        // Of a process that has ended just now nothing is left.
        if bytes.is_empty() { Err(ForeignError::Ended) } else { Ok(bytes) }
    }
}

/// Writes the file's byte over the breakpoint, if it is one and lies in what the file has. `range` is the mapping.
fn remove(memory: &OwnedFd, file: &File, at: Breakpoint, range: Mapped) -> io::Result<bool> {
    let near = |distance: u64| usize::try_from(distance).unwrap_or(AROUND).min(AROUND);
    let before = near((at.address - range.start).min(at.offset));
    let length = before + near(range.end - at.address);
    let (mut there, mut original) = (vec![0; length], vec![0; length]);
    file.read_exact_at(&mut original, at.offset - before as u64)?;
    if pread(memory, &mut *there, at.address - before as u64)? != length {
        return Err(Errno::SRCH.into());
    }
    let same = there.iter().zip(&original).all(|(there, original)| there == original || *there == BREAKPOINT);
    let code = original.get(before..).unwrap_or_default();
    // The kernel may make a call of such a nop, whose first byte alone must not be touched.
    if !same || there.get(before) != Some(&BREAKPOINT) || code.starts_with(&[0x0f, 0x1f, 0x44, 0x00, 0x00]) {
        return Ok(false);
    }
    match code.first() {
        Some(&byte) if pwrite(memory, &[byte], at.address)? == 1 => Ok(true),
        _ => Err(Errno::SRCH.into()),
    }
}

/// A private executable mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapped {
    start: u64,
    end: u64,
    /// Where in the file it begins.
    offset: u64,
}

/// The mappings of a process, asked for one address after the other.
struct Places<'a> {
    process: &'a Foreign,
    file: &'a Stat,
    maps: &'a [u8],
    /// The answer to the last question.
    last: Option<Mapped>,
}

impl Places<'_> {
    /// The private mapping that has the breakpoint's place in the file at its address.
    fn of(&mut self, at: Breakpoint) -> Option<Mapped> {
        let holds = |m: &Mapped| (m.start..m.end).contains(&at.address) && at.address - m.start + m.offset == at.offset;
        if let Some(last) = self.last.filter(holds) {
            return Some(last);
        }
        let line = self.maps.split(|&byte| byte == b'\n').find_map(|line| {
            let line = Line::parse(line)?;
            holds(&line.mapped).then_some(line)
        })?;
        self.last = (line.private && self.is_file(&line)).then_some(line.mapped);
        self.last
    }

    /// Whether the file itself is mapped there. On stacked file systems the list of mappings names the files below.
    fn is_file(&self, line: &Line<'_>) -> bool {
        let file = self.file;
        let same = |stat: &Stat| (stat.st_dev, stat.st_ino) == (file.st_dev, file.st_ino);
        let (major, minor) = line.device;
        (rustix::fs::makedev(major, minor), line.inode) == (file.st_dev, file.st_ino)
            || statat(&self.process.directory, format!("map_files/{}", line.range), AtFlags::empty())
                .is_ok_and(|stat| same(&stat))
    }
}

/// A line of /proc/PID/maps.
struct Line<'a> {
    range: &'a str,
    mapped: Mapped,
    /// Private and executable.
    private: bool,
    device: (u32, u32),
    inode: u64,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let mut fields = fields.map_while(|field| std::str::from_utf8(field).ok());
        let (range, permissions, offset, device, inode) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        let (major, minor) = device.split_once(':')?;
        Some(Self {
            range,
            mapped: Mapped { start: number(start)?, end: number(end)?, offset: number(offset)? },
            private: permissions.ends_with("xp"),
            device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
            inode: inode.parse().ok()?,
        })
    }
}

/// Whether the kernel lets read-only code be written to through /proc (`proc_mem.force_override`, `CONFIG_PROC_MEM_*`).
/// Tried on this process.
#[must_use]
pub fn may_write() -> bool {
    let try_it = || -> io::Result<bool> {
        let page = memmap2::MmapOptions::new().len(1).map_anon()?.make_read_only()?;
        let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
        Ok(memory.write_at(&[0], page.as_ptr().addr() as u64)? == 1)
    };
    try_it().unwrap_or(false)
}
