//! Processes: launching a program that waits for its probes, passing signals on, waiting; attaching
//! to programs that run.
//!
//! The only module that signals, holds or waits for another process. It knows nothing of probes. A
//! program must not notice that it was started by the agent: what it inherits is what the agent
//! itself inherited, see [`Launch`].

mod arguments;
mod attached;
mod child;
mod created;
mod error;
mod executable;
mod foreign;
pub mod gate;
mod identity;
mod inherited;
mod launch;
mod linger;
mod mappings;
mod maps;
mod opening;
mod pidfd;
mod procfs;
mod program;
mod signals;
mod spent;
#[cfg(test)]
mod tests;
mod witness;

pub use arguments::{ExecArguments, exec_arguments};
pub use attached::{Attached, AttachedEvent};
pub use created::Created;
pub use error::{AttachError, LaunchError};
pub use executable::Executable;
pub use foreign::{Breakpoint, Foreign, ForeignError, Removed, may_write};
pub use identity::{Identity, User};
pub use launch::{Held, Launch};
pub use linger::Linger;
pub use mappings::{Mapped, Mappings};
pub use maps::{MappedObject, MappedObjects, objects as mapped_objects};
pub use opening::{Opening, debugger, executes, is_alive, is_loader, opening, still_uses};
pub use procfs::{MountList, running};
pub use program::{Ending, Program, ProgramEvent, any_readable, block_on, readable};
pub use signals::Signals;
pub use spent::{cpu_time, threads};
