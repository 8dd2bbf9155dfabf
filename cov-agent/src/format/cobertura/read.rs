//! Reading `cobertura.xml`, ours or any other tool's.

use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Snapshot, Way, paths};
use crate::format::error::Budget;
use crate::format::{Limits, ReadError};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::Path;

/// The longest text of one tag with its attributes, in bytes: what is held in memory at once.
const MAX_TAG: u64 = 1 << 20;

/// Reads a Cobertura report. Hits are exact counts; several classes of one file are added up. Of a line's branches it is
/// only known how many were taken: these become the first ones, taken at least once.
/// Relative names belong to the source directory, of several to the one where the file is, else to the first.
///
/// # Errors
/// Those of `input`; anything that is not well-formed XML in UTF-8 with the elements of Cobertura.
pub fn read(input: &mut dyn Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut xml = Reader::from_reader(BufReader::with_capacity(1 << 16, Metered { input, left: MAX_TAG }));
    xml.config_mut().expand_empty_elements = true;
    let mut report = Report::default();
    let mut buffer = Vec::new();
    let mut budget = Budget::new(limits);
    let mut files = 0;
    loop {
        xml.get_mut().get_mut().left = MAX_TAG;
        let at = xml.buffer_position();
        match xml.read_event_into(&mut buffer) {
            Ok(Event::Eof) => break,
            Ok(event) => report.event(event).map_err(|what| damaged(format!("{what} (at byte {at})")))?,
            Err(quick_xml::Error::Io(error)) => return Err(error_of(&error)),
            Err(error) => return Err(damaged(format!("{error} (at byte {})", xml.error_position()))),
        }
        budget.records(std::mem::take(&mut report.records))?;
        while files < report.files.len() {
            budget.file()?;
            files += 1;
        }
        buffer.clear();
    }
    if !report.within.is_empty() || !report.seen_root {
        return Err(damaged("it ends before </coverage>"));
    }
    Ok(Snapshot::of_runs([], BTreeSet::new(), Losses::default(), report.files))
}

fn damaged(what: impl Into<String>) -> ReadError {
    ReadError::damaged("Cobertura report", what)
}

fn error_of(error: &std::io::Error) -> ReadError {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return ReadError::TooBig(format!("a tag of more than {MAX_TAG} bytes"));
    }
    ReadError::Io(std::io::Error::new(error.kind(), error.to_string()))
}

/// Gives at most so many bytes until somebody allows more.
struct Metered<'a> {
    input: &'a mut dyn Read,
    left: u64,
}

impl Read for Metered<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(bytes)?;
        self.left = self.left.checked_sub(count as u64).ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(count)
    }
}

/// The elements that mean something, outermost first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Coverage,
    Source,
    Class,
    Methods,
    Method,
    Lines,
    Other,
}

#[derive(Default)]
struct Report {
    seen_root: bool,
    within: Vec<Element>,
    sources: Vec<String>,
    files: Vec<FileCoverage>,
    /// Lines since somebody counted.
    records: usize,
    /// The name of the method whose line comes next.
    method: Option<String>,
}

impl Report {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(_) => {
                self.within.pop();
                Ok(())
            }
            Event::Text(text) if self.within.last() == Some(&Element::Source) => self.source(&text.xml10_content()),
            Event::CData(text) if self.within.last() == Some(&Element::Source) => self.source(&text.xml10_content()),
            Event::GeneralRef(name) if self.within.last() == Some(&Element::Source) => {
                let char = name.resolve_char_ref().map_err(|error| error.to_string())?.map(String::from);
                let name = name.xml10_content();
                let text = char.or_else(|| resolve_predefined_entity(&name).map(str::to_owned));
                self.source(&text.ok_or_else(|| format!("the entity &{name}; is not known"))?)
            }
            _ => Ok(()),
        }
    }

    fn source(&mut self, text: &str) -> Result<(), String> {
        if let Some(source) = self.sources.last_mut() {
            source.push_str(text);
        }
        Ok(())
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        use Element::{Class, Coverage, Lines, Method, Methods, Other, Source};
        let parent = self.within.last().copied();
        let name = tag.name();
        let element = match (parent, name.as_ref()) {
            (None, "coverage") if !self.seen_root => Coverage,
            (None, name) => return Err(format!("<{name}> stands where <coverage> should")),
            (_, "source") => Source,
            (_, "class") => Class,
            (Some(Class), "methods") => Methods,
            (Some(Methods), "method") => Method,
            (Some(Class | Method), "lines") => Lines,
            _ => Other,
        };
        match element {
            Coverage => self.seen_root = true,
            Source => self.sources.push(String::new()),
            Class => {
                let path = self.path(&attribute(tag, "filename")?);
                self.files.push(FileCoverage::new(path));
            }
            Method => self.method = Some(attribute(tag, "name")?),
            Other if parent == Some(Lines) && name.as_ref() == "line" => self.line(tag)?,
            _ => {}
        }
        self.within.push(element);
        Ok(())
    }

    fn line(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        let line: u32 = number(tag, "number")?;
        let hits = ExecutionCounter::exact(number(tag, "hits")?);
        if line == 0 {
            return Err("line 0; lines count from 1".into());
        }
        let Some(file) = self.files.last_mut() else { return Ok(()) };
        self.records += 1;
        if self.within.contains(&Element::Method) {
            // The first line stands for the function; the others are among the class's own.
            if let Some(name) = self.method.take() {
                file.function(line, name, hits);
            }
        } else {
            file.record(line, hits, "");
            let conditions = tag.try_get_attribute("condition-coverage").map_err(|error| error.to_string())?;
            if conditions.is_some() {
                let text = attribute(tag, "condition-coverage")?;
                let (covered, total) = conditions_of(&text)
                    .ok_or_else(|| format!("condition-coverage=\"{text}\" of line {line} is no share of branches"))?;
                self.records += total as usize;
                for number in 0..total {
                    let taken = if number < covered { ExecutionCounter::at_least(1) } else { ExecutionCounter::ZERO };
                    file.way(Way { line, number, ..Way::default() }, taken);
                }
            }
        }
        Ok(())
    }

    /// The canonical path of a file that the report calls `name`.
    fn path(&self, name: &str) -> String {
        let sources = || self.sources.iter().map(|source| source.trim());
        if paths::is_absolute(name) || self.sources.is_empty() {
            return paths::normalize("", name);
        }
        let here = sources().filter(|_| self.sources.len() > 1).find(|source| Path::new(source).join(name).exists());
        let base = here.or_else(|| sources().next()).unwrap_or("");
        if base == super::NO_SOURCE { paths::normalize("", name) } else { paths::normalize(base, name) }
    }
}

/// More branches than this no line has.
const MAX_BRANCHES: u32 = 1 << 16;

/// The numbers of `50% (1/2)`: how many were taken, and of how many.
fn conditions_of(text: &str) -> Option<(u32, u32)> {
    let (covered, total) = text.split_once('(')?.1.split_once(')')?.0.split_once('/')?;
    let (covered, total) = (covered.trim().parse().ok()?, total.trim().parse().ok()?);
    (covered <= total && total <= MAX_BRANCHES).then_some((covered, total))
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let attribute = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let attribute = attribute.ok_or_else(|| format!("<{}> has no {name}", tag.name().as_ref()))?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
    Ok(value.into_owned())
}

fn number<T: std::str::FromStr>(tag: &BytesStart<'_>, name: &str) -> Result<T, String> {
    let value = attribute(tag, name)?;
    value.trim().parse().map_err(|_| format!("{name}=\"{value}\" of <{}> is not a number", tag.name().as_ref()))
}
