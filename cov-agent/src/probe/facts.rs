//! What this machine lets the agent do.

use super::btf::KernelTypes;
use super::{Bpf, Kernel as _, Options, Prices, ProbeError};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::path::Path;

/// One thing about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// What that means for the agent.
    pub verdict: Verdict,
    /// How to get what is missing.
    pub remedy: Option<&'static str>,
}

/// What a [`Fact`] means for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The agent works, but slower or with less.
    Limited,
    /// The agent cannot count.
    Missing,
}

impl Fact {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Good, remedy: None }
    }

    fn or(self, good: bool, verdict: Verdict, remedy: &'static str) -> Self {
        if good { self } else { Self { verdict, remedy: Some(remedy), ..self } }
    }
}

/// Finds out what this machine lets this process do. Arms a probe on the agent itself.
#[must_use]
pub fn facts() -> Vec<Fact> {
    let mut facts = vec![kernel(), type_description(), lockdown(), paranoid()];
    facts.extend(capabilities());
    facts.extend([locked_memory(), open_files(), exec_events()]);
    facts.extend(probing());
    facts
}

fn kernel() -> Fact {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let fact = Fact::good("kernel", release.clone());
    let fact = fact.or(version >= (6, 6), Verdict::Limited, "Linux 6.6 arms all probes of an object at once");
    fact.or(version >= (5, 15), Verdict::Missing, "the agent needs Linux 5.15 or newer")
}

fn type_description() -> Fact {
    let there = KernelTypes::of_running_kernel().is_some();
    Fact::good("type description", if there { "/sys/kernel/btf/vmlinux" } else { "none" }).or(
        there,
        Verdict::Missing,
        "a kernel with CONFIG_DEBUG_INFO_BTF, and /sys mounted: children cannot be followed without",
    )
}

fn lockdown() -> Fact {
    // "[none] integrity confidentiality"; without the security module there is no file.
    let text = read("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
    let good = mode != "confidentiality";
    Fact::good("lockdown", mode).or(good, Verdict::Missing, "boot with lockdown=integrity, or without secure boot")
}

fn paranoid() -> Fact {
    let level = read("/proc/sys/kernel/perf_event_paranoid").unwrap_or_else(|| "unknown".into());
    // Does not matter with CAP_PERFMON, which is needed anyway.
    Fact::good("perf_event_paranoid", level)
}

/// From `linux/capability.h`.
const CAPABILITIES: [(&str, u32, Verdict, &str); 4] = [
    ("CAP_BPF", 39, Verdict::Missing, "run as root, or with this capability: it loads the kernel programs"),
    ("CAP_PERFMON", 38, Verdict::Missing, "run as root, or with this capability: it arms probes"),
    ("CAP_SYS_PTRACE", 19, Verdict::Limited, "needed for --pid on other users' processes"),
    ("CAP_SYS_ADMIN", 21, Verdict::Limited, "needed to hold programs that are started later until they are armed"),
];

fn capabilities() -> Vec<Fact> {
    let status = read("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    // Before these two were split off it, this one allowed everything, and still does.
    let admin = effective >> 21 & 1 == 1;
    let fact = |(name, bit, verdict, remedy): (_, u32, _, _)| {
        let has = effective >> bit & 1 == 1 || (admin && matches!(bit, 38 | 39));
        Fact::good(name, if has { "yes" } else { "no" }).or(has, verdict, remedy)
    };
    CAPABILITIES.into_iter().map(fact).collect()
}

fn locked_memory() -> Fact {
    // Since 5.11 the memory of maps is charged to the control group.
    limit("locked memory", Resource::RLIMIT_MEMLOCK)
}

fn open_files() -> Fact {
    limit("open files", Resource::RLIMIT_NOFILE)
}

fn limit(name: &'static str, resource: Resource) -> Fact {
    let found = match getrlimit(resource) {
        Ok((libc::RLIM_INFINITY, _)) => "unlimited".into(),
        Ok((soft, _)) => soft.to_string(),
        Err(errno) => errno.to_string(),
    };
    Fact::good(name, found)
}

/// Whether programs that are started later can be held until they are armed.
fn exec_events() -> Fact {
    let init = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
    let result = Fanotify::init(init, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).and_then(|group| {
        let path = Path::new("/proc/self/exe");
        group.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_EXEC_PERM, nix::fcntl::AT_FDCWD, Some(path))
    });
    let found = result.map_or_else(|errno| errno.desc().to_owned(), |()| "yes".to_owned());
    Fact::good("fanotify", found).or(
        result.is_ok(),
        Verdict::Limited,
        "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, and CAP_SYS_ADMIN: libraries and programs that are \
         loaded later are missed without",
    )
}

/// Whether probes really fire, and what that costs.
fn probing() -> Vec<Fact> {
    const PROBES: &str = "a probe on the agent";
    let mut bpf = match Bpf::new(Options { follow: false, ..Options::default() }) {
        Ok(bpf) => bpf,
        Err(error) => return vec![failed(PROBES, &error)],
    };
    let multi = Fact::good("uprobe.multi", if bpf.is_multi() { "yes" } else { "no" }).or(
        bpf.is_multi(),
        Verdict::Limited,
        "Linux 6.6 or newer: probes are armed one by one, and disarming each takes tens of milliseconds",
    );
    let fires = match Prices::measure(&mut bpf) {
        Ok(prices) => {
            let nanos = |price: std::time::Duration| price.as_nanos().to_string();
            vec![
                Fact::good(PROBES, "fires"),
                Fact::good("a hit, emulated", nanos(prices.emulated) + " ns"),
                Fact::good("a hit, single-stepped", nanos(prices.single_stepped) + " ns"),
            ]
        }
        Err(error) => vec![failed(PROBES, &error)],
    };
    let lost = bpf.losses().is_ok_and(|losses| !losses.is_none());
    let losses = lost.then(|| Fact { verdict: Verdict::Limited, ..Fact::good("losses", "hits were not counted") });
    [multi].into_iter().chain(fires).chain(losses).collect()
}

fn failed(name: &'static str, error: &ProbeError) -> Fact {
    Fact { verdict: Verdict::Missing, ..Fact::good(name, error.to_string()) }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_there_without_any_privilege() {
        let facts = [kernel(), type_description(), lockdown(), paranoid(), locked_memory(), open_files()];
        for fact in facts {
            assert!(!fact.found.is_empty() && fact.found != "unknown", "{fact:?}");
            assert_eq!(fact.verdict == Verdict::Good, fact.remedy.is_none(), "{fact:?}");
        }
    }
}
