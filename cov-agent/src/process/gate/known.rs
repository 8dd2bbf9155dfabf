//! The files whose execs are let go at once: a table of fixed size, as a processor's cache is built.

use super::Key;

/// Places of one set; a file can stand in any place of its set.
const WAYS: usize = 8;
/// Sets of the table.
const SETS: usize = 2048;

/// A set-associative table of [`Key`]s. Nothing in it allocates once it is made.
pub(super) struct Known {
    places: Vec<[Option<Key>; WAYS]>,
    /// The place of each set that is overwritten next.
    next: Vec<u8>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { places: vec![[None; WAYS]; SETS], next: vec![0; SETS] }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.places[set_of(key)].contains(&Some(*key))
    }

    pub(super) fn insert(&mut self, key: Key) {
        let set = set_of(&key);
        if self.places[set].contains(&Some(key)) {
            return;
        }
        let place = self.places[set].iter().position(Option::is_none).unwrap_or_else(|| {
            let place = usize::from(self.next[set]) % WAYS;
            self.next[set] = self.next[set].wrapping_add(1);
            place
        });
        self.places[set][place] = Some(key);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        for place in &mut self.places[set_of(key)] {
            if *place == Some(*key) {
                *place = None;
            }
        }
    }
}

/// Fowler–Noll–Vo over the words, folded to the number of sets.
fn set_of(key: &Key) -> usize {
    let hash = key.0.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    usize::from((hash >> 48) as u16 ^ (hash >> 32 & 0xffff) as u16) % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inode: u64) -> Key {
        Key([1, inode, 3, 4, 5, 6])
    }

    #[test]
    fn it_knows_what_was_inserted_until_it_is_removed() {
        let mut known = Known::new();
        assert!(!known.contains(&key(1)));
        known.insert(key(1));
        known.insert(key(1));
        assert!(known.contains(&key(1)));
        assert!(!known.contains(&Key([1, 1, 3, 4, 5, 7])), "another change time is another file");
        known.remove(&key(1));
        assert!(!known.contains(&key(1)));
    }

    #[test]
    fn it_forgets_rather_than_grows() {
        let mut known = Known::new();
        let room = u64::try_from(SETS * WAYS).unwrap();
        (0..4 * room).for_each(|inode| known.insert(key(inode)));
        let kept = (0..4 * room).filter(|inode| known.contains(&key(*inode))).count();
        assert!(kept > SETS * WAYS / 2, "{kept}");
        assert!(known.contains(&key(4 * room - 1)), "the newest stays");
    }
}
