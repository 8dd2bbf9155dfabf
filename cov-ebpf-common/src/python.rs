//! Lines of Python, counted at the static probe `python:line` of an interpreter: what the kernel program keys them by.

/// Longer names of source files, with the zero at their end, are not counted.
pub const NAME_BYTES: usize = 256;

/// How many source files are told apart, unwanted ones included.
pub const MAX_PYTHON_FILES: u32 = 1 << 15;

/// How many lines are counted.
pub const MAX_PYTHON_LINES: u32 = 1 << 18;

/// How many beginnings of wanted files' names there may be.
pub const MAX_PREFIXES: u32 = 64;

/// Trie map of the beginnings of wanted files' names; the value means nothing.
pub const PYTHON_PREFIXES: &str = "PYTHON_PREFIXES";

/// Hash map: names of source files that ran, each with its number; 0 where no name begins so as is wanted.
pub const PYTHON_FILES: &str = "PYTHON_FILES";

/// Hash map: how often each line was entered.
pub const PYTHON_LINES: &str = "PYTHON_LINES";

/// The name of a source file as the interpreter gives it, or the beginning of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PythonName {
    /// How many bits of it count, where it is a beginning; else all of them.
    pub bits: u32,
    /// The name, and zeros.
    pub bytes: [u8; NAME_BYTES],
}

const _: () = assert!(size_of::<PythonName>() == 4 + NAME_BYTES);

/// A line of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PythonLine {
    /// The file's number.
    pub file: u64,
    /// The line.
    pub line: u32,
    /// No padding that might differ.
    pub zero: u32,
}

const _: () = assert!(size_of::<PythonLine>() == 16);

/// Where an argument of a static probe lies: in a register, or in memory that a register points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Which 64-bit word of the kernel's `pt_regs` the register is.
    pub register: u8,
    /// How far from where the register points.
    pub memory: Option<i16>,
}

impl Operand {
    /// As half a probe's cookie has it.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        match self.memory {
            None => self.register as u32,
            Some(distance) => self.register as u32 | 1 << 8 | (distance.cast_unsigned() as u32) << 16,
        }
    }

    /// What half a cookie says.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        let [register, memory, low, high] = bits.to_le_bytes();
        Self { register, memory: if memory == 1 { Some(i16::from_le_bytes([low, high])) } else { None } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_survive_the_cookie() {
        for memory in [None, Some(0), Some(112), Some(-8), Some(i16::MIN)] {
            let operand = Operand { register: 19, memory };
            assert_eq!(Operand::from_bits(operand.to_bits()), operand);
        }
    }
}
