//! Sections: length, compression, checksum.

use super::{MAX_SECTION, NAME};
use crate::format::ReadError;
use std::io::{self, ErrorKind, Read, Write};
use twox_hash::XxHash3_64;

/// zstd's fastest ratio that still halves the next one's size; ten million lines take 0.2 s.
const LEVEL: i32 = 3;
/// Bytes of a section's header.
pub(super) const HEADER: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head = 1,
    Files = 2,
    End = 3,
}

/// Where one is in a segment, from its magic on.
pub(super) type Offset = u64;

fn checksum(header: &[u8], payload: &[u8], offset: Offset) -> u64 {
    let mut hash = XxHash3_64::with_seed(offset);
    std::hash::Hasher::write(&mut hash, header);
    std::hash::Hasher::write(&mut hash, payload);
    std::hash::Hasher::finish(&hash)
}

/// Writes sections.
pub(super) struct SectionWriter<W> {
    out: W,
    offset: Offset,
    packer: zstd::bulk::Compressor<'static>,
}

impl<W: Write> SectionWriter<W> {
    pub(super) fn new(mut out: W, start: &[u8]) -> io::Result<Self> {
        out.write_all(start)?;
        Ok(Self { out, offset: start.len() as u64, packer: zstd::bulk::Compressor::new(LEVEL)? })
    }

    /// Writes one section; packed if that makes it smaller.
    pub(super) fn section(&mut self, kind: Kind, plain: &[u8]) -> io::Result<()> {
        let too_big = || io::Error::other("a record of the raw format is above 16 MiB");
        if plain.len() > MAX_SECTION {
            return Err(too_big());
        }
        let packed = self.packer.compress(plain)?;
        let (codec, payload) = if packed.len() < plain.len() { (1, &*packed) } else { (0, plain) };
        let mut header = [0; HEADER];
        let (fields, sum) = header.split_at_mut(16);
        fields[..4].copy_from_slice(&[kind as u8, codec, 0, 0]);
        fields[4..8].copy_from_slice(&u32::try_from(payload.len()).map_err(|_| too_big())?.to_le_bytes());
        fields[8..12].copy_from_slice(&u32::try_from(plain.len()).map_err(|_| too_big())?.to_le_bytes());
        sum.copy_from_slice(&checksum(fields, payload, self.offset + HEADER as u64).to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(payload)?;
        self.offset += (HEADER + payload.len()) as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A section's header, checked.
pub(super) struct Header {
    pub(super) kind: Kind,
    packed: bool,
    pub(super) stored: usize,
    plain: usize,
    sum: u64,
    fields: [u8; 16],
}

/// Takes a section's header apart. `offset` is that of the header.
pub(super) fn header(bytes: &[u8; HEADER], offset: Offset) -> Result<Header, ReadError> {
    let damaged = |what: &str| damaged(offset, what);
    let [kind, codec, z0, z1, s0, s1, s2, s3, p0, p1, p2, p3, z2, z3, z4, z5, sum @ ..] = *bytes;
    let kind = match kind {
        1 => Kind::Head,
        2 => Kind::Files,
        3 => Kind::End,
        _ => return Err(damaged("unknown kind of section")),
    };
    let stored = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    let plain = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
    if codec > 1 || [z0, z1, z2, z3, z4, z5] != [0; 6] || (codec == 0 && stored != plain) {
        return Err(damaged("bad header of a section"));
    }
    if stored > plain || plain > MAX_SECTION {
        return Err(damaged("a section's length is out of bounds"));
    }
    let mut fields = [0; 16];
    fields.copy_from_slice(&bytes[..16]);
    Ok(Header { kind, packed: codec == 1, stored, plain, sum: u64::from_le_bytes(sum), fields })
}

fn damaged(offset: Offset, what: &str) -> ReadError {
    ReadError::damaged(NAME, format!("{what} (at byte {offset})"))
}

/// Reads sections.
pub(super) struct SectionReader<R> {
    from: R,
    offset: Offset,
    unpacker: zstd::bulk::Decompressor<'static>,
    stored: Vec<u8>,
}

impl<R: Read> SectionReader<R> {
    pub(super) fn new(from: R) -> io::Result<Self> {
        Ok(Self { from, offset: 0, unpacker: zstd::bulk::Decompressor::new()?, stored: Vec::new() })
    }

    /// Bytes read in this segment.
    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// A new segment begins.
    pub(super) fn restart(&mut self) {
        self.offset = 0;
    }

    /// Reads exactly so many bytes.
    pub(super) fn exact(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.from.read_exact(bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => ReadError::Truncated { format: NAME, at: format!("{} bytes", self.offset) },
            _ => ReadError::Io(e),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Reads one byte, or nothing at the end.
    pub(super) fn first(&mut self) -> Result<Option<u8>, ReadError> {
        let mut byte = [0];
        loop {
            match self.from.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.offset += 1;
                    return Ok(Some(byte[0]));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Reads the next section into `plain`.
    pub(super) fn section(&mut self, plain: &mut Vec<u8>) -> Result<Kind, ReadError> {
        let start = self.offset;
        let mut bytes = [0; HEADER];
        self.exact(&mut bytes)?;
        let header = header(&bytes, start)?;
        let mut stored = std::mem::take(&mut self.stored);
        stored.clear();
        stored.resize(header.stored, 0);
        let offset = self.offset;
        self.exact(&mut stored)?;
        if checksum(&header.fields, &stored, offset) != header.sum {
            return Err(damaged(start, "the checksum of a section does not match"));
        }
        plain.clear();
        if header.packed {
            plain.reserve(header.plain);
            let unpacked = self.unpacker.decompress_to_buffer(&stored, plain);
            if unpacked.is_err() || plain.len() != header.plain {
                return Err(damaged(start, "a section does not unpack to its length"));
            }
            self.stored = stored;
        } else {
            self.stored = std::mem::replace(plain, stored);
        }
        Ok(header.kind)
    }
}
