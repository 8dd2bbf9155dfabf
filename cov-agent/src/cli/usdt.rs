//! Lines of Python by the static marker `python:line`: which interpreters have it, and which processes run them.

use super::console::Console;
use super::measure::{Measurement, probe_message};
use super::message::Message;
use crate::object::markers::{self, Marker};
use crate::probe::{Bpf, Prices};
use crate::process::gate::Key;
use crate::python::{Hits, is_third_party};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Interpreters and processes.
pub(super) struct Usdt {
    /// The marker of each file that was looked at, if it has one.
    markers: HashMap<Key, Option<Marker>>,
    /// Processes, by number and start, that are counted in a file.
    counted: HashSet<(u32, u64, Key)>,
    /// Programs that ran Python, the first one first.
    programs: Vec<PathBuf>,
    /// Whether packages that were installed beside the project are wanted.
    third_party: bool,
}

impl Usdt {
    /// Gets ready; wanted files' names begin with one of `prefixes`.
    pub(super) fn begin(kernel: &mut Bpf, prefixes: &[String], third_party: bool) -> Result<Self, Message> {
        kernel.want_python(prefixes).map_err(|e| probe_message(&e))?;
        Ok(Self { markers: HashMap::new(), counted: HashSet::new(), programs: Vec::new(), third_party })
    }

    /// Counts the lines that `process` enters, if `file` tells of them; see [`Bpf::count_python`]. `program` is what the
    /// process executes.
    pub(super) fn count(
        &mut self,
        kernel: &mut Bpf,
        program: &Path,
        file: &File,
        process: u32,
    ) -> Result<bool, Message> {
        let Ok(key) = Key::of(file) else { return Ok(false) };
        let find = || markers::find(program, file.try_clone().ok()?, "python", "line").ok().flatten();
        let Some(marker) = self.markers.entry(key).or_insert_with(find) else { return Ok(false) };
        let counted = (process, started(process), key);
        // A link outlives an exec of the same program.
        if self.counted.contains(&counted) {
            return Ok(true);
        }
        if !kernel.count_python(file, marker, process).map_err(|e| probe_message(&e))? {
            return Ok(false);
        }
        self.counted.insert(counted);
        if !self.programs.iter().any(|known| known == program) {
            self.programs.push(program.into());
        }
        Ok(true)
    }

    /// Whether anything is counted.
    pub(super) fn counts(&self) -> bool {
        !self.counted.is_empty()
    }

    /// Whether a file is an interpreter that tells of lines.
    pub(super) fn tells(&self, key: Key) -> bool {
        self.markers.get(&key).is_some_and(Option::is_some)
    }

    /// The first program that ran Python.
    pub(super) fn program(&self) -> Option<&Path> {
        self.programs.first().map(PathBuf::as_path)
    }

    /// What was counted. Relative names of files are taken as relative to `directory`.
    pub(super) fn hits(&self, kernel: &mut Bpf, directory: &Path) -> Result<Hits, Message> {
        let mut hits = Hits::default();
        for (path, line, count) in kernel.python_lines().map_err(|e| probe_message(&e))? {
            let path = directory.join(path);
            if self.third_party || !is_third_party(&path.to_string_lossy()) {
                hits.file(&path).add(line, count, true);
            }
        }
        Ok(hits)
    }

    /// What a person is told at the end.
    pub(super) fn tell(&self, console: Console) {
        let programs = self.programs.iter().map(|path| path.display().to_string()).collect::<BTreeSet<_>>();
        let processes: HashSet<_> = self.counted.iter().map(|(process, started, _)| (process, started)).collect();
        console.note(&format!(
            "the probe python:line counted the lines of {} process{} of {}; processes that these forked, without \
             executing a program, are not counted",
            processes.len(),
            if processes.len() == 1 { "" } else { "es" },
            programs.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
}

impl Measurement<'_> {
    /// Counts lines of Python in the kernel from now on, in the processes that [`count_python`](Self::count_python) is
    /// told of; wanted files' names begin with one of `prefixes`.
    pub(super) fn watch_python(&mut self, prefixes: &[String], third_party: bool) -> Result<(), Message> {
        self.usdt = Some(Usdt::begin(self.runner.kernel_mut(), prefixes, third_party)?);
        Ok(())
    }

    /// Counts the lines of Python that a process enters, if `file`, which it runs or is about to, is an interpreter that
    /// tells of them. Whether it is. What that costs is told the first time.
    pub(super) fn count_python(&mut self, program: &Path, file: &File, process: u32) -> Result<bool, Message> {
        let Some(usdt) = &mut self.usdt else { return Ok(false) };
        let first = !usdt.counts();
        let counts = usdt.count(self.runner.kernel_mut(), program, file, process)?;
        if counts && first {
            tell_cost(self.runner.kernel_mut(), self.console);
        }
        if counts {
            self.leave_to_another(Vec::new());
        }
        Ok(counts)
    }

    /// Whether the lines of processes that execute this file are counted.
    pub(super) fn counts_python(&self, key: Key) -> bool {
        self.usdt.as_ref().is_some_and(|usdt| usdt.tells(key))
    }

    /// What was counted of Python in the kernel, and in which interpreter, if in any.
    pub(super) fn take_python(&mut self) -> Result<Option<(PathBuf, Hits)>, Message> {
        let Some(usdt) = self.usdt.take().filter(Usdt::counts) else { return Ok(None) };
        let hits = usdt.hits(self.runner.kernel_mut(), &self.setup.directory)?;
        usdt.tell(self.console);
        Ok(usdt.program().map(|program| (program.into(), hits)))
    }
}

/// What it costs, told before a long run.
fn tell_cost(kernel: &mut Bpf, console: Console) {
    if let Ok(Prices { emulated, .. }) = Prices::measure(kernel) {
        console.note(&format!(
            "each line that Python enters, of whatever file, costs {emulated:.1?} or more: a program that only runs \
             Python becomes some twenty times slower"
        ));
    }
}

/// When a process began, in clock ticks: its number may be used again.
fn started(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may contain anything, the fields are numbers; field 22 counts from the first of all.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = started(std::process::id());
        assert!(own > 0);
        assert_eq!(started(std::process::id()), own);
        assert_eq!(started(0), 0);
    }
}
