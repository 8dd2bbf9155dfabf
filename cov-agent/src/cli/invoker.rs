//! With whose rights sources are read and results are written.

use super::message::{Message, Slug};

#[cfg(feature = "collect")]
pub(super) use crate::runner::Invoker;

#[cfg(not(feature = "collect"))]
pub(super) use unprivileged::Invoker;

/// The person who called the agent: under sudo not root.
pub(super) fn invoker() -> Result<Invoker, Message> {
    Invoker::this()
        .map_err(|error| Message::new(Slug::Failed, format!("cannot find out who called the agent: {error}")))
}

/// A build that does not measure needs no root, and changes no rights.
#[cfg(not(feature = "collect"))]
mod unprivileged {
    use crate::format::output::{OwnRights, Rights};
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// Whoever runs this process.
    pub(in crate::cli) struct Invoker(OwnRights);

    impl Invoker {
        pub(in crate::cli) fn this() -> io::Result<Self> {
            Ok(Self(OwnRights))
        }

        #[expect(clippy::unused_self, reason = "the build that measures has rights to look at")]
        pub(in crate::cli) fn open(&self, path: &Path) -> io::Result<File> {
            File::open(path)
        }
    }

    impl Rights for Invoker {
        fn with(&self, act: &mut dyn FnMut()) -> io::Result<()> {
            self.0.with(act)
        }
    }
}
