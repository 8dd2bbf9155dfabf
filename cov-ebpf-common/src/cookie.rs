//! The cookie: the 64 bits that a probe hands to the kernel program when it is hit.

/// How many objects can be armed at the same time.
pub const MAX_OBJECTS: u32 = 1 << 12;

/// How many counters one object can have.
pub const MAX_SLOTS: u32 = 1 << 28;

/// The largest base-2 logarithm of a number of stripes.
pub const MAX_STRIPES_LOG2: u32 = 12;

const OBJECT: u32 = 28;
const STRIPES: u32 = 40;
const CONDITION: u32 = 44;
const BRANCH: u64 = 1 << 48;
const STEPPED: u64 = 1 << 49;
const ONCE: u64 = 1 << 50;

/// What a hit of one probe adds to.
///
/// From the lowest bit: slot (28 bits), object (12), base-2 logarithm of the object's stripes (4),
/// condition (4), whether the probe observes a branch (1), whether the kernel single-steps its instruction (1), whether
/// one hit is enough (1). The rest is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie(pub u64);

impl Cookie {
    /// A probe that adds one to `slot`. `None` if a part is out of its range.
    #[must_use]
    pub const fn count(object: u32, stripes_log2: u32, slot: u32) -> Option<Self> {
        if object >= MAX_OBJECTS || stripes_log2 > MAX_STRIPES_LOG2 || slot >= MAX_SLOTS {
            return None;
        }
        Some(Self(slot as u64 | (object as u64) << OBJECT | (stripes_log2 as u64) << STRIPES))
    }

    /// A probe on a conditional jump: adds one to `taken` where the flags satisfy `condition`, else
    /// to the slot after it. `None` if a part is out of its range.
    #[must_use]
    pub const fn branch(object: u32, stripes_log2: u32, taken: u32, condition: u8) -> Option<Self> {
        if condition > 15 || taken >= MAX_SLOTS - 1 {
            return None;
        }
        match Self::count(object, stripes_log2, taken) {
            Some(Self(bits)) => Some(Self(bits | (condition as u64) << CONDITION | BRANCH)),
            None => None,
        }
    }

    /// The same for an instruction that the kernel single-steps.
    #[must_use]
    pub const fn stepped(self) -> Self {
        Self(self.0 | STEPPED)
    }

    /// Whether the kernel single-steps the instruction, which costs more.
    #[must_use]
    #[inline(always)]
    pub const fn is_stepped(self) -> bool {
        self.0 & STEPPED != 0
    }

    /// The same for a probe that has done its work when it was hit once.
    #[must_use]
    pub const fn once(self) -> Self {
        Self(self.0 | ONCE)
    }

    /// Whether one hit is enough, so that each asks for the probe to be disarmed.
    #[must_use]
    #[inline(always)]
    pub const fn is_once(self) -> bool {
        self.0 & ONCE != 0
    }

    /// The counter; of a branch, that of "jumped".
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the word is wanted")]
    pub const fn slot(self) -> u32 {
        (self.0 & (MAX_SLOTS as u64 - 1)) as u32
    }

    /// The object's index in the array of maps.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the word is wanted")]
    pub const fn object(self) -> u32 {
        (self.0 >> OBJECT) as u32 & (MAX_OBJECTS - 1)
    }

    /// Base-2 logarithm of the object's stripes.
    #[must_use]
    #[inline(always)]
    pub const fn stripes_log2(self) -> u32 {
        (self.0 >> STRIPES) as u32 & 15
    }

    /// The jump's condition, where the probe observes a branch.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the word is wanted")]
    pub const fn condition(self) -> Option<u8> {
        if self.0 & BRANCH == 0 { None } else { Some((self.0 >> CONDITION) as u8 & 15) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_come_back(object in 0..MAX_OBJECTS, log2 in 0..=MAX_STRIPES_LOG2, slot in 0..MAX_SLOTS - 1, condition in 0u8..16) {
            let count = Cookie::count(object, log2, slot).unwrap();
            prop_assert_eq!((count.object(), count.stripes_log2(), count.slot(), count.condition()), (object, log2, slot, None));
            prop_assert!(!count.is_stepped() && !count.is_once() && count.once().is_once());
            let branch = Cookie::branch(object, log2, slot, condition).unwrap().stepped().once();
            prop_assert!(branch.is_stepped());
            prop_assert_eq!(
                (branch.object(), branch.stripes_log2(), branch.slot(), branch.condition()),
                (object, log2, slot, Some(condition))
            );
        }
    }

    #[test]
    fn parts_out_of_range_are_refused() {
        assert_eq!(Cookie::count(MAX_OBJECTS, 0, 0), None);
        assert_eq!(Cookie::count(0, MAX_STRIPES_LOG2 + 1, 0), None);
        assert_eq!(Cookie::count(0, 0, MAX_SLOTS), None);
        assert_eq!(Cookie::branch(0, 0, MAX_SLOTS - 1, 0), None, "the slot after it must exist too");
        assert_eq!(Cookie::branch(0, 0, 0, 16), None);
    }
}
