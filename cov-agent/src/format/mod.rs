//! File formats, one module each: `write(&Snapshot, &mut dyn Write)` and, where it can be read, `read`.

pub mod demangle;
mod name;

pub use name::{Format, UnknownFormat};
