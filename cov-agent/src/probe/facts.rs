//! What this machine lets the agent do.

use super::btf::KernelTypes;
use super::{Bpf, Options, Prices, ProbeError};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// One thing about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about: a name that scripts may look for.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// What that means for the agent.
    pub verdict: Verdict,
    /// How to get what is missing; where the verdict is not good.
    pub remedy: Option<&'static str>,
}

/// What a [`Fact`] means for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The agent works, but slower or with less.
    Limited,
    /// The agent cannot count.
    Missing,
    /// It could not be found out.
    Unknown,
}

/// What was found out about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Fact by fact.
    pub facts: Vec<Fact>,
    /// What a hit costs; `None` where no probe could be armed.
    pub prices: Option<Prices>,
}

impl Facts {
    /// Whether programs can be measured: a probe on the agent itself fires, and nothing is missing.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.prices.is_some() && self.facts.iter().all(|fact| fact.verdict != Verdict::Missing)
    }
}

impl Fact {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Good, remedy: None }
    }

    /// Another verdict unless all is `well`.
    fn unless(self, well: bool, verdict: Verdict, remedy: &'static str) -> Self {
        if well { self } else { Self { verdict, remedy: Some(remedy), ..self } }
    }
}

/// Finds out what this machine lets this process do. With the privileges for it, arms a probe on the
/// agent itself; takes a tenth of a second then.
#[must_use]
pub fn facts() -> Facts {
    let privileges = Privileges::own();
    let mut facts = vec![machine(), kernel(), btf(), lockdown(), paranoid(&privileges), user_namespace(&privileges)];
    facts.extend(CAPABILITIES.map(|capability| privileges.fact(capability)));
    facts.extend([locked_memory(), fanotify(&privileges)]);
    let prices = probing(&privileges, &mut facts);
    Facts { facts, prices }
}

fn machine() -> Fact {
    let arch = std::env::consts::ARCH;
    Fact::good("machine", arch).unless(arch == "x86_64", Verdict::Missing, "programs are measured on x86_64 only")
}

