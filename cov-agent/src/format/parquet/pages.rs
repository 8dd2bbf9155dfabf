//! Access to a Parquet file that bounds what one page may unpack to.

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use std::fs::File;
use std::io::{BufReader, Read as _};

/// The most that one page may unpack to, in bytes. Writers make pages of about a megabyte, and dictionaries of a few.
const MAX_PAGE: i64 = 256 << 20;

/// The file, for reading pages only: every read that begins at an offset begins with the header of a page.
pub(super) struct Pages(pub(super) File);

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Pages {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut header = Vec::new();
        self.0.get_read(start)?.take(16).read_to_end(&mut header)?;
        match unpacked_size(&header) {
            Some(size) if size > MAX_PAGE => {
                Err(ParquetError::General(format!("a page announces {size} bytes; at most {MAX_PAGE} are unpacked")))
            }
            _ => self.0.get_read(start),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}

/// The second field of a page's header (parquet.thrift, `PageHeader`, compact protocol): the size when unpacked. Both
/// first fields are `i32`, which the protocol writes as the byte 0x15 and a zigzag varint. `None`: it is no such header.
fn unpacked_size(header: &[u8]) -> Option<i64> {
    let mut bytes = header.iter().copied();
    let mut size = 0;
    for _ in 0..2 {
        if bytes.next()? != 0x15 {
            return None;
        }
        let mut number = 0u64;
        for shift in (0..).step_by(7).take(5) {
            let byte = bytes.next()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        size = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_size_is_found() {
        // type = 0 (data page), uncompressed_page_size = 300, as parquet writes them.
        assert_eq!(unpacked_size(&[0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0x10]), Some(300));
        assert_eq!(unpacked_size(&[0x15, 4, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f]), Some(i64::from(i32::MAX)));
        assert_eq!(unpacked_size(&[0x15, 0, 0x15, 0x01]), Some(-1));
        assert_eq!(unpacked_size(b"PAR1"), None);
        assert_eq!(unpacked_size(&[0x15, 0x80]), None);
    }
}
