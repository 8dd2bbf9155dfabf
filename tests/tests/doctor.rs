//! `cov-agent doctor`: exact verdicts as root, as somebody without privileges, and inside a user
//! namespace, where capabilities are not worth anything to the kernel's programs.

use cov_tests::{agent_path, kernel};
use serde_json::Value;
use std::process::{Command, Output};

/// The agent behind `wrapper`, with `doctor` and `args`.
fn doctor(wrapper: &[&str], args: &[&str]) -> Output {
    let mut words = wrapper.iter().map(std::convert::AsRef::as_ref).chain([agent_path().as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg("doctor").args(args).current_dir("/").env_remove("NO_COLOR").output().unwrap()
}

/// Its exit code and what `--json` printed; nothing on stderr.
fn json(wrapper: &[&str]) -> (i32, Value) {
    let output = doctor(wrapper, &["--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The names and verdicts, in order.
fn verdicts(json: &Value) -> Vec<(&str, &str)> {
    let facts = json["facts"].as_array().unwrap();
    facts.iter().map(|fact| (fact["name"].as_str().unwrap(), fact["verdict"].as_str().unwrap())).collect()
}

fn fact<'a>(json: &'a Value, name: &str) -> &'a Value {
    json["facts"].as_array().unwrap().iter().find(|fact| fact["name"] == name).unwrap()
}

/// What is the same whoever asks.
fn machine() -> [(&'static str, &'static str); 5] {
    let known = std::fs::read_to_string("/proc/mounts").unwrap().contains(" securityfs ");
    let lockdown = if known { "ok" } else { "unknown" };
    [("machine", "ok"), ("kernel", "ok"), ("btf", "ok"), ("lockdown", lockdown), ("perf_event_paranoid", "ok")]
}

#[test]
fn as_root_everything_is_there() {
    if !kernel() {
        return;
    }
    let (code, json) = json(&[]);
    assert_eq!((code, &json["version"], &json["ready"]), (0, &1.into(), &true.into()), "{json:#}");
    let rest = [
        ("user_namespace", "ok"),
        ("CAP_BPF", "ok"),
        ("CAP_PERFMON", "ok"),
        ("CAP_SYS_PTRACE", "ok"),
        ("CAP_SYS_ADMIN", "ok"),
        ("memlock", "ok"),
        ("fanotify", "ok"),
        ("proc_mem", "ok"),
        ("uprobe.multi", "ok"),
        ("probe", "ok"),
    ];
    assert_eq!(verdicts(&json), [&machine()[..], &rest].concat(), "{json:#}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(fact(&json, "kernel")["found"], format!("Linux {}", release.trim()));
    assert_eq!(fact(&json, "probe")["found"], "fires on the agent itself");
    let price = |kind: &str| json["hit_ns"][kind].as_u64().unwrap();
    let (emulated, single_stepped) = (price("emulated"), price("single_stepped"));
    assert!(50 < emulated && emulated < single_stepped && single_stepped < 1_000_000, "{json:#}");
}

/// Two capabilities are enough, and what is limited does not fail it.
#[test]
fn two_capabilities_are_enough() {
    if !kernel() {
        return;
    }
    let caps = "+bpf,+perfmon";
    let wrapper =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", caps, "--ambient-caps", caps];
    let (code, json) = json(&wrapper);
    assert_eq!((code, &json["ready"]), (0, &true.into()), "{json:#}");
    let rest = [
        ("user_namespace", "ok"),
        ("CAP_BPF", "ok"),
        ("CAP_PERFMON", "ok"),
        ("CAP_SYS_PTRACE", "limited"),
        ("CAP_SYS_ADMIN", "limited"),
        ("memlock", "ok"),
        ("fanotify", "unknown"),
        ("proc_mem", "ok"),
        ("uprobe.multi", "ok"),
        ("probe", "ok"),
    ];
    assert_eq!(verdicts(&json), [&machine()[..], &rest].concat(), "{json:#}");
}

#[test]
fn without_privileges_it_says_what_could_not_be_checked() {
    if !kernel() {
        return;
    }
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let (code, json) = json(&nobody);
    assert_eq!((code, &json["ready"], &json["hit_ns"]), (1, &false.into(), &Value::Null), "{json:#}");
    let rest = [
        ("user_namespace", "ok"),
        ("CAP_BPF", "missing"),
        ("CAP_PERFMON", "missing"),
        ("CAP_SYS_PTRACE", "limited"),
        ("CAP_SYS_ADMIN", "limited"),
        ("memlock", "ok"),
        ("fanotify", "unknown"),
        ("proc_mem", "ok"),
        ("uprobe.multi", "unknown"),
        ("probe", "unknown"),
    ];
    assert_eq!(verdicts(&json), [&machine()[..], &rest].concat(), "{json:#}");

    let text = doctor(&nobody, &[]);
    assert_eq!(text.status.code(), Some(1));
    let text = String::from_utf8(text.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for line in [
        "missing  CAP_BPF              no",
        "                              run as root, or with this capability: it loads the kernel programs",
        "unknown  probe                not checked",
        "                              trying needs CAP_BPF and CAP_PERFMON",
        "Programs cannot be measured: see what is missing.",
    ] {
        assert!(lines.contains(&line), "{line:?} is not in\n{text}");
    }
}

/// Root of a user namespace has every capability by name, and somebody who is not mapped has none:
/// neither can arm a probe.
#[test]
fn inside_a_user_namespace_nothing_can_be_measured() {
    if !kernel() {
        return;
    }
    for unshare in [&["unshare", "--user"][..], &["unshare", "--user", "--map-root-user"]] {
        let (code, json) = json(unshare);
        assert_eq!((code, &json["ready"]), (1, &false.into()), "{json:#}");
        let rest = [
            ("user_namespace", "missing"),
            ("CAP_BPF", "missing"),
            ("CAP_PERFMON", "missing"),
            ("CAP_SYS_PTRACE", "limited"),
            ("CAP_SYS_ADMIN", "limited"),
            ("memlock", "ok"),
            ("fanotify", "unknown"),
            ("proc_mem", "ok"),
            ("uprobe.multi", "unknown"),
            ("probe", "unknown"),
        ];
        assert_eq!(verdicts(&json), [&machine()[..], &rest].concat(), "{unshare:?}: {json:#}");
        let remedy = fact(&json, "CAP_BPF")["remedy"].as_str().unwrap().to_owned();
        assert!(remedy.starts_with("run outside of the user namespace"), "{remedy}");
    }
}

#[test]
fn colours_mark_the_verdicts_only_where_they_are_wanted() {
    if !kernel() {
        return;
    }
    let text = |args: &[&str]| String::from_utf8(doctor(&[], args).stdout).unwrap();
    assert!(!text(&[]).contains('\x1b'), "a pipe is no terminal");
    assert!(text(&["--color", "always"]).contains("\x1b[32mok     \x1b[0m  machine"));
}
