//! Tells cov-agent which test, request or phase the calling thread is in. Copy this file into a project; it needs
//! nothing. A no-operation, and a note that says where it is: nothing is linked, and nothing is called.
// SPDX-License-Identifier: MIT OR Apache-2.0

use std::ffi::CStr;

/// From now on this thread is in the context `name`; in none without one.
#[inline(always)]
pub fn context(name: Option<&CStr>) {
    // The kernel side reads what is in memory, and a constant may not have been read from the file yet.
    name.map(CStr::to_bytes).into_iter().flatten().for_each(|byte| _ = std::hint::black_box(*byte));
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: nothing is done. The note is SystemTap's: the place, the base, no semaphore; provider, name, where the
    // argument is.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    unsafe {
        std::arch::asm!(
            "990: nop",
            ".pushsection .note.stapsdt,\"\",\"note\"",
            ".balign 4",
            ".4byte 992f-991f, 994f-993f, 3",
            "991: .asciz \"stapsdt\"",
            "992: .balign 4",
            "993: .8byte 990b, 0, 0",
            ".asciz \"cov_agent\"",
            ".asciz \"context\"",
            ".asciz \"8@%rdi\"",
            "994: .balign 4",
            ".popsection",
            in("rdi") name,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let _ = name;
}
