"""Counts the lines of this process by sys.monitoring, for cov-agent.

Runs before the program, so it imports nothing that the program may have a module of its own for. The counters lie in a
file that is mapped and shared: what was counted survives whatever ends the process. The module `python::data` of
cov-agent reads that file and describes its layout.
"""

import _thread
import os
import sys
import time

import mmap

MAGIC = int.from_bytes(b"COVPY\0\0\2", "little")
# Words of the header, behind the magic.
USED, FLAGS = 1, 2
# Flags: the counters are exact; no room was left; another process adds to the same counters; tests in several threads
# share a context.
EXACT, FULL, SHARED, MIXED = 1, 2, 4, 8
# Variables whose value is the test that runs: pytest's, and cov-agent's own.
VARIABLES = (b"PYTEST_CURRENT_TEST", b"COV_AGENT_CONTEXT")

monitoring = sys.monitoring
DISABLE = monitoring.DISABLE

with open(os.path.join(HERE, "config"), "rb") as file:
    mode, third_party, told_apart, *prefixes = file.read().decode().split("\n")
counted = mode == "counts"
# Whether each test has counters of its own.
tests = told_apart == "tests"
# Where the parts of the file begin, in bytes, and where it ends. Only what is used takes space on the disk.
RECORDS = 4 << 10
COUNTERS = RECORDS + (64 << 20)
END = COUNTERS + (1 << 30 if tests else 32 << 20)
# Whether packages that were installed beside the project are wanted.
third_party = third_party == "all"
prefixes = tuple(os.fsdecode(bytes.fromhex(prefix)) for prefix in prefixes)

lock = _thread.RLock()
# The file, as 64-bit words, its name, and how many bytes of each part have space on the disk.
words = path = room = None
# Source files as code objects name them: the path, or None if it is not wanted.
names = {}
# Paths: their numbers in the records.
files = {}
# Where the counters of (context, path, first line, number of lines) begin, in words.
places = {}
free = COUNTERS // 8
# By id(code): the word that counts line 0, if it had one, in the context that the process is in.
base = {}
# The number of that context, the thread that entered it, and for each context its number and what is `base` in it.
# What belongs to no test has the number 0.
context, entrant = 0, None
contexts = {None: (0, base)}
# By id: the code objects that are counted, so that no id is used again.
kept = {}
# By id(code): code whose start is to be told of each time.
starting = set()
# By (id(code), offset): the line that begins anew by this jump, or None.
jumps = {}


def create(size):
    """Makes the process's file, with space for `size` bytes of each part."""
    name = os.path.join(HERE, "data", "%d-%s" % (os.getpid(), os.urandom(8).hex()))
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, END)
        for start, length in size.items():
            os.posix_fallocate(descriptor, start, length)
        os.posix_fallocate(descriptor, 0, RECORDS)
        # Without a descriptor, where Python can: the program may close all it finds.
        options = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        mapped = memoryview(mmap.mmap(descriptor, END, **options)).cast("Q")
    finally:
        os.close(descriptor)
    return mapped, name


def reserve(part, limit, length):
    """Makes sure that a part has space for `length` bytes: a mapped file that outgrows the disk kills the process."""
    if room[part] < length:
        size = room[part]
        while size < length:
            size *= 2
        if part + size > limit:
            raise OSError("no room")
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, part, size)
        finally:
            os.close(descriptor)
        room[part] = size


def record(kind, *numbers, text=b""):
    """Appends a record."""
    data = kind + b"".join(number.to_bytes(4, "little") for number in numbers) + text
    used = words[USED]
    reserve(RECORDS, COUNTERS, used + len(data))
    words.cast("B")[RECORDS + used : RECORDS + used + len(data)] = data
    words[USED] = used + len(data)


def wanted(name):
    """The path of a source file, if its lines may be wanted. cov-agent has the last word."""
    if name.startswith("<"):
        return None
    full = os.path.abspath(name)
    real = os.path.realpath(full)
    if not full.startswith(prefixes) and not real.startswith(prefixes):
        return None
    if not third_party and ("/site-packages/" in full or "/dist-packages/" in full):
        return None
    return full


