//! Unwind tables: which pieces of code functions consist of, and where exceptions land.

use super::elf::Elf;
use super::{AddrRange, Fde, Image, LandingPad, LinkAddr};
use gimli::{BaseAddresses, CieOrFde, EhFrame, EndianSlice, LittleEndian, Pointer, Reader as _, UnwindSection};
use object::{Object as _, ObjectSection as _};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The frame description entries of `.eh_frame`, or where there is none (Go) of `.debug_frame`, by rising address.
/// Damaged entries end the walk: what was read until there is good.
pub(super) fn fdes(elf: &Elf<'_>, image: &Image) -> Vec<Fde> {
    let mut fdes = Vec::new();
    let address = |name: &str| elf.section_by_name(name).map_or(0, |s| s.address());
    if let Some(section) = elf.section_by_name(".eh_frame") {
        let bases = BaseAddresses::default()
            .set_eh_frame(section.address())
            .set_eh_frame_hdr(address(".eh_frame_hdr"))
            .set_text(address(".text"))
            .set_got(address(".got"));
        let table = EhFrame::new(section.data().unwrap_or_default(), LittleEndian);
        walk(&table, &bases, image, &mut fdes);
    }
    if fdes.is_empty()
        && let Some(section) = elf.section_by_name(".debug_frame")
        && let Ok(data) = super::sections::unpack(&section)
    {
        walk(&gimli::DebugFrame::new(&data, LittleEndian), &BaseAddresses::default(), image, &mut fdes);
    }
    fdes.sort_by_key(|f| (f.range.start, f.range.end));
    fdes
}

fn walk<'a, S: UnwindSection<Slice<'a>>>(table: &S, bases: &BaseAddresses, image: &Image, fdes: &mut Vec<Fde>)
where
    S::Offset: gimli::UnwindOffset<usize>,
{
    // Functions rarely share a table of call sites: twice the file's length is enough for all of them.
    let mut budget = image_len(image).saturating_mul(2);
    let mut entries = table.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(S::cie_from_offset) else { continue };
        let range = AddrRange {
            start: LinkAddr(fde.initial_address()),
            end: LinkAddr(fde.initial_address().saturating_add(fde.len())),
        };
        if range.is_empty() || !image.is_code(range.start) {
            continue;
        }
        let lsda = match fde.lsda() {
            None => Some(Vec::new()),
            Some(Pointer::Direct(at)) => landing_pads(image, LinkAddr(at), range, &mut budget),
            Some(Pointer::Indirect(_)) => None,
        };
        fdes.push(Fde { range, lsda_unreadable: lsda.is_none(), landing_pads: lsda.unwrap_or_default() });
    }
}

fn image_len(image: &Image) -> u64 {
    (*image.bytes).as_ref().len() as u64
}

/// Reads the call-site table of an LSDA, as g++, clang, rustc and others write it (described in
/// the Itanium C++ ABI's "Exception Handling Tables"). `None` if it cannot be read.
fn landing_pads(image: &Image, at: LinkAddr, function: AddrRange, budget: &mut u64) -> Option<Vec<LandingPad>> {
    const OMIT: u8 = 0xff;
    let mut lsda = Encoded { at, bytes: EndianSlice::new(image.bytes_from(at)?, LittleEndian), image };
    let start_encoding = lsda.bytes.read_u8().ok()?;
    let landing_base = if start_encoding == OMIT { function.start.0 } else { lsda.pointer(start_encoding)? };
    if lsda.bytes.read_u8().ok()? != OMIT {
        lsda.bytes.read_uleb128().ok()?; // the type table: which exceptions a pad catches
    }
    let encoding = lsda.bytes.read_u8().ok()?;
    let length = lsda.bytes.read_uleb128().ok()?;
    *budget = budget.checked_sub(length)?;
    let before = lsda.bytes.len();
    let mut pads = Vec::new();
    while ((before - lsda.bytes.len()) as u64) < length {
        let start = function.start.0.checked_add(lsda.pointer(encoding)?)?;
        let end = start.checked_add(lsda.pointer(encoding)?)?;
        let pad = lsda.pointer(encoding)?;
        lsda.bytes.read_uleb128().ok()?; // the action: which clauses of the pad apply
        if pad != 0 {
            let pad = LinkAddr(landing_base.checked_add(pad)?);
            pads.push(LandingPad { call_site: AddrRange { start: LinkAddr(start), end: LinkAddr(end) }, pad });
        }
    }
    Some(pads)
}

/// A reader of `DW_EH_PE_*`-encoded values.
struct Encoded<'a> {
    at: LinkAddr,
    bytes: Slice<'a>,
    image: &'a Image,
}

impl Encoded<'_> {
    fn pointer(&mut self, encoding: u8) -> Option<u64> {
        let here = self.at.0 + (self.image.bytes_from(self.at)?.len() - self.bytes.len()) as u64;
        let value = match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => self.bytes.read_u64().ok()?,
            0x01 => self.bytes.read_uleb128().ok()?,
            0x02 => u64::from(self.bytes.read_u16().ok()?),
            0x03 => u64::from(self.bytes.read_u32().ok()?),
            0x09 => self.bytes.read_sleb128().ok()?.cast_unsigned(),
            0x0a => i64::from(self.bytes.read_i16().ok()?).cast_unsigned(),
            0x0b => i64::from(self.bytes.read_i32().ok()?).cast_unsigned(),
            _ => return None,
        };
        match encoding & 0xf0 {
            0x00 => Some(value),
            0x10 => Some(here.wrapping_add(value)),
            _ => None,
        }
    }
}
