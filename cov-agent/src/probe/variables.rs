//! Processes that tell the test by a variable of their environment: pytest, and whoever uses our Python file.
//!
//! `setenv` of the C library is watched, in one process only: a probe for all would stop every process of the machine.

use super::{Bpf, ProbeError};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint};
use cov_ebpf_common::{Act, Layout, Mark, Register, UnitKey};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSegment as _, ObjectSymbol as _};
use std::fs;
use std::path::PathBuf;

/// The number that comes with news of variables: no mark of an object has it.
pub const VARIABLE: u16 = u16::MAX;

/// Where this process's C library has the functions: others' is the same file, but in containers.
pub(super) struct Library {
    path: PathBuf,
    set: u64,
    unset: u64,
}

impl Library {
    /// `None` where it cannot be found: the agent may be linked with another one.
    pub(super) fn find() -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let path = maps.lines().filter_map(|line| line.split_once(" /")).map(|(_, path)| format!("/{path}"));
        let path = PathBuf::from(path.into_iter().find(|path| path.ends_with("/libc.so.6"))?);
        let bytes = fs::read(&path).ok()?;
        let file = ElfFile64::<Endianness>::parse(&*bytes).ok()?;
        let offset = |name: &str| {
            let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name) && symbol.is_definition())?;
            let segment =
                file.segments().find(|s| (s.address()..s.address() + s.size()).contains(&symbol.address()))?;
            Some(symbol.address() - segment.address() + segment.file_range().0)
        };
        Some(Self { set: offset("setenv")?, unset: offset("unsetenv")?, path })
    }
}

impl Bpf {
    /// Watches the variables of one process.
    pub(super) fn watch_variables(&mut self, process: u32) -> Result<(), ProbeError> {
        let Some(Library { path, set, unset }) = Library::find() else { return Ok(()) };
        #[expect(clippy::cast_possible_truncation, reason = "the kinds are small constants")]
        let mark = |act| Mark::new(act, UnitKey::PROCESS as u8, Register::Rsi, Layout::Characters, 0, VARIABLE);
        let point = |(offset, act)| UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(mark(act).0),
        };
        self.link_process(process, &path, &[(set, Act::SetVariable), (unset, Act::UnsetVariable)].map(point))
    }
}
