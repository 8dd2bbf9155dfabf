//! How much memory and work debug info may ask for. Many small records can each refer to one big
//! one, so that no limit on a single list bounds the whole.

use super::ObjectError;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that parsing may still produce.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    /// Real debug info yields at most a few times its own length: a row of the line table, 24 bytes
    /// here, takes 2 to 5 bytes there.
    const FACTOR: u64 = 32;
    const LEAST: u64 = 64 << 20;

    /// For `len` bytes of debug info.
    pub(super) fn for_length(len: u64) -> Self {
        let limit = len.saturating_mul(Self::FACTOR).saturating_add(Self::LEAST);
        Self { left: AtomicU64::new(limit), limit: AtomicU64::new(limit) }
    }

    /// Adds what `len` more bytes of debug info may yield.
    pub(super) fn allow(&self, len: u64) {
        let more = len.saturating_mul(Self::FACTOR);
        self.limit.fetch_add(more, Ordering::Relaxed);
        self.left.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes `amount` bytes.
    pub(super) fn spend(&self, amount: usize) -> Result<(), ObjectError> {
        let amount = amount as u64;
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).map(drop).map_err(
            |_| ObjectError::TooBig { what: "bytes of parsed debug info", limit: self.limit.load(Ordering::Relaxed) },
        )
    }
}
