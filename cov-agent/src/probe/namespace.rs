//! Which process numbers the kernel programs must speak: the agent may run in a container, where
//! processes have other numbers than the kernel's own.

use super::ProbeError;
use super::btf::KernelTypes;
use cov_ebpf_common::Config;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL: u64 = 0xEFFF_FFFC;

/// What the programs must be told. Children are followed where `follow` asks for it and the kernel
/// describes its types.
///
/// # Errors
/// When processes cannot be told apart: in a container, on a kernel that does not describe its types.
/// Where hits are to be told apart by `contexts`, members of [`Config`], children must be followed.
pub(super) fn config(follow: bool, contexts: u32) -> Result<Config, ProbeError> {
    let inode =
        fs::metadata("/proc/self/ns/pid").map_err(|error| ProbeError::of("reading /proc/self/ns/pid", error))?.ino();
    let agent_ns = if inode == INITIAL { 0 } else { u32::try_from(inode).unwrap_or(0) };
    let types = KernelTypes::of_running_kernel();
    match types.as_ref().and_then(offsets) {
        Some(offsets) if contexts == 0 => Ok(Config { agent_ns, follow: follow.into(), ..offsets }),
        Some(offsets) => {
            let offsets = types.as_ref().and_then(|types| context_offsets(types, offsets));
            let missing = "the description of what it keeps of a program's arguments, which contexts need";
            let offsets = offsets.ok_or(ProbeError::TooOld { missing })?;
            Ok(Config { agent_ns, follow: follow.into(), contexts, ..offsets })
        }
        None if agent_ns != 0 => Err(ProbeError::TooOld {
            missing: "its type description (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF), which is needed in a \
                      container of its own process numbers (docker: --pid=host does without)",
        }),
        None if follow => Err(ProbeError::TooOld {
            missing: "its type description (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF), which is needed to \
                      follow child processes",
        }),
        None => Ok(Config::UNSET),
    }
}

fn offsets(types: &KernelTypes) -> Option<Config> {
    Some(Config {
        task_pid: types.offset("task_struct", "pid")?,
        task_tgid: types.offset("task_struct", "tgid")?,
        task_signal: types.offset("task_struct", "signal")?,
        signal_live: types.offset("signal_struct", "live")?,
        task_group_leader: types.offset("task_struct", "group_leader")?,
        task_thread_pid: types.offset("task_struct", "thread_pid")?,
        pid_level: types.offset("pid", "level")?,
        pid_numbers: types.offset("pid", "numbers")?,
        upid_size: types.size("upid")?,
        upid_nr: types.offset("upid", "nr")?,
        upid_ns: types.offset("upid", "ns")?,
        ns_inum: types.offset("pid_namespace", "ns")? + types.offset("ns_common", "inum")?,
        ..Config::UNSET
    })
}

fn context_offsets(types: &KernelTypes, config: Config) -> Option<Config> {
    Some(Config {
        task_mm: types.offset("task_struct", "mm")?,
        mm_arg_start: types.offset("mm_struct", "arg_start")?,
        mm_arg_end: types.offset("mm_struct", "arg_end")?,
        mm_env_start: types.offset("mm_struct", "env_start")?,
        mm_env_end: types.offset("mm_struct", "env_end")?,
        task_exit_code: types.offset("task_struct", "exit_code")?,
        ..config
    })
}