fn kernel() -> Fact {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = version(&release);
    let old = Verdict::Limited;
    Fact::good("kernel", format!("Linux {release}"))
        .unless(version >= (6, 6), old, "Linux 6.6 or newer arms all probes of an object at once")
        .unless(version >= (5, 15), Verdict::Missing, "the agent needs Linux 5.15 or newer")
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn btf() -> Fact {
    let there = KernelTypes::of_running_kernel().is_some();
    Fact::good("btf", if there { "/sys/kernel/btf/vmlinux" } else { "none" }).unless(
        there,
        Verdict::Missing,
        "a kernel with CONFIG_DEBUG_INFO_BTF, and /sys mounted: children cannot be followed without",
    )
}

fn lockdown() -> Fact {
    const PLACE: &str = "/sys/kernel/security";
    let mounted = read("/proc/mounts").is_some_and(|mounts| mounts.contains(" securityfs "));
    match read(&format!("{PLACE}/lockdown")) {
        // "[none] integrity confidentiality"
        Some(text) => {
            let mode = text.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
            let well = mode != "confidentiality";
            Fact::good("lockdown", mode).unless(well, Verdict::Missing, "boot with lockdown=integrity, or none")
        }
        // A kernel without that security module.
        None if mounted => Fact::good("lockdown", "none"),
        None => Fact::good("lockdown", "not known").unless(
            false,
            Verdict::Unknown,
            "to know, mount -t securityfs securityfs /sys/kernel/security; whether a probe fires tells as well",
        ),
    }
}

fn paranoid(privileges: &Privileges) -> Fact {
    let level = read("/proc/sys/kernel/perf_event_paranoid").unwrap_or_else(|| "not there".into());
    let note = if privileges.has(PERFMON) { "CAP_PERFMON overrules it" } else { "with CAP_PERFMON any value will do" };
    Fact::good("perf_event_paranoid", format!("{level} ({note})"))
}

/// What this process may do.
struct Privileges {
    effective: u64,
    /// Whether its capabilities are those of the whole machine.
    initial: bool,
}

const ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// A capability by name and number (`linux/capability.h`), what it means not to have it, and why.
type Capability = (&'static str, u32, Verdict, &'static str);

const CAPABILITIES: [Capability; 4] = [
    ("CAP_BPF", BPF, Verdict::Missing, "run as root, or with this capability: it loads the kernel programs"),
    ("CAP_PERFMON", PERFMON, Verdict::Missing, "run as root, or with this capability: it arms probes"),
    (
        "CAP_SYS_PTRACE",
        19,
        Verdict::Limited,
        "run as root, or with this capability: --pid needs it for others' processes",
    ),
    ("CAP_SYS_ADMIN", ADMIN, Verdict::Limited, "run as root, or with this capability: fanotify needs it"),
];

impl Privileges {
    fn own() -> Self {
        // Linux gives the initial user namespace this inode number (`PROC_USER_INIT_INO`).
        let initial = fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == 0xEFFF_FFFD);
        let status = read("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
        Self { effective, initial }
    }

    /// Whether the kernel lets this process do what `capability` stands for.
    fn has(&self, capability: u32) -> bool {
        let bit = |number| self.effective >> number & 1 == 1;
        // Before these two were split off it, CAP_SYS_ADMIN allowed everything, and still does.
        self.initial && (bit(capability) || (matches!(capability, BPF | PERFMON) && bit(ADMIN)))
    }

    fn fact(&self, (name, number, verdict, remedy): Capability) -> Fact {
        let has = self.has(number);
        let remedy = if self.initial { remedy } else { OUTSIDE };
        Fact::good(name, if has { "yes" } else { "no" }).unless(has, verdict, remedy)
    }
}

const OUTSIDE: &str = "run outside of the user namespace: capabilities inside one do not reach the kernel's programs";

fn user_namespace(privileges: &Privileges) -> Fact {
    let found = if privileges.initial { "the machine's own" } else { "another one" };
    Fact::good("user_namespace", found).unless(privileges.initial, Verdict::Missing, OUTSIDE)
}

fn locked_memory() -> Fact {
    let limit = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((libc::RLIM_INFINITY, _)) => "unlimited".into(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(errno) => errno.to_string(),
    };
    Fact::good("memlock", format!("{limit} (Linux 5.11 and newer charge the control group instead)"))
}

/// Whether programs that are started later can be held until they are armed.
fn fanotify(privileges: &Privileges) -> Fact {
    if !privileges.has(ADMIN) {
        let remedy = if privileges.initial { "asking needs CAP_SYS_ADMIN, as using it does" } else { OUTSIDE };
        return Fact::good("fanotify", "not checked").unless(false, Verdict::Unknown, remedy);
    }
    let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
    let result = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).and_then(|group| {
        // Nobody executes a directory, so nobody will ever wait for an answer.
        group.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_EXEC_PERM, nix::fcntl::AT_FDCWD, Some("/"))
    });
    let found = result.map_or_else(|errno| errno.desc().to_owned(), |()| "holds programs that start".to_owned());
    Fact::good("fanotify", found).unless(
        result.is_ok(),
        Verdict::Limited,
        "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, and no sandbox that forbids it",
    )
}

