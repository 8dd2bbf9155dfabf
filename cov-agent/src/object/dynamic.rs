//! What the dynamic linker would be told: relocations, the procedure linkage table, entry points.

use super::elf::{Elf, text};
use super::{Image, LinkAddr, ObjectError};
use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, Rela as _, SectionHeader as _, Sym as _};
use object::{LittleEndian as LE, SymbolIndex};
use std::collections::HashMap;

/// Fills in `entries`, `relocation_targets`, `got` and `plt`; needs `segments`, `code` and `symbols`.
pub(super) fn read(elf: &Elf<'_>, image: &mut Image) -> Result<(), ObjectError> {
    let mut found = Found::default();
    // What relocations, PLT entries and pointers describe does not overlap in a real file: the file's
    // length bounds the work that a hostile one can ask for.
    let mut budget = elf.data().len();
    relocations(elf, image, &mut found, &mut budget)?;
    if !image.relocatable {
        pointers_in_data(image, &mut found.targets);
    }
    found.targets.retain(|&a| image.is_code(a));
    found.targets.sort_unstable();
    found.targets.dedup();
    image.relocation_targets = found.targets;
    image.plt = plt(elf, &found.slots, &mut budget)?;
    image.got = found.slots.into_iter().collect();
    image.got.sort();
    image.entries = entries(elf, image, &mut budget)?;
    Ok(())
}

#[derive(Default)]
struct Found {
    targets: Vec<LinkAddr>,
    slots: HashMap<LinkAddr, String>,
}

