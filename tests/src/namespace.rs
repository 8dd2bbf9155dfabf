//! A view of the file systems that is the test's own.

use std::process::Command;

/// From now on this thread, and what it starts, sees file systems of its own at `/run` and at `/sys/fs/bpf`: nobody
/// else's journals are there. `options` are those of the one at `/run`.
///
/// # Panics
/// Where that cannot be had.
pub fn own_run_directory(options: &str) {
    // SAFETY: it takes an integer, and changes only what paths mean to this thread.
    #[expect(unsafe_code, reason = "unshare(2) has no safe wrapper in libc")]
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    mount(&["--make-rprivate", "/"]);
    mount(&["-t", "tmpfs", "-o", options, "tmpfs", "/run"]);
    mount(&["-t", "bpf", "bpf", "/sys/fs/bpf"]);
}

/// Calls mount(8).
///
/// # Panics
/// Where it fails.
pub fn mount(args: &[&str]) {
    assert!(Command::new("mount").args(args).status().unwrap().success(), "mount {args:?}");
}
