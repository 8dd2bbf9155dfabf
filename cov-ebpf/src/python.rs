//! Lines of Python, counted where an interpreter that was built for it tells of them: its static probe `python:line`,
//! whose arguments are the names of the file and of the function, and the line.

use crate::{add, lose, task, tracked};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{HashMap, LpmTrie};
use aya_ebpf::helpers::{
    bpf_get_attach_cookie, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_user,
    bpf_probe_read_user_str_bytes,
};
use aya_ebpf::macros::{btf_map, uprobe};
use aya_ebpf::programs::ProbeContext;
use cov_ebpf_common::{
    Loss, MAX_PREFIXES, MAX_PYTHON_FILES, MAX_PYTHON_LINES, NAME_BYTES, Operand, PythonLine, PythonName,
};

#[btf_map]
static PYTHON_PREFIXES: LpmTrie<[u8; NAME_BYTES], u32, { MAX_PREFIXES as usize }> = LpmTrie::new();

#[btf_map]
static PYTHON_FILES: HashMap<PythonName, u64, { MAX_PYTHON_FILES as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static PYTHON_LINES: HashMap<PythonLine, u64, { MAX_PYTHON_LINES as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// A line of Python is entered.
#[uprobe(multi)]
fn python_line(ctx: ProbeContext) {
    if !task::current_process().is_some_and(|process| tracked(process).is_some()) {
        return;
    }
    if count(&ctx).is_none() {
        lose(Loss::NoCounter);
    }
}

/// `None` where it could not be counted.
#[inline(always)]
fn count(ctx: &ProbeContext) -> Option<()> {
    // SAFETY: the context is the one this program was called with.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let pointer = argument(ctx, cookie as u32)?;
    let line = argument(ctx, (cookie >> 32) as u32)? as u32;
    let mut name = PythonName { bits: NAME_BYTES as u32 * 8, bytes: [0; NAME_BYTES] };
    // SAFETY: the helper checks the address.
    let length = unsafe { bpf_probe_read_user_str_bytes(pointer as *const u8, &mut name.bytes) }.ok()?.len();
    // One more is the zero at its end: a name that was cut off is another one.
    if length + 1 >= NAME_BYTES {
        return None;
    }
    // SAFETY: nothing is ever removed from the map.
    let file = match unsafe { PYTHON_FILES.get(&name) } {
        Some(file) => *file,
        None => enroll(&name)?,
    };
    if file == 0 {
        return Some(());
    }
    let at = PythonLine { file, line, zero: 0 };
    if let Some(counter) = PYTHON_LINES.get_ptr_mut(&at) {
        add(counter);
    } else if PYTHON_LINES.insert(&at, &1, BPF_NOEXIST.into()).is_err() {
        // Another processor was first, or there is no room.
        add(PYTHON_LINES.get_ptr_mut(&at)?);
    }
    Some(())
}

/// Gives a file that has not run before its number; 0 if it is not wanted.
#[inline(always)]
fn enroll(name: &PythonName) -> Option<u64> {
    // A relative name may be anything, but code without a file: `<string>`.
    let wanted = match name.bytes[0] {
        b'/' => PYTHON_PREFIXES.get(key(name)).is_some(),
        first => first != b'<',
    };
    // SAFETY: the helpers have no requirements. No processor gives the same time twice.
    let number = unsafe { bpf_ktime_get_ns() << 10 | u64::from(bpf_get_smp_processor_id() & 1023) };
    let number = if wanted { number } else { 0 };
    if PYTHON_FILES.insert(name, &number, BPF_NOEXIST.into()).is_ok() {
        return Some(number);
    }
    // SAFETY: nothing is ever removed from the map.
    unsafe { PYTHON_FILES.get(name) }.copied()
}

/// The name as the trie wants it.
#[inline(always)]
fn key(name: &PythonName) -> &Key<[u8; NAME_BYTES]> {
    // SAFETY: both are the number of bits and the bytes, without padding; the other is packed.
    unsafe { &*core::ptr::from_ref(name).cast() }
}

/// The value of a probe's argument, of up to 64 bits.
#[inline(always)]
fn argument(ctx: &ProbeContext, bits: u32) -> Option<u64> {
    let Operand { register, memory } = Operand::from_bits(bits);
    // By the helper: the verifier lets nobody read registers at an offset that varies.
    // SAFETY: the helper checks the address; every bit pattern is a number.
    let value = unsafe { bpf_probe_read_kernel(ctx.regs.cast::<u64>().wrapping_add(register.into())) }.ok()?;
    match memory {
        None => Some(value),
        // SAFETY: the helper checks the address.
        Some(distance) => unsafe { bpf_probe_read_user(value.wrapping_add(distance as u64) as *const u64) }.ok(),
    }
}
