//! What the text formats share: fast writing of numbers, times.

use jiff::{SignedDuration, Timestamp};
use std::io::{self, Write};

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
    }
}