/// Walks every relocation section that the dynamic linker (or, in a static program, its start code) applies.
fn relocations(elf: &Elf<'_>, image: &Image, found: &mut Found, budget: &mut usize) -> Result<(), ObjectError> {
    let data = elf.data();
    let sections = elf.elf_section_table();
    let symbols = elf.elf_dynamic_symbol_table();
    for section in sections.iter().filter(|s| s.sh_flags(LE).contains(elf::SHF_ALLOC)) {
        if let Ok(Some(offsets)) = section.relr(LE, data) {
            for at in offsets {
                spend(budget, size_of::<u64>())?; // each tells of one word of the data
                found.targets.extend(word_at(image, LinkAddr(at)).map(LinkAddr));
            }
        }
        let Ok(Some((entries, _))) = section.rela(LE, data) else { continue };
        spend(budget, size_of_val(entries))?;
        for entry in entries {
            let addend = entry.r_addend(LE).cast_unsigned();
            let slot = LinkAddr(entry.r_offset(LE));
            let symbol = entry.symbol(LE, false).and_then(|SymbolIndex(n)| symbols.symbol(SymbolIndex(n)).ok());
            let defined = symbol.filter(|s| s.st_shndx(LE) != elf::SHN_UNDEF).map(|s| s.st_value(LE));
            match entry.r_type(LE, false) {
                elf::R_X86_64_RELATIVE => found.targets.push(LinkAddr(addend)),
                elf::R_X86_64_IRELATIVE => {
                    found.targets.push(LinkAddr(addend));
                    if let Some(name) = image.symbol_at(LinkAddr(addend)) {
                        found.slots.insert(slot, name.to_owned());
                    }
                }
                elf::R_X86_64_64 => found.targets.extend(defined.map(|v| LinkAddr(v.wrapping_add(addend)))),
                elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT => {
                    found.targets.extend(defined.map(LinkAddr));
                    if let Some(name) = symbol.and_then(|s| symbols.symbol_name(LE, s).ok()) {
                        found.slots.insert(slot, text(name));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn spend(budget: &mut usize, amount: usize) -> Result<(), ObjectError> {
    *budget = budget.checked_sub(amount).ok_or_else(|| ObjectError::Malformed("its relocations overlap".into()))?;
    Ok(())
}

fn word_at(image: &Image, addr: LinkAddr) -> Option<u64> {
    let bytes = image.bytes_from(addr)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// A program that is not relocated holds its code addresses as plain words, with nothing that says
/// so: every aligned word of its data that could be one counts.
fn pointers_in_data(image: &Image, targets: &mut Vec<LinkAddr>) {
    for segment in image.segments.iter().filter(|s| !s.executable) {
        let Some(bytes) = image.bytes_of(segment.range) else { continue };
        let skip = usize::try_from(segment.range.start.0.wrapping_neg() % 8).unwrap_or_default();
        let words = bytes.get(skip..).unwrap_or_default().as_chunks().0;
        targets.extend(words.iter().map(|w| LinkAddr(u64::from_le_bytes(*w))).filter(|&a| image.is_code(a)));
    }
}

/// PLT entries end in `jmp *slot(%rip)`, after an optional `endbr64` and `bnd` prefix; entries of
/// `.plt.got` are 8 bytes long, all others 16 (x86-64 psABI, section 5.2).
fn plt(
    elf: &Elf<'_>,
    slots: &HashMap<LinkAddr, String>,
    budget: &mut usize,
) -> Result<Vec<(LinkAddr, String)>, ObjectError> {
    let mut plt = Vec::new();
    for section in elf.elf_section_table().iter() {
        let name = elf.elf_section_table().section_name(LE, section).unwrap_or_default();
        if !name.starts_with(b".plt") && name != b".iplt" {
            continue;
        }
        let Ok(bytes) = section.data(LE, elf.data()) else { continue };
        spend(budget, bytes.len())?;
        for (entry, at) in bytes.as_chunks::<8>().0.iter().zip((0u64..).step_by(8)) {
            let tail = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
            let addr = section.sh_addr(LE).wrapping_add(at);
            let name = jump_slot(entry, tail, addr).and_then(|slot| slots.get(&slot));
            plt.extend(name.map(|name| (LinkAddr(addr), name.clone())));
        }
    }
    plt.sort();
    Ok(plt)
}

/// The slot that the PLT entry at `addr` jumps through, if there is such an entry.
fn jump_slot(entry: &[u8; 8], tail: &[u8], addr: u64) -> Option<LinkAddr> {
    let mut skip = 0usize;
    if entry.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
        skip += 4;
    }
    if tail.get(skip) == Some(&0xf2) {
        skip += 1;
    }
    let jump: &[u8; 6] = tail.get(skip..)?.first_chunk()?;
    let [0xff, 0x25, disp @ ..] = *jump else { return None };
    let next = addr.wrapping_add(skip as u64 + 6);
    Some(LinkAddr(next.wrapping_add_signed(i64::from(i32::from_le_bytes(disp)))))
}

/// The ELF entry point, `DT_INIT` and `DT_FINI`, and the arrays of initialisers and finalisers.
fn entries(elf: &Elf<'_>, image: &Image, budget: &mut usize) -> Result<Vec<LinkAddr>, ObjectError> {
    let mut entries = vec![LinkAddr(elf.elf_header().e_entry(LE))];
    let table = elf.elf_dynamic_table().ok();
    for entry in table.iter().flat_map(object::read::elf::DynamicTable::dynamics) {
        let tag = entry.d_tag(LE);
        if tag == elf::DT_INIT || tag == elf::DT_FINI {
            entries.push(LinkAddr(entry.d_val(LE)));
        }
    }
    for section in elf.elf_section_table().iter() {
        let kind = section.sh_type(LE);
        if kind == elf::SHT_INIT_ARRAY || kind == elf::SHT_FINI_ARRAY || kind == elf::SHT_PREINIT_ARRAY {
            let bytes = section.data(LE, elf.data()).unwrap_or_default();
            spend(budget, bytes.len())?;
            entries.extend(bytes.as_chunks().0.iter().map(|w| LinkAddr(u64::from_le_bytes(*w))));
        }
    }
    entries.retain(|&a| image.is_code(a));
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}
