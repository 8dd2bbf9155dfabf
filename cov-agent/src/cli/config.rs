//! `cov-agent config`: each effective value and where it comes from.

use super::console::{Console, DIM};
use super::data_args::ConfigArgs;
use super::exit::Exit;
use super::message::{Message, one_line};
use super::stdout;
use crate::config::{DEFAULT, Loaded, Origin};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

/// Prints the settings.
pub(super) fn config(args: &ConfigArgs, loaded: &Loaded, console: Console) -> Result<Exit, Message> {
    let text = if args.default {
        DEFAULT.to_owned()
    } else if args.json {
        as_json(loaded)
    } else {
        table(loaded, console)
    };
    stdout::print(&text)
}

/// `key = value`, and the origin behind it.
fn table(loaded: &Loaded, console: Console) -> String {
    let rows: Vec<(String, &Origin)> = loaded
        .settings
        .rows()
        .into_iter()
        .map(|(key, value, origin)| (one_line(&format!("{} = {value}", key.name)).trim_end().to_owned(), origin))
        .collect();
    // A long value must not push all origins to the right.
    let width = rows.iter().map(|(text, _)| text.width()).filter(|width| *width <= 48).max().unwrap_or(0);
    let mut out = match &loaded.file {
        Some(file) => format!("configuration file: {}\n", one_line(&file.display().to_string())),
        None => "no configuration file\n".to_owned(),
    };
    for (text, origin) in rows {
        let space = " ".repeat(width.saturating_sub(text.width()));
        let origin = one_line(&format!("({origin})"));
        let origin = if matches!(origin.as_str(), "(default)") { console.paint(DIM, &origin) } else { origin };
        out.push_str(&format!("{text}{space}  {origin}\n"));
    }
    out
}

fn as_json(loaded: &Loaded) -> String {
    let rows = loaded
        .settings
        .rows()
        .into_iter()
        .map(|(key, value, origin)| (key.name.to_owned(), json!({ "value": value, "origin": origin.to_string() })));
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let value = json!({ "file": file, "keys": Value::Object(rows.collect::<Map<_, _>>()) });
    format!("{value:#}\n")
}
