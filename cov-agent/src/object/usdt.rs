//! Where an object invites others to place probes: the notes of statically defined tracepoints (SystemTap's `sys/sdt.h`).

use super::FileOffset;
use super::elf::{self, Kind};
use super::mapped::Mapped;
use object::{Object as _, ObjectSection as _, ObjectSegment as _};
use std::collections::BTreeSet;
use std::fs::File;

/// A note's name, with its end.
const NAME: &[u8] = b"stapsdt\0";

/// The places of an object's tracepoints. None if it is damaged.
#[must_use]
pub fn usdt_places(file: &File) -> BTreeSet<FileOffset> {
    let Some(mapped) = file.try_clone().ok().and_then(|file| Mapped::new(file).ok()) else { return BTreeSet::new() };
    let Ok(elf) = elf::parse(mapped.as_ref(), Kind::Program) else { return BTreeSet::new() };
    let Some(section) = elf.section_by_name(".note.stapsdt") else { return BTreeSet::new() };
    // Prelinking moves the code and leaves the notes; this section tells by how much.
    let base = elf.section_by_name(".stapsdt.base").map(|section| section.address());
    let place = |(addr, noted): (u64, u64)| {
        let addr = base.map_or(addr, |base| addr.wrapping_add(base.wrapping_sub(noted)));
        elf.segments().find_map(|segment| {
            let within = addr.checked_sub(segment.address())?;
            let (offset, length) = segment.file_range();
            (within < length).then(|| FileOffset(offset + within))
        })
    };
    addresses(section.data().unwrap_or_default()).filter_map(place).collect()
}

/// The addresses of the tracepoints in a section of notes, each with that of `.stapsdt.base` when it was written.
fn addresses(mut notes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let padded = |length: u32| (length as usize).next_multiple_of(4);
    std::iter::from_fn(move || {
        loop {
            let (header, rest) = notes.split_at_checked(12)?;
            let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
            let (name, rest) = rest.split_at_checked(padded(word(0)?))?;
            let (described, rest) = rest.split_at_checked(padded(word(4)?))?;
            notes = rest;
            let long = |at: usize| Some(u64::from_le_bytes(described.get(at..at + 8)?.try_into().ok()?));
            if name == NAME
                && let (Some(addr), Some(base)) = (long(0), long(8))
            {
                return Some((addr, base));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], words: [u64; 3]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [u32::try_from(name.len()).unwrap(), 25, 3] {
            note.extend(word.to_le_bytes());
        }
        note.extend(name);
        words.iter().for_each(|word| note.extend(word.to_le_bytes()));
        note.extend([0; 4]);
        note
    }

    #[test]
    fn notes_of_other_kinds_and_broken_ones_are_passed_over() {
        let mut notes = note(b"stapsdt\0", [0x1150, 0x2000, 0]);
        notes.extend(note(b"GNU\0", [1, 2, 3]));
        notes.extend(note(b"stapsdt\0", [0x1160, 0x2000, 0]));
        assert_eq!(addresses(&notes).collect::<Vec<_>>(), [(0x1150, 0x2000), (0x1160, 0x2000)]);
        assert_eq!(addresses(&notes[..notes.len() - 5]).count(), 1);
        assert_eq!(addresses(&[0xff; 40]).count(), 0);
    }

    #[test]
    fn this_program_has_none() {
        assert_eq!(usdt_places(&File::open("/proc/self/exe").unwrap()), BTreeSet::new());
    }
}
