//! What the kernel side asks of the agent where probes go away when they have done their work.

use crate::Cookie;

/// Bytes of the ring that carries [`Request`]s. What finds no room is asked again at the next hit.
pub const REQUESTS_BYTES: u32 = 1 << 20;

/// Which hits ask for probes to be disarmed: values of [`Config::ask`](crate::Config::ask).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Ask {
    /// None.
    #[default]
    Never = 0,
    /// Each hit of a probe that is wanted [once](Cookie::is_once).
    Once = 1,
    /// These, and the hit by which a process has spent more on hits than [`Spending::limit`], one for each limit.
    OverLimit = 2,
}

/// What a counted process has spent on hits, and may: the values of [`SPENDING`](crate::SPENDING), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Spending {
    /// Its hits, each times its price.
    pub spent: u64,
    /// From here on a hit asks; `u64::MAX` when one has.
    pub limit: u64,
}

/// A process hit a probe that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Request {
    /// Where the process runs the probed instruction: an address in its memory.
    pub address: u64,
    /// The probe's cookie.
    pub cookie: u64,
    /// The process, as the agent's namespace numbers it.
    pub process: u32,
    /// The context that the process was in.
    pub context: u32,
    /// When, in nanoseconds since the machine started.
    pub time: u64,
}

impl Request {
    /// How many bytes it has in the ring.
    pub const BYTES: usize = size_of::<Self>();

    /// Reads what the ring holds. `None` if it has another size.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let [a, b, c, time] = [0, 8, 16, 24].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        });
        let [process, context] = [c & 0xffff_ffff, c >> 32].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
        Some(Self { address: a, cookie: b, process, context, time })
    }

    /// The probe's cookie.
    #[must_use]
    pub const fn cookie(self) -> Cookie {
        Cookie(self.cookie)
    }
}

const _: () = assert!(size_of::<Spending>() == 16 && Request::BYTES == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_kernel_writes_them() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&0x5555_0000_1234_u64.to_ne_bytes());
        bytes[8..16].copy_from_slice(&7u64.to_ne_bytes());
        bytes[16..20].copy_from_slice(&4711u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&12u32.to_ne_bytes());
        bytes[24..].copy_from_slice(&0x1_0000_0001_u64.to_ne_bytes());
        let expected =
            Request { address: 0x5555_0000_1234, cookie: 7, process: 4711, context: 12, time: 0x1_0000_0001 };
        assert_eq!(Request::read(&bytes), Some(expected));
        assert_eq!(Request::read(&bytes[..31]), None);
    }
}
