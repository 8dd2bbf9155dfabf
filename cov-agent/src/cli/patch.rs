//! Which lines a patch touches, as `git diff -U0` tells it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The lines that are new or changed, by path relative to the repository, in the order of the file.
pub(super) type Touched = BTreeMap<String, Vec<RangeInclusive<u32>>>;

/// A patch that is not what git prints.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the patch is not what 'git diff' prints: {text}")]
pub(super) struct PatchError {
    line: usize,
    text: String,
}

/// The lines that `patch` adds or changes. Deleted lines touch nothing that is left; with `neighbours`, the lines
/// before and after them.
pub(super) fn parse(patch: &[u8], neighbours: bool) -> Result<Touched, PatchError> {
    let mut touched = Touched::new();
    let mut path: Option<String> = None;
    // Lines of the hunk that are still to come: they may look like anything.
    let (mut old, mut new) = (0u32, 0u32);
    for (number, line) in (1..).zip(patch.split(|byte| *byte == b'\n')) {
        match line.first() {
            Some(b'-') if old > 0 => old -= 1,
            Some(b'+') if new > 0 => new -= 1,
            Some(b'\\') => {}
            _ if line.starts_with(b"+++ ") => path = target(line.get(4..).unwrap_or_default()),
            _ if line.starts_with(b"@@ ") => {
                let Some((before, after)) = hunk(line) else {
                    let text = String::from_utf8_lossy(line).chars().take(80).collect();
                    return Err(PatchError { line: number, text });
                };
                old = before.1;
                new = after.1;
                if let (Some(path), Some(last)) = (&path, after.1.checked_sub(1)) {
                    let lines = touched.entry(path.clone()).or_default();
                    lines.push(after.0..=after.0.saturating_add(last));
                } else if let (Some(path), true) = (&path, neighbours) {
                    let lines = touched.entry(path.clone()).or_default();
                    lines.push(after.0.max(1)..=after.0.saturating_add(1));
                }
            }
            _ => {}
        }
    }
    Ok(touched)
}

/// The first line and the number of lines, before and after.
type Hunk = ((u32, u32), (u32, u32));

/// `@@ -1,2 +3,4 @@`.
fn hunk(line: &[u8]) -> Option<Hunk> {
    let text = std::str::from_utf8(line.strip_prefix(b"@@ ")?.split(|byte| *byte == b'@').next()?).ok()?;
    let (before, after) = text.trim_end().split_once(' ')?;
    let span = |text: &str| {
        let (first, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((first.parse().ok()?, count.parse().ok()?))
    };
    Some((span(before.strip_prefix('-')?)?, span(after.strip_prefix('+')?)?))
}

/// The path behind `+++ `; nothing for a file that is deleted.
fn target(name: &[u8]) -> Option<String> {
    // A tab ends a name that has blanks in it.
    let name = name.strip_suffix(b"\r").unwrap_or(name);
    let name = name.strip_suffix(b"\t").unwrap_or(name);
    let name = match name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) {
        Some(quoted) => unquote(quoted),
        None => name.to_vec(),
    };
    let name = name.strip_prefix(b"b/")?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// A name that git quoted as C quotes text.
fn unquote(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(first @ b'0'..=b'3') => {
                let octal = bytes.by_ref().take(2).fold(u32::from(first - b'0'), |value, digit| {
                    value.wrapping_mul(8).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
                });
                out.push(u8::try_from(octal).unwrap_or(b'?'));
            }
            Some(letter) => out.push(match letter {
                b'a' => 7,
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                other => other,
            }),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(patch: &str) -> Vec<String> {
        let lines = |lines: &Vec<RangeInclusive<u32>>| {
            lines.iter().map(|r| format!("{}-{}", r.start(), r.end())).collect::<Vec<_>>().join(" ")
        };
        parse(patch.as_bytes(), false).unwrap().iter().map(|(path, l)| format!("{path}: {}", lines(l))).collect()
    }

    #[test]
    fn added_and_changed_lines_are_touched() {
        let patch = "diff --git a/src/a.c b/src/a.c
index 1..2 100644
--- a/src/a.c
+++ b/src/a.c
@@ -3 +3,2 @@ int f()
-old
+new
+++ b/not-a-file
@@ -10,2 +11,0 @@
-gone
--- a/not-a-file
@@ -20,0 +20 @@
+last
\\ No newline at end of file
diff --git a/gone.c b/gone.c
deleted file mode 100644
--- a/gone.c
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/b c.c b/b c.c
--- a/b c.c\t
+++ b/b c.c\t
@@ -0,0 +1,3 @@
+@@ -1 +1 @@
+x
+y
diff --git \"a/\\303\\274\\\"\\t.c\" \"b/\\303\\274\\\"\\t.c\"
--- \"a/\\303\\274\\\"\\t.c\"
+++ \"b/\\303\\274\\\"\\t.c\"
@@ -7 +7 @@
-x
+y
diff --git a/bin b/bin
Binary files a/bin and b/bin differ
";
        assert_eq!(show(patch), ["b c.c: 1-3", "src/a.c: 3-4 20-20", "ü\"\t.c: 7-7"]);
        assert!(show("").is_empty());
    }

    #[test]
    fn what_is_no_patch_is_an_error() {
        let error = parse(b"+++ b/a\n@@ x @@\n", false).unwrap_err().to_string();
        assert_eq!(error, "line 2 of the patch is not what 'git diff' prints: @@ x @@");
        let huge = "+++ b/a\n@@ -1 +4294967295,4294967295 @@\n";
        assert_eq!(show(huge), ["a: 4294967295-4294967295"]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(patch in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&patch, true);
            let mut quoted = b"+++ \"b/".to_vec();
            quoted.extend(patch);
            quoted.push(b'"');
            let _ = parse(&quoted, false);
        }
    }
}
