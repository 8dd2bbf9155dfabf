//! Static markers: places that a program's author named for tools to watch (`<sys/sdt.h>`, known as USDT).
//!
//! Each is a note in the section `.note.stapsdt`: the marker's address, that of the section `.stapsdt.base` when it was
//! linked, that of the marker's semaphore, and three texts: who provides it, its name, where its arguments lie. A program
//! reaches the marker only while its semaphore is not 0. Source: systemtap's "UserSpaceProbeImplementation".

use super::mapped::Mapped;
use super::{FileOffset, LinkAddr, ObjectError, elf};
use object::LittleEndian as LE;
use object::read::elf::SectionHeader as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The type of such notes.
const NT_STAPSDT: u32 = 3;

/// A static marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Where its instruction lies in the file.
    pub offset: FileOffset,
    /// Where its semaphore lies in the file, if it has one.
    pub semaphore: Option<FileOffset>,
    /// Where its arguments lie, one after the other.
    pub arguments: Vec<Argument>,
}

/// Where an argument lies: in a register, or in memory that a register points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The 64-bit register, by its name without `%`.
    pub register: String,
    /// How far from where the register points.
    pub memory: Option<i16>,
}

/// The first marker `name` of `provider` in an object, if it has one that can be watched.
///
/// # Errors
/// The file is no ELF object for this machine.
pub fn find(path: &Path, file: File, provider: &str, name: &str) -> Result<Option<Marker>, ObjectError> {
    let mapped = Arc::new(Mapped::new(file)?);
    let data = (*mapped).as_ref();
    let elf = elf::parse(data, elf::Kind::Program)?;
    let image = elf::bare_image(path, Arc::clone(&mapped) as super::Bytes, &elf)?;
    let (base, mut notes) = sections(&elf, data);
    let found = notes.find_map(|(kind, content)| {
        let note = Note::read(content).filter(|note| kind == NT_STAPSDT && note.provider == provider.as_bytes())?;
        // Whoever linked the file once more moved the marker as far as the section.
        let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
        let place = |address: u64| image.file_offset(LinkAddr(address.wrapping_add(moved)));
        let semaphore = if note.semaphore == 0 { None } else { Some(place(note.semaphore)?) };
        let arguments = arguments(note.arguments)?;
        (note.name == name.as_bytes()).then_some(Marker { offset: place(note.address)?, semaphore, arguments })
    });
    if mapped.changed() { Err(ObjectError::Changed) } else { Ok(found) }
}

/// A marker by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its instruction.
    pub addr: LinkAddr,
    /// Who provides it.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where its arguments lie, as the note says it.
    pub arguments: String,
}

/// No program has more.
const MAX: usize = 1 << 16;

/// Every marker of an object.
pub(super) fn all(elf: &elf::Elf<'_>, data: &[u8]) -> Vec<Named> {
    let (base, notes) = sections(elf, data);
    let named = |(kind, content)| {
        let note = Note::read(content).filter(|_| kind == NT_STAPSDT)?;
        let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let (provider, name) = (text(note.provider), text(note.name));
        let addr = LinkAddr(note.address.wrapping_add(moved));
        Some(Named { addr, provider, name, arguments: note.arguments.to_owned() })
    };
    notes.filter_map(named).take(MAX).collect()
}

/// Where `.stapsdt.base` lies, and the notes.
fn sections<'a>(elf: &elf::Elf<'_>, data: &'a [u8]) -> (Option<u64>, Notes<'a>) {
    let section = |wanted: &[u8]| {
        let sections = elf.elf_section_table();
        sections.iter().find(|section| sections.section_name(LE, section).is_ok_and(|name| name == wanted))
    };
    let base = section(b".stapsdt.base").map(|section| section.sh_addr.get(LE));
    let notes = section(b".note.stapsdt").and_then(|section| section.data(LE, data).ok()).unwrap_or_default();
    (base, Notes(notes))
}

/// Notes of an ELF section: type and content of each.
struct Notes<'a>(&'a [u8]);

impl<'a> Iterator for Notes<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let word = |at: usize| Some(u32::from_le_bytes(self.0.get(at..at + 4)?.try_into().ok()?));
        let (name, content, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let start = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = start.checked_add(content)?;
        let found = self.0.get(start..end)?;
        self.0 = self.0.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some((kind, found))
    }
}

struct Note<'a> {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a str,
}

