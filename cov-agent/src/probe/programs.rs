//! The kernel programs within their compiled object.

use super::ProbeError;
use aya::Ebpf;
use aya::programs::ProgramError;
use aya::sys::UProbeMultiFeature;

/// Whether the kernel arms many probes with one link.
pub(super) fn has_multi() -> Result<bool, ProbeError> {
    aya::sys::is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation)
        .map_err(|error| ProbeError::of("asking for uprobe.multi", error))
}

/// The program `name`.
pub(super) fn find<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = programs.program_mut(name).ok_or(missing(name))?;
    program.try_into().map_err(|error| ProbeError::of("finding the kernel programs", error))
}

/// That the compiled object lacks something.
pub(super) fn missing(name: &'static str) -> ProbeError {
    ProbeError::Kernel { doing: "finding the kernel programs", source: name.into() }
}
