//! ELF headers, checked, and the [`Image`] they describe.

use super::{AddrRange, Bytes, FileOffset, Image, LinkAddr, ObjectError, ObjectId, Segment, Symbol, dynamic, unwind};
use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{LittleEndian as LE, Object as _};
use sha2::{Digest, Sha256};
use std::path::Path;

/// A parsed ELF64 little-endian file.
pub(super) type Elf<'a> = ElfFile64<'a, LE>;

/// Length of `Elf64_Ehdr`.
const HEADER_LEN: usize = 64;

/// More program headers than this the kernel does not load (64 KiB of them, `load_elf_phdrs`).
const MAX_SEGMENTS: usize = 65536 / 56;

/// Checks that `data` is a whole x86-64 ELF file, linked if it is to be a program, and parses its headers.
pub(super) fn parse(data: &[u8], kind: Kind) -> Result<Elf<'_>, ObjectError> {
    check_ident(data)?;
    let malformed = |e: object::Error| ObjectError::Malformed(e.to_string());
    let header = elf::FileHeader64::<LE>::parse(data).map_err(malformed)?;
    let machine = header.e_machine(LE);
    if machine != elf::EM_X86_64 {
        return Err(ObjectError::OtherMachine(machine.0));
    }
    let e_type = header.e_type(LE);
    if kind == Kind::Program && e_type != elf::ET_EXEC && e_type != elf::ET_DYN {
        return Err(ObjectError::NotLinked(e_type.0));
    }
    check_length(data, header, kind)?;
    ElfFile64::parse(data).map_err(malformed)
}

/// What an ELF file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A program or shared library: its segments must be there.
    Program,
    /// A file with debug info of a program: if it has segments, they describe that.
    Debug,
}

fn check_ident(data: &[u8]) -> Result<(), ObjectError> {
    if !data.starts_with(&elf::ELFMAG) {
        return Err(ObjectError::NotElf);
    }
    let (Some(&class), Some(&order)) = (data.get(4), data.get(5)) else {
        return Err(ObjectError::Truncated { needs: HEADER_LEN as u64, has: data.len() as u64 });
    };
    if class == elf::ELFCLASS32.0 {
        return Err(ObjectError::Not64Bit);
    }
    if order == elf::ELFDATA2MSB.0 {
        return Err(ObjectError::BigEndian);
    }
    if data.len() < HEADER_LEN {
        return Err(ObjectError::Truncated { needs: HEADER_LEN as u64, has: data.len() as u64 });
    }
    Ok(())
}

/// Whether the tables, segments and sections lie inside the file.
fn check_length(data: &[u8], header: &elf::FileHeader64<LE>, kind: Kind) -> Result<(), ObjectError> {
    let has = data.len() as u64;
    let table = |start: u64, count: u64, size: u16| start.saturating_add(count.saturating_mul(u64::from(size)));
    let mut needs = table(header.e_phoff(LE), u64::from(header.e_phnum(LE)), header.e_phentsize(LE)).max(table(
        header.e_shoff(LE),
        u64::from(header.e_shnum(LE)),
        header.e_shentsize(LE),
    ));
    if needs <= has {
        for section in header.section_headers(LE, data).unwrap_or_default() {
            if let Some((start, len)) = section.file_range(LE) {
                needs = needs.max(start.saturating_add(len));
            }
        }
        if kind == Kind::Program {
            for segment in header.program_headers(LE, data).unwrap_or_default() {
                if segment.p_type(LE) == elf::PT_LOAD {
                    let (start, len) = segment.file_range(LE);
                    needs = needs.max(start.saturating_add(len));
                }
            }
        }
    }
    if needs > has { Err(ObjectError::Truncated { needs, has }) } else { Ok(()) }
}

/// Reads the image of a program or shared library. `debug` is its separate debug file, which may
/// have symbols that the object was stripped of.
pub(super) fn image(path: &Path, bytes: Bytes, elf: &Elf<'_>, debug: Option<&Elf<'_>>) -> Result<Image, ObjectError> {
    let mut image = bare_image(path, bytes, elf)?;
    image.symbols = symbols(&[Some(elf), debug], &image);
    image.fdes = unwind::fdes(elf, &image);
    dynamic::read(elf, &mut image)?;
    Ok(image)
}