impl<'a> Note<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let (words, texts) = content.split_at_checked(24)?;
        let [address, base, semaphore] = *words.as_chunks().0 else { return None };
        let mut texts = texts.split(|byte| *byte == 0);
        Some(Self {
            address: u64::from_le_bytes(address),
            base: u64::from_le_bytes(base),
            semaphore: u64::from_le_bytes(semaphore),
            provider: texts.next()?,
            name: texts.next()?,
            arguments: std::str::from_utf8(texts.next()?).ok()?,
        })
    }
}

/// Reads `8@%rbx -4@%ebp 8@112(%rsp)`. `None` where one lies in another way.
fn arguments(text: &str) -> Option<Vec<Argument>> {
    let one = |text: &str| {
        let (_, place) = text.split_once('@')?;
        if let Some(register) = place.strip_prefix('%') {
            return Some(Argument { register: whole(register)?, memory: None });
        }
        let (distance, register) = place.strip_suffix(')')?.split_once("(%")?;
        let distance = if distance.is_empty() { 0 } else { distance.parse().ok()? };
        Some(Argument { register: whole(register)?, memory: Some(distance) })
    };
    text.split_whitespace().map(one).collect()
}

/// The 64-bit register that a register is a part of.
fn whole(register: &str) -> Option<String> {
    let numbered = register.trim_end_matches(['d', 'w', 'b']);
    if numbered.strip_prefix('r').is_some_and(|number| number.parse::<u8>().is_ok()) {
        return Some(numbered.to_owned());
    }
    let letters = register.strip_prefix(['r', 'e']).unwrap_or(register).trim_end_matches('l');
    let known = ["ax", "bx", "cx", "dx", "si", "di", "bp", "sp"];
    let found = known.iter().find(|name| **name == letters || (letters.len() == 1 && name.starts_with(letters)))?;
    Some(format!("r{found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn registers_are_named_by_their_whole() {
        let cases = [("rbx", "rbx"), ("ebp", "rbp"), ("r14", "r14"), ("r9d", "r9"), ("al", "rax"), ("sil", "rsi")];
        for (part, want) in cases {
            assert_eq!(whole(part).as_deref(), Some(want), "{part}");
        }
        assert_eq!(whole("xmm0"), None);
        let argument = |register: &str, memory| Argument { register: register.into(), memory };
        let want = vec![argument("r14", None), argument("rsp", Some(-112)), argument("rbp", None)];
        assert_eq!(arguments("8@%r14 8@-112(%rsp) -4@%ebp"), Some(want));
        assert_eq!(arguments("8@$7"), None);
    }

    #[test]
    fn a_marker_is_found_where_the_assembler_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = "__attribute__((section(\".probes\"))) unsigned short s;\n\
            int main(void) {\n\
            __asm__ volatile(\"990: nop\\n.pushsection .note.stapsdt,\\\"\\\",\\\"note\\\"\\n.balign 4\\n\"\n\
            \".4byte 992f-991f, 994f-993f, 3\\n991: .asciz \\\"stapsdt\\\"\\n992: .balign 4\\n993: .8byte 990b\\n\"\n\
            \".8byte _.stapsdt.base\\n.8byte s\\n.asciz \\\"p\\\"\\n.asciz \\\"n\\\"\\n.asciz \\\"8@%rbx -4@8(%rsp)\\\"\\n\"\n\
            \"994: .balign 4\\n.popsection\\n.pushsection .stapsdt.base,\\\"aG\\\",\\\"progbits\\\",.stapsdt.base,comdat\\n\"\n\
            \".weak _.stapsdt.base\\n_.stapsdt.base: .space 1\\n.popsection\"); return s; }\n";
        std::fs::write(dir.path().join("m.c"), source).unwrap();
        let gcc = Command::new("gcc").args(["-no-pie", "-o", "m", "m.c"]).current_dir(dir.path()).status().unwrap();
        assert!(gcc.success());
        let path = dir.path().join("m");
        let open = || File::open(&path).unwrap();
        let marker = find(&path, open(), "p", "n").unwrap().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.get(usize::try_from(marker.offset.0).unwrap()), Some(&0x90));
        assert!(marker.semaphore.is_some());
        assert_eq!(marker.arguments.len(), 2);
        assert_eq!(find(&path, open(), "p", "m").unwrap(), None);
    }
}