/// Whether probes really fire, and what that costs.
fn probing(privileges: &Privileges, facts: &mut Vec<Fact>) -> Option<Prices> {
    const MULTI: &str = "uprobe.multi";
    const PROBE: &str = "probe";
    if !privileges.has(BPF) || !privileges.has(PERFMON) {
        let unknown = |name| {
            let remedy = if privileges.initial { "trying needs CAP_BPF and CAP_PERFMON" } else { OUTSIDE };
            Fact::good(name, "not checked").unless(false, Verdict::Unknown, remedy)
        };
        facts.extend([MULTI, PROBE].map(unknown));
        return None;
    }
    let mut bpf = match Bpf::new(Options::default()) {
        Ok(bpf) => bpf,
        Err(error) => {
            facts.push(failed(PROBE, &error));
            return None;
        }
    };
    let multi = bpf.is_multi();
    facts.push(Fact::good(MULTI, if multi { "yes" } else { "no" }).unless(
        multi,
        Verdict::Limited,
        "Linux 6.6 or newer: probes are armed one by one, and disarming each takes tens of milliseconds",
    ));
    match Prices::measure(&mut bpf) {
        Ok(prices) => {
            facts.push(Fact::good(PROBE, "fires on the agent itself"));
            Some(prices)
        }
        Err(error) => {
            facts.push(failed(PROBE, &error));
            None
        }
    }
}

/// What the kernel said to a probe on the agent itself.
fn failed(name: &'static str, error: &ProbeError) -> Fact {
    let (said, remedy) = match error {
        ProbeError::NotPermitted { doing, source } => (
            format!("{doing}: {source}"),
            "something forbids it in spite of the capabilities: a container's seccomp profile, lockdown, or a sandbox",
        ),
        ProbeError::NoMemory { doing, source } => {
            (format!("{doing}: {source}"), "raise the limit of the container or control group, or `ulimit -n`")
        }
        ProbeError::TooOld { .. } => (error.to_string(), "a newer kernel"),
        ProbeError::Silent => ("armed, but does not count right".into(), "the kernel, or a sandbox, stands in the way"),
        ProbeError::Kernel { doing, source } => (format!("{doing}: {source}"), "not usual: please report it"),
        _ => (error.to_string(), "not usual: please report it"),
    };
    Fact { verdict: Verdict::Missing, remedy: Some(remedy), ..Fact::good(name, said) }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_first_two_numbers() {
        assert_eq!(version("6.18.5-fc-v1+"), (6, 18));
        assert_eq!(version("5.15.0-105-generic"), (5, 15));
        assert_eq!(version("7"), (7, 0));
        assert_eq!(version(""), (0, 0));
    }

    #[test]
    fn what_is_not_good_has_a_remedy() {
        let facts = facts();
        for fact in &facts.facts {
            assert!(!fact.found.is_empty(), "{fact:?}");
            assert_eq!(fact.verdict == Verdict::Good, fact.remedy.is_none(), "{fact:?}");
        }
        assert!(facts.facts.iter().any(|fact| fact.name == "probe"));
    }

    #[test]
    fn capabilities_count_only_in_the_initial_user_namespace() {
        let verdicts = |effective, initial| {
            let privileges = Privileges { effective, initial };
            CAPABILITIES.map(|capability| privileges.fact(capability).verdict)
        };
        use Verdict::{Good, Limited, Missing};
        assert_eq!(verdicts(u64::MAX, true), [Good; 4]);
        assert_eq!(verdicts(1 << ADMIN, true), [Good, Good, Limited, Good]);
        assert_eq!(verdicts(1 << BPF | 1 << PERFMON, true), [Good, Good, Limited, Limited]);
        assert_eq!(verdicts(0, true), [Missing, Missing, Limited, Limited]);
        assert_eq!(verdicts(u64::MAX, false), [Missing, Missing, Limited, Limited]);
    }

    #[test]
    fn ready_is_what_fires_and_misses_nothing() {
        let facts = |verdict, prices| Facts { facts: vec![Fact { verdict, ..Fact::good("x", "y") }], prices };
        assert!(facts(Verdict::Limited, Some(Prices::TYPICAL)).ready());
        assert!(facts(Verdict::Unknown, Some(Prices::TYPICAL)).ready());
        assert!(!facts(Verdict::Missing, Some(Prices::TYPICAL)).ready());
        assert!(!facts(Verdict::Good, None).ready());
    }
}
