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
        let cgroup = args.cgroup.as_ref().map(|path| {
            let path = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path);
            Path::new("/").join(path.strip_prefix("/").unwrap_or(path))
        });
        if let Some(cgroup) = &cgroup
            && !Path::new("/sys/fs/cgroup").join(cgroup.strip_prefix("/").unwrap_or(cgroup)).is_dir()
        {
            return Err(usage(format!("--cgroup {}: there is no such group below /sys/fs/cgroup", cgroup.display())));
        }
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
