//! How often something was executed.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// A count of executions: exact, or a lower bound ("at least so many").
///
/// Adding saturates and a saturated sum is a lower bound, so adding commutes and associates, and
/// [`ExecutionCounter::ZERO`] changes nothing.
///
/// ```
/// use cov_agent::coverage::ExecutionCounter;
/// let sum = ExecutionCounter::exact(2) + ExecutionCounter::at_least(3);
/// assert_eq!(sum, ExecutionCounter::at_least(5));
/// assert_eq!(sum.to_string(), "≥5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ExecutionCounter {
    value: u64,
    lower_bound: bool,
}

impl ExecutionCounter {
    /// Exactly never.
    pub const ZERO: Self = Self { value: 0, lower_bound: false };

    /// Exactly `value` times.
    #[must_use]
    pub const fn exact(value: u64) -> Self {
        Self { value, lower_bound: false }
    }

    /// `value` times or more.
    #[must_use]
    pub const fn at_least(value: u64) -> Self {
        Self { value, lower_bound: true }
    }

    /// The count, or its lower bound.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.value
    }

    /// Whether the true count may be higher than [`value`](Self::value).
    #[must_use]
    pub const fn is_lower_bound(self) -> bool {
        self.lower_bound
    }

    /// Whether it was executed at all, as far as is known.
    #[must_use]
    pub const fn is_hit(self) -> bool {
        self.value > 0
    }
}

impl Add for ExecutionCounter {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (value, overflow) = self.value.overflowing_add(other.value);
        Self {
            value: if overflow { u64::MAX } else { value },
            lower_bound: self.lower_bound || other.lower_bound || overflow,
        }
    }
}

impl AddAssign for ExecutionCounter {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for ExecutionCounter {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for ExecutionCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lower_bound {
            f.write_str("≥")?;
        }
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counter() -> impl Strategy<Value = ExecutionCounter> {
        let value = prop_oneof![0..4u64, Just(u64::MAX), (u64::MAX - 3)..u64::MAX, any::<u64>()];
        (value, any::<bool>()).prop_map(|(value, lower_bound)| ExecutionCounter { value, lower_bound })
    }

    proptest! {
        #[test]
        fn adding_commutes_associates_and_has_zero(a in counter(), b in counter(), c in counter()) {
            prop_assert_eq!(a + b, b + a);
            prop_assert_eq!((a + b) + c, a + (b + c));
            prop_assert_eq!(a + ExecutionCounter::ZERO, a);
        }
    }

    #[test]
    fn a_saturated_sum_is_a_lower_bound() {
        let max = ExecutionCounter::exact(u64::MAX);
        assert_eq!(max + ExecutionCounter::ZERO, max);
        assert_eq!(max + ExecutionCounter::exact(1), ExecutionCounter::at_least(u64::MAX));
    }
}
