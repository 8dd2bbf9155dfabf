//! Programs that the kernel runs when something happens that it lets be traced.

use super::ProbeError;
use super::programs::find;
use aya::Ebpf;
use aya::programs::RawTracePoint;

/// Runs the program `name` at a tracepoint.
pub(super) fn run(
    programs: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
    doing: &'static str,
) -> Result<(), ProbeError> {
    let program: &mut RawTracePoint = find(programs, name)?;
    program.load().and_then(|()| program.attach(tracepoint)).map(drop).map_err(|error| ProbeError::of(doing, error))
}
