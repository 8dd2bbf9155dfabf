//! Marks of test frameworks, as the kernel programs want them.

use super::{ArmedId, Bpf, ProbeError};
use crate::plan::{Framework, MarkAct, MarkSite};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint};
use cov_ebpf_common::{Act, Layout, Mark, Register, UnitKey};
use std::fs::File;

/// A mark, and the number that comes with its news.
pub type NumberedMark = (MarkSite, u16);

impl Bpf {
    /// Arms the marks of an object.
    pub(super) fn arm_marks(&mut self, object: ArmedId, file: &File, marks: &[NumberedMark]) -> Result<(), ProbeError> {
        let point = |(site, number): &NumberedMark| UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(site.offset.0),
            cookie: Some(mark(site, *number).0),
        };
        self.link_marks(object, file, &marks.iter().map(point).collect::<Vec<_>>())
    }
}

fn mark(site: &MarkSite, number: u16) -> Mark {
    let (unit, register, layout) = match site.framework {
        Framework::GoogleTest => (UnitKey::THREAD, Register::Rdi, Layout::TwoStrings),
        Framework::Libtest { second: false } => (UnitKey::THREAD, Register::Rdi, Layout::Raw),
        Framework::Libtest { second: true } => (UnitKey::THREAD, Register::Rsi, Layout::Raw),
        Framework::GoTest => (UnitKey::GOROUTINE, Register::Rax, Layout::Slice),
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
