//! Where signals ended threads, as the kernel programs kept it.

use super::ProbeError;
use crate::object::FileOffset;
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use cov_ebpf_common::{Stop, StopFrame};

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Key(Stop);

// SAFETY: integers and bytes without padding, which is what `Pod` asks for.
#[expect(unsafe_code, reason = "the marker that lets map keys be copied as bytes")]
unsafe impl Pod for Key {}

/// A place in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The object's GNU build-id, and zeros. `None`: the object is not known.
    pub build_id: Option<[u8; 20]>,
    /// The place in its file; means nothing where that is not known.
    pub offset: FileOffset,
}

impl Place {
    /// Whether it lies in the object with this build-id.
    #[must_use]
    pub fn is_in(&self, build_id: &[u8]) -> bool {
        self.build_id.is_some_and(|id| {
            let (id, zeros) = id.split_at(build_id.len().min(id.len()));
            id == build_id && zeros.iter().all(|byte| *byte == 0)
        })
    }
}

/// Threads that signals ended, all at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedThreads {
    /// The innermost frame first: the instruction that was to be executed next, or failed. Then return addresses, as far as
    /// frame pointers seem to tell.
    pub frames: Vec<Place>,
    /// What the stack pointer pointed to, where that may be a return address: of an innermost function without a frame of
    /// its own, which is not among `frames`.
    pub top: Vec<Place>,
    /// Whether executing the innermost instruction failed.
    pub fault: bool,
    /// How many threads.
    pub threads: u64,
}

/// All of them.
pub(super) fn read(map: &Map) -> Result<Vec<StoppedThreads>, ProbeError> {
    let doing = "reading where threads were ended";
    let map: HashMap<&MapData, Key, u64> = HashMap::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
    let place = |frame: &StopFrame| Place {
        build_id: (frame.status == StopFrame::KNOWN).then_some(frame.build_id),
        offset: FileOffset(frame.offset),
    };
    let one = |entry: Result<(Key, u64), _>| {
        let (Key(stop), threads) = entry.map_err(|error| ProbeError::of(doing, error))?;
        // What the kernel did not fill is zero.
        let frames: Vec<Place> = stop.frames.iter().take_while(|frame| frame.status != 0).map(place).collect();
        let top = frames.iter().zip(stop.top).filter(|(_, offset)| *offset != 0);
        let top = top.map(|(frame, offset)| Place { offset: FileOffset(offset), ..*frame }).collect();
        Ok(StoppedThreads { frames, top, fault: stop.fault != 0, threads })
    };
    map.iter().map(one).collect()
}