def enroll(code, full):
    """Gives a code object its counters and begins to count."""
    global free
    lines = [line for _, _, line in code.co_lines() if line]
    if not lines:
        return
    first = min(lines)
    length = max(lines) - first + 1
    place = places.get((context, full, first, length))
    if place is None:
        if full not in files:
            text = os.fsencode(full)
            record(b"F", len(text), text=text)
            files[full] = len(files)
        reserve(COUNTERS, END, (free + length) * 8 - COUNTERS)
        record(b"C", files[full], free - COUNTERS // 8, first, length, context)
        place = places[context, full, first, length] = free
        free += length
    base[id(code)] = place - first
    if id(code) not in kept:
        kept[id(code)] = code
        monitoring.set_local_events(tool, code, monitoring.get_local_events(tool, code) | events)


def anew(code, line):
    """Counts a line of code that is counted, but has no counters in this context, or in this process, so far."""
    try:
        with lock:
            enroll(code, names[code.co_filename])
            words[base[id(code)] + line] += 1
    except Exception:
        words[FLAGS] |= FULL
        monitoring.set_local_events(tool, code, 0)


def enter(name):
    """What is counted from now on belongs to the test `name`, or to none."""
    global context, entrant, base
    with lock:
        thread = _thread.get_ident()
        if name and entrant not in (None, thread):
            words[FLAGS] |= MIXED
        entrant = thread if name else None
        context, base = contexts[None]
        if name not in contexts:
            record(b"X", len(name), text=name)
            contexts[name] = len(contexts), {}
        context, base = contexts[name]
        if not counted:
            # What was hit in one test is to be hit in another.
            monitoring.restart_events()


def audited(event, arguments):
    """Variables are set that say which test runs."""
    try:
        if event == "os.putenv" and arguments[0] in VARIABLES:
            value = arguments[1]
            # pytest adds the phase of the test.
            phase = value.rfind(b" (") if arguments[0] == VARIABLES[0] else -1
            enter(value if phase < 0 else value[:phase])
        elif event == "os.unsetenv" and arguments[0] in VARIABLES:
            enter(None)
    except Exception:
        words[FLAGS] |= FULL


def tested(code):
    """A test case of unittest begins, unless whoever runs it has told that already. Says so as others do, by a
    variable, which the kernel side sees too."""
    if context:
        if entrant != _thread.get_ident():
            words[FLAGS] |= MIXED
        return
    frame = sys._getframe(2)
    monitoring.set_local_events(tool, code, monitoring.get_local_events(tool, code) | event.PY_RETURN)
    running[:] = [frame]
    os.putenv(VARIABLES[1], frame.f_locals["self"].id())


def returned(code, offset, value):
    """It is over."""
    if running and running[0] is sys._getframe(1):
        running.clear()
        os.unsetenv(VARIABLES[1])


def line_at(code, offset):
    """The line of the instruction there."""
    return next((line for start, end, line in code.co_lines() if start <= offset < end), None)


def begun(code, offset):
    """A function, or a module, is entered."""
    if id(code) in starting:
        return None
    try:
        name = code.co_filename
        case = tests and code.co_qualname == "TestCase.run" and name.endswith(UNITTEST)
        if case:
            tested(code)
        if name not in names:
            names[name] = wanted(name)
        full = names[name]
        if full is not None and id(code) not in base:
            with lock:
                enroll(code, full)
        # Python 3.13 tells no more of a line that begins with the code itself, once the code's start is switched off.
        if counted and not case and id(code) in base and line_at(code, offset) == line_at(code, offset + 2):
            starting.add(id(code))
            return None
        if case:
            return None
    except Exception:
        words[FLAGS] |= FULL
    return DISABLE


def hit(code, line):
    """A line is entered for the first time."""
    try:
        words[base[id(code)] + line] = 1
    except KeyError:
        anew(code, line)
    return DISABLE


def count(code, line):
    """A line is entered."""
    try:
        words[base[id(code)] + line] += 1
    except KeyError:
        anew(code, line)


def jump(code, offset, target):
    """A jump back to its own line enters the line anew, as sys.settrace sees it. LINE is not told of it."""
    key = id(code), offset
    if key not in jumps:
        same = target <= offset and line_at(code, offset) == line_at(code, target)
        jumps[key] = line_at(code, offset) if same else None
    line = jumps[key]
    if line is None:
        return DISABLE
    count(code, line)


def forked():
    """In a new process: counts in a file of its own, beginning in the context that it was forked in."""
    global context, base
    name = next(name for name, (number, _) in contexts.items() if number == context)
    try:
        begin()
        for table in files, places, contexts:
            table.clear()
        context, base = 0, {}
        contexts[None] = 0, base
        if name:
            record(b"X", len(name), text=name)
            context, base = contexts[name] = 1, {}
    except Exception:
        words[FLAGS] |= SHARED
    lock.release()


def begin():
    """Makes the process's file, and says in it who the process is."""
    global words, path, room, free
    size = {RECORDS: 16 << 10, COUNTERS: 32 << 10}
    words, path = create(size)
    room, free = size, COUNTERS // 8
    words[FLAGS] = EXACT if getattr(sys, "_is_gil_enabled", lambda: True)() else 0
    for kind, text in about:
        record(kind, len(text), text=text)
    words[0] = MAGIC


for tool in (4, 3):
    if monitoring.get_tool(tool) is None:
        break
else:
    raise RuntimeError("all tools of sys.monitoring are taken")
# The interpreter; the process that was started, and when, in nanoseconds since the machine was.
about = [
    (b"P", ("%d.%d.%d\0" % sys.version_info[:3]).encode() + os.fsencode(sys.executable or "")),
    (b"S", b"%d %d" % (os.getpid(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))),
]
begin()

monitoring.use_tool_id(tool, "cov-agent")
event = monitoring.events
events = event.LINE | event.JUMP if counted else event.LINE
monitoring.register_callback(tool, event.PY_START, begun)
monitoring.register_callback(tool, event.LINE, count if counted else hit)
if counted:
    monitoring.register_callback(tool, event.JUMP, jump)
if tests:
    UNITTEST = os.path.join("unittest", "case.py")
    # The frame that runs a test of unittest, if any does.
    running = []
    monitoring.register_callback(tool, event.PY_RETURN, returned)
    sys.addaudithook(audited)
monitoring.set_events(tool, event.PY_START)
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=forked)
sys.modules.pop("mmap")
