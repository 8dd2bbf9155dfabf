"""A coverage.py plugin that reports C, C++, Rust, Go, Mojo and other native sources measured by cov-agent.

Switch it on in the file where coverage.py's settings are (.coveragerc, setup.cfg, tox.ini or pyproject.toml)::

    [run]
    plugins = cov_agent_coverage

cov-agent sees that line and marks the native files of `.coverage` as this plugin's. Which of their lines are
executable cannot be read off the text, so it travels inside `.coverage`: each native file has a row in the table
`context` that no line refers to,

    cov-agent:lines:1:<executable>:<excluded>:<path>

with both sets of lines as base64 of coverage.py's numbits (bit n%8 of byte n//8). `coverage combine` copies the names
of all contexts, so the rows survive it, and reports never show a context without lines.

The paths in these rows are the measuring machine's, while `combine` may have rewritten the paths of the files
(`[paths]`). So a file belongs to the row, or rows, that share most trailing path components with it.

Works with coverage.py 5.5 and later; needs nothing but coverage.py.
"""

import base64
import bisect
import os
import pathlib
import re
import sqlite3

from coverage import CoveragePlugin, FileReporter
from coverage.numbits import numbits_to_nums

PREFIX = "cov-agent:lines:1:"


class NativeSources(CoveragePlugin):
    """Makes file reporters for the native files of one data file."""

    def __init__(self):
        self._data_file = None
        self._exclude = []
        self._stamp = None
        self._rows = []

    def configure(self, config):
        """Note where the data is and which lines the user excludes."""
        self._data_file = os.path.abspath(config.get_option("run:data_file") or ".coverage")
        self._exclude = [regex for regex in config.get_option("report:exclude_lines") or [] if regex]

    def file_reporter(self, filename):
        """Make the reporter of one native file."""
        executable, excluded = self._recorded(filename)
        return NativeFile(filename, executable, excluded, self._exclude)

    def sys_info(self):
        """What `coverage debug sys` shows."""
        return [("data_file", self._data_file), ("native_files", len(self._load()))]

    def _recorded(self, filename):
        """The executable and excluded lines that the data file has for `filename`."""
        wanted = components(filename)
        rows = self._load()
        at = bisect.bisect_left(rows, (wanted,))
        shared = wanted[: max((common(wanted, row[0]) for row in rows[max(at - 1, 0) : at + 1]), default=0)]
        executable, excluded = set(), set()
        for row in rows[bisect.bisect_left(rows, (shared,)) :] if shared else ():
            if row[0][: len(shared)] != shared:
                break
            executable.update(nums(row[1]))
            excluded.update(nums(row[2]))
        return executable, excluded

    def _load(self):
        """The rows of the data file, in the order of their reversed paths; read again when the file changes."""
        try:
            status = os.stat(self._data_file)
        except (OSError, TypeError):
            return []
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            rows = []
            uri = pathlib.Path(self._data_file).as_uri() + "?mode=ro"
            connection = sqlite3.connect(uri, uri=True)
            try:
                query = "select context from context where context glob ?"
                for (context,) in connection.execute(query, (PREFIX + "*",)):
                    lines, excluded, path = context[len(PREFIX):].split(":", 2)
                    rows.append((components(path), lines, excluded))
            finally:
                connection.close()
            self._stamp, self._rows = stamp, sorted(rows)
        return self._rows


class NativeFile(FileReporter):
    """Reports on one native source file."""

    def __init__(self, filename, executable, excluded, exclude):
        super().__init__(filename)
        self._executable = executable
        self._excluded = excluded
        self._exclude = exclude
        self._text = None

    def source(self):
        """The text of the file, of empty lines where the file is not here: the line numbers still tell something."""
        if self._text is None:
            try:
                with open(self.filename, encoding="utf-8", errors="replace", newline="") as file:
                    self._text = file.read().replace("\r\n", "\n")
            except OSError:
                last = max(self._executable | self._excluded, default=0)
                self._text = "(the source file is not on this machine)" + "\n" * last
        return self._text

    def lines(self):
        """The executable lines without the excluded ones."""
        return self._executable - self.excluded_lines()

    def excluded_lines(self):
        """Lines that cov-agent left out, and those that `[report] exclude_lines` matches."""
        if self._exclude:
            matches = re.compile("|".join("(?:%s)" % regex for regex in self._exclude)).search
            text = self.source().split("\n")
            self._excluded |= {number for number, line in enumerate(text, 1) if matches(line)} & self._executable
            self._exclude = []
        return set(self._excluded)

    def translate_lines(self, lines):
        """The recorded lines that count."""
        return set(lines) & self.lines()

    def no_branch_lines(self):
        """None: native files have no arcs in this data."""
        return set()

    def source_token_lines(self):
        """The text line by line, split at newlines only: a form feed in C source starts no line."""
        text = self.source().split("\n")
        if text and not text[-1]:
            text.pop()
        for line in text:
            yield [("txt", line)]


def components(path):
    """The components of a path of any system, last first."""
    return [part for part in re.split(r"[\\/]+", path) if part][::-1]


def common(ours, theirs):
    """How many components two reversed paths share at the beginning."""
    count = 0
    while count < min(len(ours), len(theirs)) and ours[count] == theirs[count]:
        count += 1
    return count


def nums(text):
    """The line numbers in base64 of numbits."""
    return numbits_to_nums(base64.b64decode(text))


def coverage_init(reg, options):  # pylint: disable=unused-argument
    """Called by coverage.py.

    Registered as a configurer: a file tracer would make coverage.py choose a slower way to trace Python, and the files
    here are never traced by it.
    """
    reg.add_configurer(NativeSources())
