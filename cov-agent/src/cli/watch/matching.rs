//! Which processes, and which files, `cov-agent watch` measures.

use crate::cli::args::WatchArgs;
use crate::cli::message::{Message, Slug};
use crate::process::User;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::fs;
use std::path::{Path, PathBuf};

/// What was asked for; all of it must match.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Matching {
    /// Files; any if there is none.
    objects: Option<GlobSet>,
    /// Where the files can lie, as far as their patterns say.
    roots: Vec<PathBuf>,
    /// The group of processes and those below it, as the kernel writes its path.
    cgroup: Option<PathBuf>,
    user: Option<u32>,
}

impl Matching {
    pub(super) fn new(args: &WatchArgs) -> Result<Self, Message> {
        let usage = |text: String| Message::new(Slug::Usage, text);
        let mut set = GlobSetBuilder::new();
        for pattern in &args.object {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|error| usage(format!("--object {pattern}: {}", error.kind())))?);
        }
        let objects = set.build().map_err(|error| usage(format!("--object: {error}")))?;
        let user = args.user.as_ref().map(|name| User::named(name.as_ref())).transpose();
        let user = user.map_err(|error| Message::new(Slug::NoSuchUser, error))?;
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let cgroup = args.cgroup.as_ref().map(|path| {
            let none = || usage(format!("--cgroup {}: there is no such group below /sys/fs/cgroup", path.display()));
            group(path, &mounts(), Path::is_dir).ok_or_else(none)
        });
        let cgroup = cgroup.transpose()?;
        Ok(Self {
            objects: (!objects.is_empty()).then_some(objects),
            roots: args.object.iter().map(|pattern| literal(pattern)).collect(),
            cgroup,
            user: user.map(|user| user.identity.uid.as_raw()),
        })
    }

    /// Whether a file may be measured.
    pub(in crate::cli) fn object(&self, path: &Path) -> bool {
        self.objects.as_ref().is_none_or(|objects| objects.is_match(path))
    }

    /// Whether a process may be measured.
    pub(in crate::cli) fn process(&self, pid: u32) -> bool {
        let user = || fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| user_of(&status));
        let groups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self.user.is_none_or(|wanted| user() == Some(wanted))
            && self.cgroup.as_ref().is_none_or(|wanted| is_in(&groups(), wanted))
    }

    /// The directories below which all wanted files lie, where that is known.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(PathBuf::as_path).filter(|root| *root != Path::new("/") && root.is_absolute())
    }
}

/// The directory of a pattern up to its first special character.
fn literal(pattern: &str) -> PathBuf {
    let end = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    let plain = pattern.get(..end).unwrap_or_default();
    let directory = plain.rfind('/').map_or("", |slash| plain.get(..slash.max(1)).unwrap_or_default());
    PathBuf::from(directory)
}

/// The real user of a process, out of its status (proc_pid_status(5)).
fn user_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// The control group of a directory, as the kernel names it: `path` is below where a hierarchy is mounted, as
/// `mounts` (proc_pid_mountinfo(5)) say, or goes on from there. `None` if there is no such directory.
fn group(path: &Path, mounts: &str, is_there: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let hierarchies = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = fields.iter().skip_while(|field| **field != "-").nth(1)?;
        let of_groups = ["cgroup", "cgroup2"].contains(kind);
        of_groups.then_some((Path::new(*fields.get(3)?), Path::new(*fields.get(4)?)))
    });
    let found = hierarchies.filter_map(|(root, point)| {
        let below = path.strip_prefix(point).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
        is_there(&point.join(below)).then(|| (path.starts_with(point), root.join(below)))
    });
    found.max_by_key(|(given, _)| *given).map(|(_, group)| group)
}

/// Whether one of the groups (proc_pid_cgroup(5)) is `wanted` or lies below it.
fn is_in(groups: &str, wanted: &Path) -> bool {
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| Path::new(path).starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_begin_somewhere() {
        for (pattern, root) in [
            ("/srv/ci/**/test_*", "/srv/ci"),
            ("/srv/a{b,c}", "/srv"),
            ("**/x", ""),
            ("/x", "/"),
            ("/srv/bin/x", "/srv/bin"),
        ] {
            assert_eq!(literal(pattern), Path::new(root), "{pattern}");
        }
    }

    #[test]
    fn processes_are_known_by_user_and_group() {
        assert_eq!(user_of("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t1\n"), Some(1000));
        assert_eq!(user_of("Name:\tx\n"), None);
        let groups = "12:cpu:/other\n0::/ci.slice/run-7.scope\n";
        assert!(is_in(groups, Path::new("/ci.slice")) && is_in(groups, Path::new("/ci.slice/run-7.scope")));
        assert!(is_in(groups, Path::new("/")) && is_in(groups, Path::new("/other")));
        assert!(
            !is_in(groups, Path::new("/ci.slice/run"))
                && !is_in(groups, Path::new("/ci"))
                && !is_in("", Path::new("/"))
        );
    }

    #[test]
    fn groups_are_found_where_hierarchies_are_mounted() {
        let mounts = "30 1 0:9 / /proc rw - proc proc rw\n31 1 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 1 0:27 /box /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        let there = ["/sys/fs/cgroup/unified/ci.slice/a", "/sys/fs/cgroup/cpu/b"];
        let group = |path: &str| group(Path::new(path), mounts, |path| there.iter().any(|one| path == Path::new(one)));
        for path in ["/sys/fs/cgroup/unified/ci.slice/a", "/ci.slice/a", "ci.slice/a"] {
            assert_eq!(group(path), Some("/box/ci.slice/a".into()), "{path}");
        }
        assert_eq!(group("/sys/fs/cgroup/cpu/b"), Some("/b".into()));
        assert_eq!(group("/sys/fs/cgroup/cpu/ci.slice/a"), None);
        assert_eq!(group("/proc/b"), None);
    }

    #[test]
    fn all_must_match() {
        let args = |object: &[&str], user: Option<&str>| WatchArgs {
            object: object.iter().map(ToString::to_string).collect(),
            user: user.map(str::to_owned),
            ..WatchArgs::default()
        };
        let own = nix::unistd::getuid().to_string();
        let matching = Matching::new(&args(&["/srv/*/bin/*"], Some(&own))).unwrap();
        assert!(matching.object(Path::new("/srv/a/bin/x")) && !matching.object(Path::new("/srv/a/b/bin/x")));
        assert!(matching.process(std::process::id()) && !matching.process(u32::MAX));
        assert_eq!(matching.roots().collect::<Vec<_>>(), [Path::new("/srv")]);
        let any = Matching::new(&args(&[], Some("4294967294"))).unwrap_err();
        assert_eq!(any.slug, Slug::NoSuchUser);
        assert_eq!(Matching::new(&args(&["/a[", "b"], None)).unwrap_err().slug, Slug::Usage);
        let none = WatchArgs { cgroup: Some("/no/such group".into()), ..WatchArgs::default() };
        assert!(Matching::new(&none).unwrap_err().text.contains("/no/such group"));
    }
}
