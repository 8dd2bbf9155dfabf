//! `coverage_raw.dat`: the lossless store. All that a [`Snapshot`] holds, compressed, with checksums,
//! to be read and written file by file.
//!
//! # The format, versions 1 and 2
//! Numbers are little-endian. A *raw file* is one *segment* after another, each with the data of one
//! snapshot; so `cat a.dat b.dat > ab.dat` is a valid merge. A segment is
//!
//! - the magic, 8 bytes `89 43 4f 56 52 41 57 0a` (`\x89COVRAW\n`), and the version, `u32`;
//! - sections: `head`, then any number of `files`, then `end`.
//!
//! A section is a header of 24 bytes and a payload:
//!
//! | bytes | |
//! |---|---|
//! | 0 | kind: 1 head, 2 files, 3 end |
//! | 1 | codec: 0 none, 1 zstd |
//! | 2–3 | 0 |
//! | 4–7 | payload length as stored |
//! | 8–11 | payload length unpacked, at most 16 MiB |
//! | 12–15 | 0 |
//! | 16–23 | XXH3-64 of header bytes 0–15 and the stored payload, its seed the payload's offset from the segment's start |
//!
//! **head** is a JSON object: `runs` (each `id`, `end`, `program`, `directory`, `tool`, `commit`,
//! `shard`, `selection` where it is not empty), `objects` (`build_id`, `path`) and `losses` (by kind, `count` and `details`).
//! **end** is the number of file records as `u64`: a segment without it was cut off.
//! **files** holds file records, by rising path over the whole segment. A path may stand in
//! consecutive records (a file too big for one section); these are to be merged.
//!
//! In a file record a *number* is LEB128, a *text* is its length and UTF-8 bytes, a *list* is its
//! length and items, a *rising list* holds each item less its predecessor less one (the predecessor
//! of the first is −1). A record is
//!
//! - text path;
//! - rising list of executable lines;
//! - list of contexts: text name, then the lines with another count than exactly 0 as rising list of
//!   indices into the executable lines, their counts, and a rising list of indices into these counts
//!   of the lower bounds;
//! - list of functions: line, text mangled name, count, 1 for a lower bound or 0;
//! - list of reasons why lines cannot be measured: text, rising list of lines;
//! - rising list of excluded lines;
//! - list of texts, the build-ids; list of texts, the digests;
//! - in version 2 a list of ways out of conditional jumps: line, shape, jump, number, line that it leads to, count, 1 for a
//!   lower bound or 0.
//!
//! Data without conditional jumps is written in version 1, which older readers take.

mod decode;
mod encode;
mod head;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod write;

pub use read::{RawReader, read, segments};
pub use write::RawWriter;

pub use head::Head;

use crate::coverage::Snapshot;
use std::io::{self, Write};

/// The format's name in messages.
const NAME: &str = "raw coverage file";
/// What every segment begins with. The first byte is no text and no UTF-8, the last is lost where
/// line ends are converted.
pub(super) const MAGIC: [u8; 8] = *b"\x89COVRAW\n";
/// The last version: with conditional jumps.
const VERSION: u32 = 2;
/// The version without conditional jumps.
const VERSION_WITHOUT_BRANCHES: u32 = 1;
/// The most that a section may hold, unpacked: what a reader must keep at once.
const MAX_SECTION: usize = 16 << 20;

/// Writes a snapshot as one segment.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = RawWriter::new(out, &Head::of(snapshot))?;
    for file in snapshot.files() {
        writer.file(file)?;
    }
    writer.finish()
}
