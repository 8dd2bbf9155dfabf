use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

fn replace(dir: &OutputDir<'_>, name: &str, text: &str) -> Result<Vec<PathBuf>, OutputError> {
    dir.replace(vec![(name, |out: &mut dyn Write| out.write_all(text.as_bytes()))])
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn directories_are_made_and_files_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/../a/b");
    fs::create_dir(root.path().join("a")).unwrap();
    let dir = OutputDir::open(&path, &OwnRights).unwrap();
    dir.check().unwrap();
    assert_eq!(names(&path), [""; 0]);
    replace(&dir, "x", "one").unwrap();
    assert_eq!(replace(&dir, "x", "two").unwrap(), [path.join("x")]);
    assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "two");
    assert_eq!(names(&path), ["x"]);
}

#[test]
fn an_error_leaves_all_files_as_they_were() {
    let root = tempfile::tempdir().unwrap();
    let dir = OutputDir::open(root.path(), &OwnRights).unwrap();
    replace(&dir, "a", "old").unwrap();
    let write = |text: &'static str, fail: bool| {
        move |out: &mut dyn Write| {
            out.write_all(text.as_bytes())?;
            if fail { Err(Errno::NOSPC.into()) } else { Ok(()) }
        }
    };
    let error = dir.replace(vec![("a", write("new", false)), ("b", write("half", true))]).unwrap_err().to_string();
    assert!(error.contains("b: No space left on device"), "{error}");
    assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "old");
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn a_link_in_place_of_a_file_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (victim, out) = (root.path().join("victim"), root.path().join("out"));
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(&out).unwrap();
    symlink(&victim, out.join("x")).unwrap();
    replace(&OutputDir::open(&out, &OwnRights).unwrap(), "x", "text").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(out.join("x")).unwrap(), "text");
    assert!(!out.join("x").is_symlink());
}

#[test]
fn own_links_on_the_way_are_followed_and_circles_end() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("real/deep")).unwrap();
    symlink("real", root.path().join("relative")).unwrap();
    symlink(root.path().join("relative/deep"), root.path().join("absolute")).unwrap();
    symlink("circle", root.path().join("circle")).unwrap();
    replace(&OutputDir::open(root.path().join("absolute/new"), &OwnRights).unwrap(), "x", "text").unwrap();
    assert_eq!(fs::read_to_string(root.path().join("real/deep/new/x")).unwrap(), "text");
    let error = OutputDir::open(root.path().join("circle"), &OwnRights).err().unwrap().to_string();
    assert!(error.contains("Too many levels of symbolic links"), "{error}");
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let error = OutputDir::open(root.path().join("file/out"), &OwnRights).err().unwrap().to_string();
    assert!(error.contains("Not a directory"), "{error}");
    fs::create_dir(root.path().join("x")).unwrap();
    let error = replace(&OutputDir::open(root.path(), &OwnRights).unwrap(), "x", "").unwrap_err().to_string();
    assert!(error.contains("x: Is a directory"), "{error}");
    assert_eq!(names(root.path()), ["file", "x"]);
}

#[test]
fn leftovers_go_and_files_being_written_stay() {
    let root = tempfile::tempdir().unwrap();
    let dir = OutputDir::open(root.path(), &OwnRights).unwrap();
    let held = dir.temporary().unwrap();
    fs::write(root.path().join(".cov-agent-0.tmp"), "half").unwrap();
    drop(OutputDir::open(root.path(), &OwnRights).unwrap());
    assert_eq!(names(root.path()), std::slice::from_ref(&held.name));
    drop(held);
    assert_eq!(names(root.path()), [""; 0]);
}

/// Needs root: gives files to somebody else.
#[test]
fn foreign_links_are_refused_and_the_owner_is_set() {
    struct Sudo;
    impl Rights for Sudo {
        fn with(&self, act: &mut dyn FnMut()) -> io::Result<()> {
            act();
            Ok(())
        }
        fn owner(&self) -> Option<(u32, u32)> {
            Some((1234, 5678))
        }
    }
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("COV_REQUIRE_KERNEL").is_none(), "needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (link, out) = (root.path().join("link"), root.path().join("out"));
    symlink("/etc", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(4321), Some(4321)).unwrap();
    let error = OutputDir::open(link.join("x"), &OwnRights).err().unwrap();
    assert!(matches!(&error, OutputError::ForeignLink { owner: 4321, .. }), "{error}");
    replace(&OutputDir::open(&out, &Sudo).unwrap(), "x", "").unwrap();
    for path in [&out, &out.join("x")] {
        let stat = fs::metadata(path).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 5678), "{}", path.display());
    }
}

#[test]
fn what_another_agent_wrote_meanwhile_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("coverage_raw.dat"), "old").unwrap();
    let open = || OutputDir::open(root.path(), &OwnRights).unwrap();
    let [ours, theirs] = [open(), open()];
    replace(&theirs, "notes.txt", "no data").unwrap();
    assert!(!ours.changed());
    replace(&theirs, "coverage_raw.dat", "new").unwrap();
    assert!(ours.changed() && !open().changed());
}
