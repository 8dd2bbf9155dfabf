//! The reference of the keys, made from the default file and the table.

use super::keys::{Form, KEYS, Key};
use std::fmt::Write as _;

/// A key as the default file explains it.
pub(crate) struct Explained {
    pub(crate) key: &'static Key,
    /// What it means.
    pub(crate) text: String,
    /// A line that a file could have.
    pub(crate) example: String,
    /// The default, as written.
    pub(crate) default: String,
}

/// Every key of the table with its explanation, as far as the default file has one.
pub(crate) fn explained() -> Vec<Explained> {
    let lines: Vec<&str> = super::DEFAULT.lines().collect();
    let explain = |key: &'static Key| {
        let at = lines.iter().position(|line| line.split_once('=').is_some_and(|(name, _)| name.trim() == key.name))?;
        let (before, rest) = lines.split_at_checked(at)?;
        let comment = before.iter().rev().map_while(|line| line.strip_prefix("# ")).collect::<Vec<_>>();
        let (mut text, mut example) = (Vec::new(), String::new());
        for line in comment.into_iter().rev() {
            match line.strip_prefix("Example: ") {
                Some(line) => example = line.to_owned(),
                None => text.push(line),
            }
        }
        let (first, more) = rest.split_first()?;
        let first = first.split_once('=')?.1.trim();
        let more = more.iter().take_while(|line| line.starts_with(' ')).map(|line| line.trim());
        let default = std::iter::once(first).chain(more).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        Some(Explained { key, text: text.join("\n"), example, default })
    };
    KEYS.iter().filter_map(explain).collect()
}

/// The reference as Markdown: for each key what it means, its default, its names, an example.
#[must_use]
pub fn reference() -> String {
    let mut out = String::new();
    for Explained { key, text, example, default } in explained() {
        let allowed = (key.allowed)();
        let default = match default.as_str() {
            "" => "nothing".to_owned(),
            text => text.lines().map(|line| format!("`{line}`")).collect::<Vec<_>>().join("<br>"),
        };
        let option = key.option.map_or_else(|| "none".to_owned(), |option| format!("`{option}`"));
        let aliases = key.coverage.iter().copied().flatten().map(|alias| match alias.form {
            Form::Section => format!("section `[{}]`", alias.section),
            _ => format!("`[{}] {}`", alias.section, alias.name),
        });
        let aliases = aliases.collect::<Vec<_>>().join(", ");
        let aliases = if aliases.is_empty() { "none".to_owned() } else { aliases };
        let _ = write!(
            out,
            "\n### `{name}`\n\n{text}\n\n| | |\n|---|---|\n| allowed | {allowed} |\n| default | {default} |\n\
             | environment | `{environment}` |\n| command line | {option} |\n| coverage.py | {aliases} |\n\n\
             ```ini\n[cov-agent]\n{example}\n```\n",
            name = key.name,
            text = text.replace('*', "\\*").replace('<', "\\<"),
            default = default.replace('|', "\\|"),
            allowed = allowed.replace('|', "\\|"),
            environment = key.environment(),
        );
    }
    out
}
