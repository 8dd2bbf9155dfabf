//! Sets of line numbers as coverage.py stores them: bit `n % 8`, least significant first, of byte `n / 8`.

use super::too_high;
use crate::format::ReadError;

/// The set of `lines`; trailing zero bytes are never there. Lines above [`super::MAX_LINE`] are left out.
pub(super) fn from_lines(lines: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut bits = Vec::new();
    for line in lines.into_iter().filter(|&line| line <= super::MAX_LINE) {
        let byte = (line / 8) as usize;
        if byte >= bits.len() {
            bits.resize(byte + 1, 0u8);
        }
        if let Some(byte) = bits.get_mut(byte) {
            *byte |= 1 << (line % 8);
        }
    }
    bits
}

/// The lines of a set, rising. Fails where it reaches beyond [`super::MAX_LINE`].
pub(super) fn lines(bits: &[u8]) -> Result<impl Iterator<Item = u32> + '_, ReadError> {
    let last = (bits.len() as u64 * 8).saturating_sub(1);
    if last > u64::from(super::MAX_LINE | 7) {
        return Err(too_high(last));
    }
    Ok((0u32..)
        .zip(bits)
        .filter(|(_, byte)| **byte != 0)
        .flat_map(|(at, &byte)| (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| at * 8 + bit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn bits_are_where_coverage_py_has_them() {
        assert_eq!(from_lines([1, 2, 3, 8, 17]), [0b0000_1110, 0b0000_0001, 0b0000_0010]);
        assert_eq!(from_lines([]), [0u8; 0]);
        assert_eq!(lines(&[0, 0x80, 0]).unwrap().collect::<Vec<_>>(), [15]);
        let error = lines(&vec![0; 1 << 22]).err().unwrap().to_string();
        assert_eq!(error, "too big: line 33554431; the highest that is read is 16777216");
    }

    proptest! {
        #[test]
        fn they_come_back(set in proptest::collection::btree_set(0..100_000u32, 0..200)) {
            let back: BTreeSet<u32> = lines(&from_lines(set.iter().copied())).unwrap().collect();
            prop_assert_eq!(back, set);
        }
    }
}
