//! Marks of test frameworks, as the kernel programs want them.

use super::bisect::{self, Outcome};
use super::error::system_error;
use super::links::attach;
use super::live;
use super::programs::find;
use super::{ArmedId, Bpf, ProbeError};
use crate::plan::{Framework, MarkAct, MarkSite};
use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use cov_ebpf_common::{Act, Layout, Mark, Register, UnitKey};
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// A mark, and the number that comes with its news.
pub type NumberedMark = (MarkSite, u16);

/// More processes than this are not watched at the same time: each takes a descriptor.
const MAX_WATCHED: usize = 256;

impl Bpf {
    /// Arms the marks of an object.
    pub(super) fn arm_marks(&mut self, object: ArmedId, file: &File, marks: &[NumberedMark]) -> Result<(), ProbeError> {
        let point = |(site, number): &NumberedMark| UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(site.offset.0),
            cookie: Some(mark(site, *number).0),
        };
        let points: Vec<_> = marks.iter().map(point).collect();
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let per_link = if self.is_multi() { points.len() } else { 1 };
        let name = self.mark_program();
        let mut programs = live::lock(&self.linker.programs);
        let program = load_marks(&mut programs, name)?;
        let Outcome { links, .. } = bisect::arm(points.len(), per_link, |range| {
            attach(program, &target, points.get(range).unwrap_or_default())
        })?;
        let place = self.objects.get_mut(object.0 as usize).and_then(Option::as_mut).ok_or(ProbeError::NotArmed)?;
        place.armed.extend(links);
        Ok(())
    }

    /// Arms marks in a file for one process, until the end of the measurement.
    pub(super) fn link_process(
        &mut self,
        process: u32,
        path: &Path,
        points: &[UProbeAttachPoint<'static>],
    ) -> Result<(), ProbeError> {
        let Some(process) = NonZeroU32::new(process).filter(|_| self.watching.len() < MAX_WATCHED) else {
            return Ok(());
        };
        let per_link = if self.is_multi() { points.len() } else { 1 };
        let name = self.mark_program();
        let mut programs = live::lock(&self.linker.programs);
        let program = load_marks(&mut programs, name)?;
        let mut links = Vec::new();
        for some in points.chunks(per_link) {
            let link =
                program.attach(some, path, UProbeScope::OneProcess(process)).and_then(|id| program.take_link(id));
            match link {
                Ok(link) => links.push(link),
                // It has ended.
                Err(error) if system_error(&error) == Some(libc::ESRCH) => break,
                Err(error) => return Err(ProbeError::of("watching the variables of a process", error)),
            }
        }
        drop(programs);
        self.watching.extend(links);
        Ok(())
    }

    fn mark_program(&self) -> &'static str {
        if self.is_multi() { "mark_multi" } else { "mark" }
    }
}

fn load_marks<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, ProbeError> {
    let program: &mut UProbe = find(programs, name)?;
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
        Err(error) => Err(ProbeError::of("loading the program for marks", error)),
    }
}

fn mark(site: &MarkSite, number: u16) -> Mark {
    let (unit, register, layout) = match site.framework {
        Framework::GoogleTest => (UnitKey::THREAD, Register::Rdi, Layout::TwoStrings),
        Framework::Libtest { second: false } => (UnitKey::THREAD, Register::Rdi, Layout::Raw),
        Framework::Libtest { second: true } => (UnitKey::THREAD, Register::Rsi, Layout::Raw),
        Framework::GoTest => (UnitKey::GOROUTINE, Register::Rax, Layout::Slice),
        // Where it is reached tells the name; what lies there is not looked at.
        Framework::Mojo => (UnitKey::THREAD, Register::Rdi, Layout::Raw),
        Framework::Marker => (UnitKey::THREAD, Register::Rdi, Layout::Characters),
    };
    let (act, offset) = match site.act {
        MarkAct::Begin { offset } => (Act::Enter, offset),
        MarkAct::End => (Act::Leave, 0),
        MarkAct::Spawn => (Act::Spawn, 0),
        MarkAct::Spawned => (Act::Spawned, 0),
        MarkAct::Gone => (Act::Gone, 0),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the kinds are small constants")]
    Mark::new(act, unit as u8, register, layout, offset, number)
}
