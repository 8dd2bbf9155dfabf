//! The conditions of x86 conditional jumps.

const CF: u64 = 1;
const PF: u64 = 1 << 2;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// Whether a conditional jump with this condition, the low nibble of its opcode, jumps when the
/// flags register holds `eflags` (Intel SDM volume 2, appendix B, "tttn").
#[must_use]
#[inline(always)]
pub const fn holds(condition: u8, eflags: u64) -> bool {
    let less = (eflags & SF == 0) != (eflags & OF == 0);
    let positive = match (condition >> 1) & 7 {
        0 => eflags & OF != 0,
        1 => eflags & CF != 0,
        2 => eflags & ZF != 0,
        3 => eflags & (CF | ZF) != 0,
        4 => eflags & SF != 0,
        5 => eflags & PF != 0,
        6 => less,
        _ => less || eflags & ZF != 0,
    };
    positive != (condition & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::holds;

    /// The flags after `cmp a, b` with signed bytes, worked out without the code under test.
    fn flags_of_cmp(a: i8, b: i8) -> u64 {
        let (result, overflow) = a.overflowing_sub(b);
        let carry = a.cast_unsigned() < b.cast_unsigned();
        let parity = result.cast_unsigned().count_ones() % 2 == 0;
        u64::from(carry)
            | u64::from(parity) << 2
            | u64::from(result == 0) << 6
            | u64::from(result < 0) << 7
            | u64::from(overflow) << 11
    }

    #[test]
    fn conditions_compare_as_their_names_say() {
        for a in i8::MIN..=i8::MAX {
            for b in i8::MIN..=i8::MAX {
                let flags = flags_of_cmp(a, b);
                let (ua, ub) = (a.cast_unsigned(), b.cast_unsigned());
                let difference = i16::from(a) - i16::from(b);
                let names = [
                    i8::try_from(difference).is_err(),                // o
                    ua < ub,                                          // b
                    a == b,                                           // e
                    ua <= ub,                                         // be
                    a.wrapping_sub(b) < 0,                            // s
                    a.wrapping_sub(b).count_ones().is_multiple_of(2), // p
                    a < b,                                            // l
                    a <= b,                                           // le
                ];
                for (nibble, &jumps) in (0u8..).step_by(2).zip(&names) {
                    assert_eq!(holds(nibble, flags), jumps, "condition {nibble} of {a} against {b}");
                    assert_eq!(holds(nibble + 1, flags), !jumps, "condition {} of {a} against {b}", nibble + 1);
                }
            }
        }
    }
}