/// The image without its tables: which object it is, and where it lies in memory.
pub(super) fn bare_image(path: &Path, bytes: Bytes, elf: &Elf<'_>) -> Result<Image, ObjectError> {
    let segments = segments(elf)?;
    Ok(Image {
        path: path.to_path_buf(),
        id: object_id(elf, (*bytes).as_ref()),
        relocatable: elf.elf_header().e_type(LE) == elf::ET_DYN,
        code: code_ranges(elf.elf_section_table().iter(), &segments),
        segments,
        entries: Vec::new(),
        symbols: Vec::new(),
        plt: Vec::new(),
        got: Vec::new(),
        fdes: Vec::new(),
        relocation_targets: Vec::new(),
        bytes,
    })
}

/// `PT_LOAD` segments with file content, by rising address.
fn segments(elf: &Elf<'_>) -> Result<Vec<Segment>, ObjectError> {
    let mut segments = Vec::new();
    for header in elf.elf_program_headers().iter().filter(|h| h.p_type(LE) == elf::PT_LOAD) {
        let (offset, len) = header.file_range(LE);
        let start = header.p_vaddr(LE);
        let len = len.min(header.p_memsz(LE));
        let end = start.checked_add(len).ok_or_else(|| ObjectError::Malformed("a segment wraps around".into()))?;
        let flags = header.p_flags(LE);
        segments.push(Segment {
            range: AddrRange { start: LinkAddr(start), end: LinkAddr(end) },
            offset: FileOffset(offset),
            executable: flags.contains(elf::PF_X),
            writable: flags.contains(elf::PF_W),
        });
    }
    segments.sort_by_key(|s| s.range.start);
    if segments.len() > MAX_SEGMENTS {
        return Err(ObjectError::TooBig { what: "segments", limit: MAX_SEGMENTS as u64 });
    }
    if segments.array_windows().any(|[a, b]| b.range.start < a.range.end) {
        return Err(ObjectError::Malformed("its segments overlap".into()));
    }
    Ok(segments)
}

/// The executable sections inside executable segments; the segments themselves where there are no
/// section headers. Code is there, ELF headers that share an executable segment are not.
fn code_ranges<'a>(
    sections: impl Iterator<Item = &'a elf::SectionHeader64<LE>>,
    segments: &[Segment],
) -> Vec<AddrRange> {
    let executable = || segments.iter().filter(|s| s.executable);
    let mut ranges: Vec<AddrRange> = sections
        .filter(|s| s.sh_type(LE) != elf::SHT_NOBITS && s.sh_flags(LE).contains(elf::SHF_ALLOC | elf::SHF_EXECINSTR))
        .map(|s| (s.sh_addr(LE), s.sh_addr(LE).saturating_add(s.sh_size(LE))))
        .map(|(start, end)| AddrRange { start: LinkAddr(start), end: LinkAddr(end) })
        .filter(|r| executable().any(|s| s.range.start <= r.start && r.end <= s.range.end && !r.is_empty()))
        .collect();
    if ranges.is_empty() {
        ranges = executable().map(|s| s.range).collect();
    }
    AddrRange::normalize(&mut ranges);
    ranges
}

fn object_id(elf: &Elf<'_>, data: &[u8]) -> ObjectId {
    match elf.build_id() {
        Ok(Some(id)) if !id.is_empty() => ObjectId::BuildId(id.to_vec()),
        _ => ObjectId::Content(Sha256::digest(data).into()),
    }
}

/// Function symbols of all tables of all files, by rising address, each once.
fn symbols(files: &[Option<&Elf<'_>>], image: &Image) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for elf in files.iter().flatten() {
        for table in [elf.elf_symbol_table(), elf.elf_dynamic_symbol_table()] {
            for symbol in table.iter() {
                let kind = symbol.st_type();
                let start = LinkAddr(symbol.st_value(LE));
                if (kind != elf::STT_FUNC && kind != elf::STT_GNU_IFUNC)
                    || symbol.st_shndx(LE) == elf::SHN_UNDEF
                    || !image.is_code(start)
                {
                    continue;
                }
                let Ok(name) = table.symbol_name(LE, symbol) else { continue };
                let end = LinkAddr(start.0.saturating_add(symbol.st_size(LE)));
                symbols.push(Symbol { name: text(name), range: AddrRange { start, end } });
            }
        }
    }
    symbols.sort_by(|a, b| (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name)));
    symbols.dedup();
    symbols
}

/// A name as text. Copied first: the bytes of a mapped file may change between check and copy.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
