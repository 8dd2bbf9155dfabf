//! What a hit costs on this machine: measured on the agent itself.

use super::{ArmedId, Kernel, ProbeError};
use crate::object::{FileOffset, LinkAddr};
use crate::plan::{Instruction, Observe, Site, SlotId};
use std::fs::{self, File};
use std::time::{Duration, Instant};

/// What one hit of a probe costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Of an instruction that the kernel emulates.
    pub emulated: Duration,
    /// Of one that it single-steps.
    pub single_stepped: Duration,
}

impl Prices {
    /// As measured on the reference machine, for where nothing was measured.
    pub const TYPICAL: Self =
        Self { emulated: Duration::from_nanos(650), single_stepped: Duration::from_nanos(11_000) };

    /// Measures and takes the probes away again, which takes as long as disarming an object.
    ///
    /// # Errors
    /// When probes cannot be armed, or do not fire.
    pub fn measure(kernel: &mut dyn Kernel) -> Result<Self, ProbeError> {
        let (prices, armed) = Self::begin(kernel)?;
        kernel.detach(armed)?;
        Ok(prices)
    }

    /// Measures: arms two instructions of this very program, executes them some hundred times, takes
    /// the quickest of a few runs. Takes milliseconds; the probes stay armed.
    ///
    /// # Errors
    /// When probes cannot be armed, or do not fire.
    pub fn begin(kernel: &mut dyn Kernel) -> Result<(Self, ArmedId), ProbeError> {
        let doing = "arming the agent itself";
        let file = File::open("/proc/self/exe").map_err(|error| ProbeError::of(doing, error))?;
        let functions = [own_code::emulated as extern "C" fn(u32), own_code::single_stepped];
        let mut sites = Vec::new();
        for (slot, function) in (0..).zip(functions) {
            // The probed instruction is the function's first.
            let offset = own_offset(function as usize as u64).ok_or(ProbeError::Silent)?;
            let observe = Observe::Count { slot: SlotId(slot) };
            let (addr, offset, instruction) = (LinkAddr(offset), FileOffset(offset), Instruction::SingleStepped);
            sites.push(Site { addr, offset, instruction, observe });
        }
        let armed = kernel.attach(&file, &sites, 2)?;
        let own = std::process::id();
        let prices = kernel.track(own).map(|()| functions.map(price));
        kernel.untrack(own)?;
        let counters = kernel.counters(armed.id)?;
        let [emulated, single_stepped] = prices?;
        if counters != [u64::from(RUNS * HITS); 2] {
            return Err(ProbeError::Silent);
        }
        Ok((Self { emulated, single_stepped }, armed.id))
    }
}

const RUNS: u32 = 5;
const HITS: u32 = 50;

/// The quickest of some runs, for one hit.
fn price(function: extern "C" fn(u32)) -> Duration {
    let run = |_| {
        let start = Instant::now();
        function(HITS);
        start.elapsed() / HITS
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

/// Where in the program's file the byte at an address of this process lies.
pub(super) fn own_offset(address: u64) -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end, offset) = (number(start)?, number(end)?, number(fields.nth(1)?)?);
        (start..end).contains(&address).then(|| address - start + offset)
    })
}

/// Two loops whose first instruction is of a known kind.
mod own_code {
    #![expect(unsafe_code, reason = "written in assembly, to know every instruction")]

    use std::arch::naked_asm;

    /// Goes `n` times round a loop that begins with an instruction which the kernel emulates.
    #[unsafe(naked)]
    pub(super) extern "C" fn emulated(n: u32) {
        #[cfg(target_arch = "x86_64")]
        naked_asm!("2: nop", "sub edi, 1", "jnz 2b", "ret");
        #[cfg(target_arch = "aarch64")]
        naked_asm!("2: nop", "subs w0, w0, #1", "b.ne 2b", "ret");
    }

    /// The same with an instruction that the kernel single-steps.
    #[unsafe(naked)]
    pub(super) extern "C" fn single_stepped(n: u32) {
        #[cfg(target_arch = "x86_64")]
        naked_asm!("2: mov rax, rax", "sub edi, 1", "jnz 2b", "ret");
        #[cfg(target_arch = "aarch64")]
        naked_asm!("2: mov x1, x1", "subs w0, w0, #1", "b.ne 2b", "ret");
    }
}
