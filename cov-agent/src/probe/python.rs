//! Lines of Python at the static marker `python:line`, counted in the kernel by file and line.
//!
//! Every process that runs Python has the interpreter mapped, and most are nobody's business. So a link is for one
//! process, and the kernel raises the marker's semaphore in that process alone; in all others no instruction changes.

use super::error::system_error;
use super::live;
use super::programs::{find, missing};
use super::{Bpf, ProbeError};
use crate::object::markers::{Argument, Marker};
use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use aya::programs::UProbe;
use cov_ebpf_common::{self as common, NAME_BYTES, Operand, PythonLine, PythonName};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// `BPF_LINK_CREATE`.
const LINK_CREATE: libc::c_int = 28;
/// `BPF_TRACE_UPROBE_MULTI`.
const UPROBE_MULTI: u32 = 48;

/// What bpf(2) wants for such a link (`union bpf_attr`).
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    semaphores: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    process: u32,
    padding: u32,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Name(PythonName);

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Line(PythonLine);

// SAFETY: integers and bytes without padding.
#[expect(unsafe_code, reason = "the marker that lets maps copy it as bytes")]
unsafe impl Pod for Name {}
// SAFETY: the same.
#[expect(unsafe_code, reason = "the marker that lets maps copy it as bytes")]
unsafe impl Pod for Line {}

/// The registers in the order of the kernel's `pt_regs`; those that no argument lies in are empty.
const REGISTERS: [&str; 20] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "", "", "",
    "", "rsp",
];

fn operand(argument: &Argument) -> Option<u64> {
    let register = REGISTERS.iter().position(|name| *name == argument.register)?;
    let operand = Operand { register: u8::try_from(register).ok()?, memory: argument.memory };
    Some(operand.to_bits().into())
}

impl Bpf {
    /// Says how the names of wanted Python files begin; an empty beginning fits all.
    ///
    /// # Errors
    /// When the kernel fails. What does not fit into its table is taken for wanted altogether.
    pub fn want_python(&mut self, prefixes: &[String]) -> Result<(), ProbeError> {
        let doing = "choosing Python files";
        let mut programs = live::lock(&self.linker.programs);
        let map = programs.map_mut(common::PYTHON_PREFIXES).ok_or(missing("PYTHON_PREFIXES"))?;
        let mut wanted: LpmTrie<&mut MapData, [u8; NAME_BYTES], u32> =
            LpmTrie::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
        let fits = prefixes.len() <= common::MAX_PREFIXES as usize;
        let all = [String::new()];
        for prefix in if fits { prefixes } else { &all } {
            let mut bytes = [0; NAME_BYTES];
            let length = prefix.len().min(NAME_BYTES);
            bytes.iter_mut().zip(prefix.bytes()).for_each(|(byte, letter)| *byte = letter);
            let key = Key::new(u32::try_from(length * 8).unwrap_or(0), bytes);
            wanted.insert(&key, &1, 0).map_err(|error| ProbeError::of(doing, error))?;
        }
        Ok(())
    }

    /// Counts the lines of Python that the process `process` enters, once it is [tracked](super::Kernel::track): in the
    /// interpreter `file`, whose marker is `line`. The process may be about to execute it. Whether that can be: the
    /// marker's arguments must lie where they can be read.
    ///
    /// # Errors
    /// The kernel refuses, or is older than 6.6.
    pub fn count_python(&mut self, file: &File, line: &Marker, process: u32) -> Result<bool, ProbeError> {
        let doing = "counting lines of Python";
        let [name, _, number] = &line.arguments[..] else { return Ok(false) };
        let (Some(name), Some(number)) = (operand(name), operand(number)) else { return Ok(false) };
        if !self.is_multi() {
            return Err(ProbeError::TooOld { missing: "uprobe.multi, which counting lines of Python needs" });
        }
        let mut programs = live::lock(&self.linker.programs);
        let program: &mut UProbe = find(&mut programs, "python_line")?;
        if program.fd().is_err() {
            program.load().map_err(|error| ProbeError::of(doing, error))?;
        }
        let program = program.fd().map_err(|error| ProbeError::of(doing, error))?.as_fd().as_raw_fd();
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
        let (offset, cookie) = (line.offset.0, name | number << 32);
        let semaphore = line.semaphore.map_or(0, |semaphore| semaphore.0);
        let attributes = LinkAttributes {
            program: program.cast_unsigned(),
            attach_type: UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: &raw const offset as u64,
            semaphores: if line.semaphore.is_some() { &raw const semaphore as u64 } else { 0 },
            cookies: &raw const cookie as u64,
            count: 1,
            process,
            ..LinkAttributes::default()
        };
        // SAFETY: the attributes, and what they point to, are valid during the call.
        #[expect(unsafe_code, reason = "aya's links know no semaphores")]
        let link =
            unsafe { libc::syscall(libc::SYS_bpf, LINK_CREATE, &raw const attributes, size_of_val(&attributes)) };
        if link < 0 {
            return Err(ProbeError::of(doing, io::Error::last_os_error()));
        }
        // SAFETY: the call returned a new descriptor, which is nobody else's.
        #[expect(unsafe_code, reason = "the descriptor of a system call")]
        let link = unsafe { OwnedFd::from_raw_fd(i32::try_from(link).unwrap_or(-1)) };
        self.python.push(link);
        Ok(true)
    }

    /// The lines of Python that were entered so far, with how often.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn python_lines(&mut self) -> Result<Vec<(PathBuf, u32, u64)>, ProbeError> {
        let doing = "reading the counts of Python lines";
        let mut programs = live::lock(&self.linker.programs);
        let map = programs.map_mut(common::PYTHON_FILES).ok_or(missing("PYTHON_FILES"))?;
        let files: HashMap<&mut MapData, Name, u64> =
            HashMap::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
        let mut names = std::collections::BTreeMap::new();
        for entry in files.iter() {
            let (Name(name), number) = entry.map_err(|error| ProbeError::of(doing, error))?;
            let text = name.bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            names.insert(number, PathBuf::from(OsStr::from_bytes(text)));
        }
        names.remove(&0);
        let map = programs.map_mut(common::PYTHON_LINES).ok_or(missing("PYTHON_LINES"))?;
        let lines: HashMap<&mut MapData, Line, u64> =
            HashMap::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
        let mut found = Vec::new();
        for entry in lines.iter() {
            let (Line(line), count) = match entry {
                Ok(entry) => entry,
                // Nothing is removed: the map has no entry at all.
                Err(error) if system_error(&error) == Some(libc::ENOENT) => break,
                Err(error) => return Err(ProbeError::of(doing, error)),
            };
            if let Some(path) = names.get(&line.file) {
                found.push((path.clone(), line.line, count));
            }
        }
        Ok(found)
    }
}
