//! What the text formats share: fast writing of numbers, times.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::io::{self, Read, Write};
use twox_hash::XxHash3_128;

/// Bytes gathered before they are passed on.
const BUFFER: usize = 1 << 16;

/// A buffer before a writer that formats numbers without the cost of `write!`.
pub(super) struct Out<'a> {
    to: &'a mut dyn Write,
    buffer: Vec<u8>,
    digits: itoa::Buffer,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, buffer: Vec::with_capacity(BUFFER + 64), digits: itoa::Buffer::new() }
    }

    /// Writes text as it is.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.buffer.extend_from_slice(text.as_bytes());
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes a number.
    pub(super) fn number(&mut self, number: u64) -> io::Result<()> {
        self.buffer.extend_from_slice(self.digits.format(number).as_bytes());
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes a value as JSON.
    pub(super) fn json(&mut self, value: &(impl serde::Serialize + ?Sized)) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, value)?;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Passes on what is buffered. Must be called last.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// `2024-05-01T12:00:00+00:00`: ISO 8601 as every `datetime.fromisoformat` reads it. Times beyond
/// the year 9999 become its end.
pub(super) fn iso_time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(Timestamp::MAX.as_second());
    let time = Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The seconds since 1970 that an ISO 8601 time names; without a zone as UTC. Times before are none.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let local = text.parse::<DateTime>().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    u64::try_from(time?.as_second()).ok()
}

/// A reader that keeps the digest of what passed.
pub(super) struct Hashed<R> {
    from: R,
    hash: XxHash3_128,
}

impl<R> Hashed<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, hash: XxHash3_128::new() }
    }

    /// The digest (XXH3-128) of what was read.
    pub(super) fn digest(&self) -> [u8; 16] {
        self.hash.clone().finish_128().to_be_bytes()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hash.write(buffer.get(..length).unwrap_or(&[]));
        Ok(length)
    }
}

/// Text on one line: control characters, which a hostile path or name may hold, become `?`.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(iso_time(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(iso_time(1_714_564_801), "2024-05-01T12:00:01+00:00");
        assert_eq!(iso_time(u64::MAX), "9999-12-30T22:00:00+00:00");
        for text in ["2024-05-01T12:00:01+00:00", "2024-05-01T12:00:01.5", "2024-05-01T14:00:01+02:00"] {
            assert_eq!(parse_time(text), Some(1_714_564_801), "{text}");
        }
        assert_eq!((parse_time(""), parse_time("1969-01-01T00:00:00Z")), (None, None));
    }
}
