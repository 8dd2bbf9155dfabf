//! What marks say: the name of the test that begins at one.

use super::Prepared;
use crate::object::{LinkAddr, Segment};
use crate::plan::Framework;
use crate::probe::NumberedMark;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// The longest name that is looked for.
const MAX_NAME: u64 = 400;

/// A mark that was armed.
#[derive(Debug)]
struct Known {
    framework: Framework,
    addr: LinkAddr,
    name: Option<Arc<str>>,
    object: Arc<Object>,
}

/// What of an object is needed to name its tests.
#[derive(Debug)]
struct Object {
    /// The program as its framework calls it.
    stem: String,
    file: File,
    constants: Vec<Segment>,
}

/// The marks that were armed so far, by number.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Known>);

impl Marks {
    /// Gives numbers to the marks of an object; none when they are used up, or the file cannot be kept open.
    pub(super) fn number(&mut self, prepared: &Prepared) -> Vec<NumberedMark> {
        let Ok(file) = prepared.file.try_clone() else { return Vec::new() };
        let object = Arc::new(Object { stem: stem(&prepared.path), file, constants: prepared.constants.clone() });
        let mut numbered = Vec::new();
        for site in &prepared.marks {
            let Ok(number) = u16::try_from(self.0.len()) else { return Vec::new() };
            let (framework, addr, name) = (site.framework, site.addr, site.name.clone());
            self.0.push(Known { framework, addr, name, object: Arc::clone(&object) });
            numbered.push((site.clone(), number));
        }
        numbered
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the test that began when the mark `number` was reached at `address`, where `text` was found.
    pub(super) fn name(&self, number: u16, address: u64, text: &[Vec<u8>; 2]) -> Option<String> {
        let Known { framework, addr, name, object } = self.0.get(usize::from(number))?;
        let [first, second] = text.each_ref().map(|text| String::from_utf8_lossy(text));
        Some(match framework {
            Framework::GoogleTest if first.is_empty() || second.is_empty() => return None,
            Framework::GoogleTest => format!("{first}.{second}"),
            Framework::GoTest | Framework::Marker if first.is_empty() => return None,
            Framework::GoTest => format!("{}.{first}", object.stem),
            Framework::Marker => first.into_owned(),
            Framework::Mojo => name.as_deref()?.to_owned(),
            Framework::Libtest { .. } => {
                let [raw, _] = text;
                format!("{}::{}", object.stem, object.test(raw, address.wrapping_sub(addr.0))?)
            }
        })
    }
}

impl Object {
    /// The name of a test of libtest, out of what describes the test or what holds that. How it is laid out differs from
    /// version to version; but a name is the address and length of text that nobody writes to and that is the path of
    /// a function. (The other texts there are the path of a file, and messages.)
    fn test(&self, raw: &[u8], bias: u64) -> Option<String> {
        let word = |at: usize| raw.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes);
        let texts = (0..raw.len()).step_by(8).filter_map(|at| {
            let (address, length) = (word(at)?, word(at + 8)?);
            self.text(LinkAddr(address.wrapping_sub(bias)), length)
        });
        let paths: Vec<String> = texts.filter(|text| is_path(text)).collect();
        let nested = paths.iter().find(|text| text.contains("::"));
        nested.or(paths.first()).cloned()
    }

    /// Constant text.
    fn text(&self, addr: LinkAddr, length: u64) -> Option<String> {
        let segment = self.constants.iter().find(|segment| segment.range.contains(addr))?;
        if !(1..=MAX_NAME).contains(&length) || segment.range.end.0 - addr.0 < length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, segment.offset.0 + (addr.0 - segment.range.start.0)).ok()?;
        String::from_utf8(bytes).ok()
    }
}

/// Whether it may be the path of a function in Rust: `tests::adds`.
fn is_path(text: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.strip_prefix("r#").unwrap_or(name);
        name.starts_with(|c: char| c == '_' || c.is_alphabetic())
            && name.chars().all(|c| c == '_' || c.is_alphanumeric())
    };
    text.split("::").all(is_name)
}

/// What the program is called by who built it: without the hash that cargo adds, and what Go adds.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(name) = name.strip_suffix(".test") {
        return name.to_owned();
    }
    let hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('-') {
        Some((stem, end)) if hash(end) => stem.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{AddrRange, FileOffset};
    use std::io::Write as _;

    #[test]
    fn programs_are_called_as_their_builders_do() {
        let called = |path: &str| stem(Path::new(path));
        assert_eq!(called("/t/deps/my_crate-0123456789abcdef"), "my_crate");
        assert_eq!(called("/t/my-program"), "my-program");
        assert_eq!(called("/tmp/go-build1/b001/parse.test"), "parse");
    }

    #[test]
    fn paths_of_functions_are_told_from_other_text() {
        for path in ["adds", "tests::adds", "r#try::r#fn", "_a::b2", "prüfung::größe"] {
            assert!(is_path(path), "{path}");
        }
        for other in ["", "src/lib.rs", "lib.rs", "a b", "a:b", "::a", "2a", "must not be"] {
            assert!(!is_path(other), "{other}");
        }
    }

    /// A description with the path of a file, a message, and the name, at addresses that moved.
    #[test]
    fn the_name_is_found_wherever_it_lies() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"....overflowsrc/lib.rstests::adds").unwrap();
        let range = AddrRange { start: LinkAddr(0x1000), end: LinkAddr(0x1000 + 33) };
        let segment = Segment { range, offset: FileOffset(0), executable: false, writable: false };
        let object = Object { stem: "x".into(), file, constants: vec![segment] };
        let raw = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        let (overflow, path, name) = (0x5004, 0x500c, 0x5016);
        assert_eq!(object.test(&raw(&[7, overflow, 8, path, 10, name, 11, 0]), 0x4000).as_deref(), Some("tests::adds"));
        assert_eq!(object.test(&raw(&[path, 10, 3, overflow, 8]), 0x4000).as_deref(), Some("overflow"));
        assert_eq!(object.test(&raw(&[path, 10, name, 12, name, u64::MAX, u64::MAX, 4]), 0x4000), None);
        assert_eq!(object.test(b"short", 0), None);
    }
}
