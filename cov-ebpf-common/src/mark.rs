//! Marks: instructions at which a context begins or ends, and where its name lies then.

/// The registers that a name can be found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Register {
    /// The first argument in C.
    Rdi = 0,
    /// The second argument in C.
    Rsi = 1,
    /// The first argument in Go.
    Rax = 2,
    /// The second argument in Go.
    Rbx = 3,
}

/// How a name lies in memory, from the register's value and an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Layout {
    /// Characters up to a zero.
    Characters = 0,
    /// The address of characters, and how many, in two words.
    Slice = 1,
    /// Two `std::string` of libstdc++, one after the other: each begins with such two words.
    TwoStrings = 2,
    /// Nobody knows: the bytes are for the agent to look at.
    Raw = 3,
}

/// What happens at a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    /// A context begins.
    Enter = 0,
    /// It ends.
    Leave = 1,
    /// A variable is put into the environment: for some that is the beginning of a context.
    SetVariable = 2,
    /// It is taken out.
    UnsetVariable = 3,
    /// A goroutine makes another.
    Spawn = 4,
    /// It is made.
    Spawned = 5,
    /// A goroutine ends.
    Gone = 6,
}

/// Variables of the environment whose value names the test, as C writes them, with zeros to the end: pytest's, and our own.
pub const VARIABLES: [[u64; 4]; 2] = [words(*b"PYTEST_CURRENT_TEST"), words(*b"COV_AGENT_CONTEXT")];

/// Text as the words that it is in memory.
const fn words<const N: usize>(text: [u8; N]) -> [u64; 4] {
    let mut words = [0; 4];
    let mut at = 0;
    while at < N {
        words[at / 8] |= (text[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    words
}

/// What a mark's probe hands to the kernel program, in 64 bits. From the lowest: what happens (8), to what, one of
/// the kinds of [`UnitKey`](crate::UnitKey) (8), the register (8), the layout (8), the offset (16), the number by which the
/// agent knows it (16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    /// A mark of these parts.
    #[must_use]
    pub const fn new(act: Act, unit: u8, register: Register, layout: Layout, offset: u16, number: u16) -> Self {
        Self(
            act as u64
                | (unit as u64) << 8
                | (register as u64) << 16
                | (layout as u64) << 24
                | (offset as u64) << 32
                | (number as u64) << 48,
        )
    }

    const fn byte(self, at: u32) -> u8 {
        (self.0 >> at & 0xff) as u8
    }

    /// An [`Act`].
    #[must_use]
    #[inline(always)]
    pub const fn act(self) -> u8 {
        self.byte(0)
    }

    /// Who is in the context: a kind of [`UnitKey`](crate::UnitKey).
    #[must_use]
    #[inline(always)]
    pub const fn unit(self) -> u8 {
        self.byte(8)
    }

    /// A [`Register`].
    #[must_use]
    #[inline(always)]
    pub const fn register(self) -> u8 {
        self.byte(16)
    }

    /// A [`Layout`].
    #[must_use]
    #[inline(always)]
    pub const fn layout(self) -> u8 {
        self.byte(24)
    }

    /// How far from the register's value the name lies.
    #[must_use]
    #[inline(always)]
    pub const fn offset(self) -> u16 {
        (self.0 >> 32 & 0xffff) as u16
    }

    /// Which of the agent's marks it is.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn parts_come_back() {
        let mark = Mark::new(Act::Leave, 2, Register::Rbx, Layout::Raw, 0xfedc, 0xba98);
        assert_eq!((mark.act(), mark.unit(), mark.register(), mark.layout()), (1, 2, 3, 3));
        assert_eq!((mark.offset(), mark.number()), (0xfedc, 0xba98));
        assert_eq!(VARIABLES[1].map(u64::to_le_bytes).concat(), b"COV_AGENT_CONTEXT\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }
}
