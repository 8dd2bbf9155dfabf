//! The little that is read of the kernel's task structures, at offsets that the agent looked up.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel};
use cov_ebpf_common::Config;

/// Set by the agent before loading; the verifier then sees constants and drops what is not needed.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::UNSET;

/// The value the agent gave to a member of [`Config`].
macro_rules! config {
    ($member:ident) => {
        // SAFETY: a reference to an initialised static. Volatile, for the agent changes it.
        unsafe { core::ptr::read_volatile(&raw const $crate::task::CONFIG.$member) }
    };
}
pub(crate) use config;

/// How deep pid namespaces nest at most (`MAX_PID_NS_LEVEL`).
const MAX_PID_NS_LEVEL: u32 = 32;

/// The process that runs now, as the agent's pid namespace numbers it.
#[inline(always)]
pub fn current_process() -> Option<u32> {
    if config!(agent_ns) == 0 {
        return Some((bpf_get_current_pid_tgid() >> 32) as u32);
    }
    // SAFETY: the helper has no requirements.
    Task(unsafe { bpf_get_current_task() }).process()
}

/// Whether children of counted processes are counted.
#[inline(always)]
pub fn follow() -> bool {
    config!(follow) != 0
}

/// Whether, and how, hits are told apart by context.
#[inline(always)]
pub fn contexts() -> u32 {
    config!(contexts)
}

/// Address of a `task_struct`.
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    /// Whether it is a process's first thread.
    #[inline(always)]
    pub fn leads_process(self) -> bool {
        match (read::<u32>(self.0, config!(task_pid)), read::<u32>(self.0, config!(task_tgid))) {
            (Some(pid), Some(tgid)) => pid == tgid,
            _ => false,
        }
    }

    /// The thread's number, as the kernel itself numbers it.
    #[inline(always)]
    pub fn number(self) -> Option<u32> {
        read(self.0, config!(task_pid))
    }

    /// How it ends, as wait(2) tells it. Known once the task is exiting.
    #[inline(always)]
    pub fn exit_code(self) -> Option<u32> {
        read(self.0, config!(task_exit_code))
    }

    /// Where the arguments of its program lie in its memory, or the environment, and how many bytes.
    #[inline(always)]
    pub fn area(self, environment: bool) -> Option<(u64, u64)> {
        let mm: u64 = read(self.0, config!(task_mm))?;
        let (start, end) = if environment {
            (config!(mm_env_start), config!(mm_env_end))
        } else {
            (config!(mm_arg_start), config!(mm_arg_end))
        };
        let (start, end) = (read::<u64>(mm, start)?, read::<u64>(mm, end)?);
        Some((start, end.wrapping_sub(start)))
    }

    /// Whether no thread of its process is left. Known once the task is exiting.
    #[inline(always)]
    pub fn process_ended(self) -> bool {
        let Some(signal) = read::<u64>(self.0, config!(task_signal)) else { return false };
        read::<u32>(signal, config!(signal_live)) == Some(0)
    }

    /// Its process, as the agent's pid namespace numbers it; `None` if it has no number there.
    #[inline(always)]
    pub fn process(self) -> Option<u32> {
        let agent_ns = config!(agent_ns);
        if agent_ns == 0 {
            return read(self.0, config!(task_tgid));
        }
        let leader: u64 = read(self.0, config!(task_group_leader))?;
        let pid: u64 = read(leader, config!(task_thread_pid))?;
        let deepest: u32 = read(pid, config!(pid_level))?;
        // From the process's own namespace outwards: the agent's is rarely far.
        for up in 0..MAX_PID_NS_LEVEL {
            if up > deepest {
                return None;
            }
            let number =
                pid + u64::from(config!(pid_numbers)) + u64::from(deepest - up) * u64::from(config!(upid_size));
            let ns: u64 = read(number, config!(upid_ns))?;
            if read::<u32>(ns, config!(ns_inum))? == agent_ns {
                return read(number, config!(upid_nr));
            }
        }
        None
    }
}

/// Reads a member of the kernel structure at `base`.
#[inline(always)]
fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address; every bit pattern is a `T` (u32 or u64).
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}
