//! What a configuration file says, before anybody knows what it means: the same for INI and TOML.

/// A piece of text and the line of the file that it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Text, line by line; a list in it is separated by commas or line breaks.
    Text(Vec<Line>),
    /// A list whose items the format itself separates.
    Items(Vec<Line>),
    /// Names and their values.
    Table(Vec<(Line, Raw)>),
}

impl Raw {
    /// A text of one or several lines, the first of them on line `number`.
    pub(crate) fn text(number: usize, text: &str) -> Self {
        Self::Text(
            text.split('\n').zip(number..).map(|(text, number)| Line { number, text: text.to_owned() }).collect(),
        )
    }

    /// The first line of the value, where it has one.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::Text(lines) | Self::Items(lines) => lines.first().map(|line| line.number),
            Self::Table(rows) => rows.first().map(|(name, _)| name.number),
        }
    }

    /// The value with `change` applied to each text in it.
    pub(crate) fn try_map<E>(self, change: &mut impl FnMut(Line) -> Result<Line, E>) -> Result<Self, E> {
        Ok(match self {
            Self::Text(lines) => Self::Text(lines.into_iter().map(change).collect::<Result<_, _>>()?),
            Self::Items(lines) => Self::Items(lines.into_iter().map(change).collect::<Result<_, _>>()?),
            Self::Table(rows) => {
                let rows = rows.into_iter().map(|(name, raw)| Ok((name, raw.try_map(change)?)));
                Self::Table(rows.collect::<Result<_, _>>()?)
            }
        })
    }
}

/// `name = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Line,
    pub(crate) raw: Raw,
    /// Comes from the section `[DEFAULT]`, whose entries stand in every section.
    pub(crate) inherited: bool,
}

/// A section and its entries, as they follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The name between the brackets.
    pub(crate) name: Line,
    pub(crate) entries: Vec<Entry>,
}

/// Why a file cannot be understood at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) text: String,
}
