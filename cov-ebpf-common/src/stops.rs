//! Where signals ended threads.

/// Hash map from [`Stop`] to a `u64`: how many threads ended there.
pub const STOPS: &str = "STOPS";

/// How many different [`Stop`]s are kept.
pub const MAX_STOPS: u32 = 1 << 14;

/// How many frames of a stack are kept: a key of a map may have 512 bytes.
pub const STOP_FRAMES: usize = 15;

/// Where a frame was: the kernel's `bpf_stack_build_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct StopFrame {
    /// [`Self::KNOWN`] where the object is known.
    pub status: u32,
    /// The object's GNU build-id, and zeros.
    pub build_id: [u8; 20],
    /// The place in the object's file; an address in memory where the object is not known.
    pub offset: u64,
}

impl StopFrame {
    /// `BPF_STACK_BUILD_ID_VALID`.
    pub const KNOWN: u32 = 1;
}

/// The stack of a thread that a signal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Stop {
    /// The innermost first: the instruction that was to be executed next, or whose execution failed. Then the addresses
    /// that functions would have returned to, as far as frame pointers tell.
    pub frames: [StopFrame; STOP_FRAMES],
    /// What the stack pointer points to, as a place in the objects of the first frame and of the second: the address that
    /// the innermost function returns to if it has no frame of its own. 0 where it cannot be.
    pub top: [u64; 2],
    /// 1 where executing the innermost instruction failed, and that was the signal's cause.
    pub fault: u64,
}

impl Stop {
    /// How many bytes it has.
    pub const BYTES: usize = size_of::<Self>();
}

const _: () = assert!(size_of::<StopFrame>() == 32 && Stop::BYTES == 504);
