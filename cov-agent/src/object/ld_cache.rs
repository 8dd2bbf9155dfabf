//! `/etc/ld.so.cache`: where `ldconfig` found which library.
//!
//! Format: glibc's `sysdeps/generic/dl-cache.h`. Today's starts with its magic; until glibc 2.31 an
//! older table, which nothing reads any more, came before it.

use super::elf::text;
use super::paths::to_path;
use std::path::{Path, PathBuf};

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// `FLAG_X86_64_LIB64 | FLAG_ELF_LIBC6`.
const X86_64_LIBRARY: i32 = 0x0303;

/// The entries for 64-bit x86 libraries.
#[derive(Debug, Default)]
pub(super) struct LdCache {
    /// Names and paths, as they stand in the file: the better variants of one name first.
    entries: Vec<(String, PathBuf)>,
}

impl LdCache {
    /// Reads a cache. What is damaged has no entries: the default directories are searched anyway.
    pub(super) fn parse(data: &[u8]) -> Self {
        Self { entries: parse(data).unwrap_or_default() }
    }

    /// The libraries of that name, best first: variants for a processor (`glibc-hwcaps/NAME`) only if
    /// it is among `hwcaps`, which are in the order of preference.
    pub(super) fn find(&self, name: &str, hwcaps: &[&str]) -> Vec<&Path> {
        let rank = |path: &Path| match variant(path) {
            None => Some(hwcaps.len()),
            Some(variant) => hwcaps.iter().position(|h| *h == variant),
        };
        let named = self.entries.iter().filter(|(n, _)| n == name);
        let mut found: Vec<_> = named.filter_map(|(_, path)| Some((rank(path)?, path.as_path()))).collect();
        found.sort_by_key(|&(rank, _)| rank);
        found.into_iter().map(|(_, path)| path).collect()
    }
}

/// The processor that a path's library was built for.
fn variant(path: &Path) -> Option<&str> {
    let mut parts = path.iter().skip_while(|part| *part != "glibc-hwcaps").skip(1);
    parts.next()?.to_str()
}

fn parse(file: &[u8]) -> Option<Vec<(String, PathBuf)>> {
    let mut data = file;
    if data.starts_with(OLD_MAGIC) {
        let count = usize::try_from(number(data, 12)?).ok()?;
        let end = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
        data = data.get(end.checked_next_multiple_of(8)?..)?;
    }
    if !data.starts_with(MAGIC) {
        return None;
    }
    let count = usize::try_from(number(data, MAGIC.len())?).ok()?;
    let table = data.get(HEADER..HEADER.checked_add(count.checked_mul(ENTRY)?)?)?;
    let mut entries = Vec::new();
    for entry in table.as_chunks::<ENTRY>().0 {
        if number(entry, 0)?.cast_signed() == X86_64_LIBRARY {
            // Positions are counted from the header that has the magic.
            let (name, path) = (string(data, number(entry, 4)?)?, string(data, number(entry, 8)?)?);
            entries.push((text(name), to_path(path)));
        }
    }
    Some(entries)
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

/// The string at a position; none is longer than a path may be.
fn string(data: &[u8], at: u32) -> Option<&[u8]> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..super::units::MAX_PATH).unwrap_or(rest);
    rest.get(..rest.iter().position(|&b| b == 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A cache of today's format, with `old` entries of the older one before it.
    fn cache(old: Option<u32>, entries: &[(i32, &str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(count) = old {
            out.extend_from_slice(OLD_MAGIC);
            out.extend(count.to_le_bytes());
            out.resize((OLD_HEADER + count as usize * OLD_ENTRY).next_multiple_of(8), 0);
        }
        let mut table = Vec::new();
        let mut strings = Vec::new();
        let mut place = |s: &str| {
            let at = HEADER + entries.len() * ENTRY + strings.len();
            strings.extend_from_slice(s.as_bytes());
            strings.push(0);
            u32::try_from(at).unwrap().to_le_bytes()
        };
        for (flags, name, path) in entries {
            table.extend(flags.to_le_bytes());
            table.extend(place(name));
            table.extend(place(path));
            table.extend([0; 12]);
        }
        out.extend_from_slice(MAGIC);
        out.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        out.extend([0; HEADER - 24]);
        out.extend(table);
        out.extend(strings);
        out
    }

    const ENTRIES: [(i32, &str, &str); 5] = [
        (X86_64_LIBRARY, "libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1"),
        (X86_64_LIBRARY, "libm.so.6", "/lib/glibc-hwcaps/x86-64-v2/libm.so.6"),
        (X86_64_LIBRARY, "libm.so.6", "/lib/glibc-hwcaps/x86-64-v3/libm.so.6"),
        (X86_64_LIBRARY, "libm.so.6", "/lib/libm.so.6"),
        (3, "libz.so.1", "/lib32/libz.so.1"),
    ];

    #[test]
    fn both_formats_and_only_64_bit() {
        for old in [None, Some(0), Some(3)] {
            let cache = LdCache::parse(&cache(old, &ENTRIES));
            assert_eq!(cache.find("libz.so.1", &[]), [Path::new("/lib/x86_64-linux-gnu/libz.so.1")]);
            assert_eq!(cache.find("libx.so", &[]), [] as [&Path; 0]);
        }
    }

    #[test]
    fn variants_for_processors() {
        let cache = LdCache::parse(&cache(None, &ENTRIES));
        let find = |hwcaps: &[&str]| cache.find("libm.so.6", hwcaps)[0].to_str().unwrap().to_owned();
        assert_eq!(find(&[]), "/lib/libm.so.6");
        assert_eq!(find(&["x86-64-v2"]), "/lib/glibc-hwcaps/x86-64-v2/libm.so.6");
        assert_eq!(find(&["x86-64-v3", "x86-64-v2"]), "/lib/glibc-hwcaps/x86-64-v3/libm.so.6");
    }

    #[test]
    fn the_cache_of_this_machine_says_what_ldconfig_says() {
        let cache = LdCache::parse(&std::fs::read("/etc/ld.so.cache").unwrap());
        let output = std::process::Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let mut expected = Vec::new();
        for line in printed.lines().filter(|l| l.contains("(libc6,x86-64") && !l.contains("hwcap")) {
            let (name, path) = (line.split_whitespace().next().unwrap(), line.rsplit("=> ").next().unwrap());
            expected.push((name.to_owned(), PathBuf::from(path)));
        }
        assert!(expected.len() > 10);
        assert_eq!(cache.entries.iter().filter(|e| variant(&e.1).is_none()).cloned().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..400, byte: u8, len in 0usize..500) {
            let mut bytes = cache(Some(1), &ENTRIES);
            if let Some(b) = bytes.get_mut(at) { *b = byte; }
            bytes.truncate(len);
            LdCache::parse(&bytes).find("libz.so.1", &[]);
        }
    }
}
