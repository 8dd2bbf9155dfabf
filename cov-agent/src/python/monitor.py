"""Counts the lines of this process by sys.monitoring, for cov-agent.

Runs before the program, so it imports nothing that the program may have a module of its own for. The counters lie in a
file that is mapped and shared: what was counted survives whatever ends the process. The module `python::data` of
cov-agent reads that file and describes its layout.
"""

import _thread
import os
import sys

import mmap

MAGIC = int.from_bytes(b"COVPY\0\0\1", "little")
# Where the parts of the file begin, in bytes, and where it ends. Only what is used takes space on the disk.
RECORDS = 4 << 10
COUNTERS = RECORDS + (8 << 20)
END = COUNTERS + (32 << 20)
# Words of the header, behind the magic.
USED, FLAGS = 1, 2
# Flags: the counters are exact; no room was left; another process adds to the same counters.
EXACT, FULL, SHARED = 1, 2, 4

monitoring = sys.monitoring
DISABLE = monitoring.DISABLE

with open(os.path.join(HERE, "config"), "rb") as file:
    mode, third_party, *prefixes = file.read().decode().split("\n")
counted = mode == "counts"
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
# Where the counters of (path, first line, number of lines) begin, in words.
places = {}
free = COUNTERS // 8
# By id(code): the word that counts line 0, if it had one. The code objects are kept, so that no id is used again.
base = {}
kept = []
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
    place = places.get((full, first, length))
    if place is None:
        if full not in files:
            text = os.fsencode(full)
            record(b"F", len(text), text=text)
            files[full] = len(files)
        reserve(COUNTERS, END, (free + length) * 8 - COUNTERS)
        record(b"C", files[full], free - COUNTERS // 8, first, length)
        place = places[full, first, length] = free
        free += length
    kept.append(code)
    base[id(code)] = place - first
    monitoring.set_local_events(tool, code, events)


def line_at(code, offset):
    """The line of the instruction there."""
    return next((line for start, end, line in code.co_lines() if start <= offset < end), None)


def begun(code, offset):
    """A function, or a module, is entered."""
    if id(code) in starting:
        return None
    try:
        name = code.co_filename
        if name not in names:
            names[name] = wanted(name)
        full = names[name]
        if full is not None and id(code) not in base:
            with lock:
                enroll(code, full)
        # Python 3.13 tells no more of a line that begins with the code itself, once the code's start is switched off.
        if counted and id(code) in base and line_at(code, offset) == line_at(code, offset + 2):
            starting.add(id(code))
            return None
    except Exception:
        words[FLAGS] |= FULL
    return DISABLE


def hit(code, line):
    """A line is entered for the first time."""
    words[base[id(code)] + line] = 1
    return DISABLE


def count(code, line):
    """A line is entered."""
    words[base[id(code)] + line] += 1


def jump(code, offset, target):
    """A jump back to its own line enters the line anew, as sys.settrace sees it. LINE is not told of it."""
    key = id(code), offset
    if key not in jumps:
        same = target <= offset and line_at(code, offset) == line_at(code, target)
        jumps[key] = line_at(code, offset) if same else None
    line = jumps[key]
    if line is None:
        return DISABLE
    words[base[id(code)] + line] += 1


def forked():
    """In a new process: counts in a file of its own."""
    global words, path
    try:
        own, name = create(room)
        used = words[USED]
        own[: RECORDS // 8] = words[: RECORDS // 8]
        own.cast("B")[RECORDS : RECORDS + used] = words.cast("B")[RECORDS : RECORDS + used]
        words, path = own, name
    except Exception:
        words[FLAGS] |= SHARED
    lock.release()


room = {RECORDS: 16 << 10, COUNTERS: 32 << 10}
for tool in (4, 3):
    if monitoring.get_tool(tool) is None:
        break
else:
    raise RuntimeError("all tools of sys.monitoring are taken")
words, path = create(room)
words[FLAGS] = EXACT if getattr(sys, "_is_gil_enabled", lambda: True)() else 0
about = ("%d.%d.%d\0" % sys.version_info[:3]).encode() + os.fsencode(sys.executable or "")
record(b"P", len(about), text=about)
words[0] = MAGIC

monitoring.use_tool_id(tool, "cov-agent")
event = monitoring.events
events = event.LINE | event.JUMP if counted else event.LINE
monitoring.register_callback(tool, event.PY_START, begun)
monitoring.register_callback(tool, event.LINE, count if counted else hit)
if counted:
    monitoring.register_callback(tool, event.JUMP, jump)
monitoring.set_events(tool, event.PY_START)
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=forked)
sys.modules.pop("mmap")
