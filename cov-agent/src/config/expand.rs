//! Environment variables in values, as coverage.py replaces them.

/// Replaces `$NAME`, `${NAME}`, `${NAME-default}` and `${NAME?}` by what `variable` says, and `$$`
/// by a dollar sign. A variable that is not set is empty; any other dollar sign stays.
///
/// # Errors
///
/// The name of a variable that is not set and is written `${NAME?}`.
pub(crate) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        out.push_str(before);
        let after = dollar.get(1..).unwrap_or_default();
        rest = match Reference::at(after) {
            Some((Reference::Dollar, rest)) => {
                out.push('$');
                rest
            }
            Some((Reference::Variable { name, absent }, rest)) => {
                match (variable(name), absent) {
                    (Some(value), _) => out.push_str(&value),
                    (None, Absent::Is(default)) => out.push_str(default),
                    (None, Absent::Error) => return Err(name.to_owned()),
                }
                rest
            }
            None => {
                out.push('$');
                after
            }
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands behind a dollar sign.
enum Reference<'a> {
    Dollar,
    Variable { name: &'a str, absent: Absent<'a> },
}

/// What a variable that is not set is worth.
enum Absent<'a> {
    Is(&'a str),
    Error,
}

impl<'a> Reference<'a> {
    /// The reference that `text` begins with, and what follows it.
    fn at(text: &'a str) -> Option<(Self, &'a str)> {
        if let Some(rest) = text.strip_prefix('$') {
            return Some((Self::Dollar, rest));
        }
        if let Some(inner) = text.strip_prefix('{') {
            let (name, rest) = word(inner)?;
            if let Some(rest) = rest.strip_prefix('}') {
                return Some((Self::Variable { name, absent: Absent::Is("") }, rest));
            }
            if let Some(rest) = rest.strip_prefix("?}") {
                return Some((Self::Variable { name, absent: Absent::Error }, rest));
            }
            let (default, rest) = rest.strip_prefix('-')?.split_once('}')?;
            return Some((Self::Variable { name, absent: Absent::Is(default) }, rest));
        }
        let (name, rest) = word(text)?;
        Some((Self::Variable { name, absent: Absent::Is("") }, rest))
    }
}

/// The word that `text` begins with, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_coverage_py_does_it() {
        let variable = |name: &str| (name == "A").then(|| "1$A".to_owned());
        let cases = [
            ("x$A-${A}y", "x1$A-1$Ay"),
            ("$B|${B}|${B-}|${B-a b}|${A-no}", "|||a b|1$A"),
            ("$$A $", "$A $"),
            (r"^(#|$) ${ ${} ${A ${A+1} $-", r"^(#|$) ${ ${} ${A ${A+1} $-"),
            ("${A?}", "1$A"),
            ("$AB", ""),
            ("$ü.", "."),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, variable).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("x${B?}", variable), Err("B".to_owned()));
    }
}
