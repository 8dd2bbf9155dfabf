//! One object's counters: an array map of the kernel, mapped into this process to be read without
//! system calls.

use super::ProbeError;
use aya::maps::{Array, IterableMap as _, Map, MapData};
use cov_ebpf_common::Striping;
use memmap2::{MmapOptions, MmapRaw};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// How much memory the counters of one object may take, unless a single stripe needs more.
const MAX_BYTES: u64 = 64 << 20;

const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// The counters of one object.
pub(super) struct Counters {
    map: Array<MapData, u64>,
    memory: MmapRaw,
    striping: Striping,
}

impl Counters {
    /// Makes `slots` counters, all 0, for a machine with up to `cpus` processors.
    pub(super) fn new(slots: u32, cpus: u32) -> Result<Self, ProbeError> {
        let doing = "making the counters";
        let striping = Striping::new(slots, cpus, MAX_BYTES);
        let map: Array<MapData, u64> = Array::create(striping.len(), BPF_F_MMAPABLE | BPF_F_INNER_MAP)
            .map_err(|error| ProbeError::of(doing, error))?;
        Self::mapped(map, striping)
    }

    /// The `slots` counters that a map holds which another process made, on the same machine.
    pub(super) fn of_map(map: MapData, slots: u32) -> Result<Self, ProbeError> {
        let doing = "reading kept counters";
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| ProbeError::of(file, error))?.get();
        let striping = Striping::new(slots, cpus, MAX_BYTES);
        let map = Array::try_from(Map::Array(map)).map_err(|error| ProbeError::of(doing, error))?;
        // What is mapped must be there.
        if map.len() != striping.len() {
            return Err(ProbeError::Kernel { doing, source: "their number is another".into() });
        }
        Self::mapped(map, striping)
    }

    fn mapped(map: Array<MapData, u64>, striping: Striping) -> Result<Self, ProbeError> {
        let doing = "mapping the counters";
        let memory = MmapOptions::new()
            .len(striping.len() as usize * size_of::<u64>())
            .map_raw_read_only(map.map().fd().as_fd().as_raw_fd())
            .map_err(|error| ProbeError::of(doing, error))?;
        Ok(Self { map, memory, striping })
    }

    /// How they are laid out.
    pub(super) fn striping(&self) -> Striping {
        self.striping
    }

    /// The map, to be put among those that the programs find.
    pub(super) fn map(&self) -> &MapData {
        self.map.map()
    }

    /// The counters by slot, each the sum of its stripes.
    pub(super) fn read(&self) -> Vec<u64> {
        (0..self.striping.slots()).map(|slot| self.sum(slot)).collect()
    }

    /// One of them; `None` if there is no such slot.
    pub(super) fn get(&self, slot: u32) -> Option<u64> {
        (slot < self.striping.slots()).then(|| self.sum(slot))
    }

    /// The sum of the stripes of a slot that exists.
    fn sum(&self, slot: u32) -> u64 {
        let base = self.memory.as_ptr();
        let element = |index: u32| {
            // SAFETY: the mapping is `striping.len()` aligned 64-bit counters long and lives as long
            // as `self`; every index that `elements` gives is below that. The kernel adds to them
            // atomically.
            #[expect(unsafe_code, reason = "memory shared with the kernel")]
            #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
            let counter = unsafe { &*base.cast::<AtomicU64>().add(index as usize) };
            counter.load(Ordering::Relaxed)
        };
        self.striping.elements(slot).map(element).fold(0, u64::saturating_add)
    }
}
