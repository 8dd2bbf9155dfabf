//! What the agent says of an object that it cannot measure.

use super::message::{Message, Slug};
use crate::object::ObjectError;
use std::path::Path;

/// The message for `error` about the object at `path`.
pub(crate) fn message(path: &Path, error: &ObjectError) -> Message {
    let slug = match error {
        ObjectError::Read(_) | ObjectError::NotRegular => Slug::CannotRead,
        ObjectError::NotElf | ObjectError::NotLinked(_) => Slug::NotElf,
        ObjectError::Truncated { .. }
        | ObjectError::Malformed(_)
        | ObjectError::TooBig { .. }
        | ObjectError::Changed => Slug::DamagedElf,
        ObjectError::Not64Bit | ObjectError::BigEndian | ObjectError::OtherMachine(_) => Slug::WrongMachine,
        ObjectError::NoDebugInfo { .. } | ObjectError::DebugFileMissing { .. } => Slug::NoDebugInfo,
        ObjectError::CorruptDebugInfo(_) => Slug::DamagedDebugInfo,
    };
    Message::new(slug, format!("{}: {error}", path.display()))
}
