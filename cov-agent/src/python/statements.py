"""Says which lines of Python files are executable, as coverage.py counts them, for cov-agent.

Reads paths from standard input, each ended by a null byte. Prints a line for each: `+`, then the first lines of its
statements and, behind a `;`, statements of several lines as FIRST-LAST, each list separated by commas; or `-` and why
there are none. Works in every Python since 3.6.
"""

import ast
import gc
import io
import os
import sys
import tokenize


def read(path):
    """The source, also of a module in a zip file."""
    archive = path
    while not os.path.lexists(archive) and len(archive) > 1:
        archive = os.path.dirname(archive)
    if os.path.isfile(archive) and archive != path:
        import zipfile

        with zipfile.ZipFile(archive) as file:
            return file.read(os.path.relpath(path, archive))
    with open(path, "rb") as file:
        return file.read(64 << 20)


def decode(data):
    """The text, by its own declaration of an encoding."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding, line_buffering=True).read()


def code_lines(code):
    """The lines that code has instructions for, that of nested functions included."""
    todo = [code]
    while todo:
        code = todo.pop()
        todo.extend(const for const in code.co_consts if isinstance(const, type(code)))
        # Annotations whose evaluation is put off, as a rule for ever.
        if code.co_name == "__annotate__":
            continue
        if hasattr(code, "co_lines"):
            yield from (line for _, _, line in code.co_lines() if line)
        else:
            line = code.co_firstlineno
            yield line
            for step in code.co_lnotab[1::2]:
                line += step - 256 if step > 127 else step
                yield line


def bodies(tree):
    """The statements of a module and of all in it, where no expression has any: block by block, with what has the block."""
    todo = [tree]
    while todo:
        node = todo.pop()
        for name in "body", "orelse", "finalbody", "handlers", "cases":
            block = getattr(node, name, None)
            if isinstance(block, list):
                todo.extend(block)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.body


def docstring_lines(tree):
    """The lines of docstrings: Python stores them, nobody counts that."""
    for body in bodies(tree):
        first = body[0] if body else None
        value = getattr(first, "value", None)
        # Python 3.6 and 3.7 have `Str` for constants that are strings.
        text = getattr(value, "s", None) if sys.version_info < (3, 8) else getattr(value, "value", None)
        if isinstance(first, ast.Expr) and isinstance(text, str):
            last = getattr(first, "end_lineno", None) or first.lineno
            begin = first.lineno if hasattr(first, "end_lineno") else last - text.count("\n")
            yield from range(begin, last + 1)


def statements(text, path):
    """The first lines of statements, and first and last line of those that have several lines."""
    tree = ast.parse(text)
    several = {}
    first = 0
    empty = True
    newline, comment = tokenize.NEWLINE, tokenize.COMMENT
    for kind, token, (begin, _), (end, _), _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind == newline:
            if first and end != first:
                several[first] = end
            first = 0
        elif first:
            continue
        if kind != comment and token.strip():
            empty = False
            first = begin
    if empty:
        return set(), several
    start = {line: first for first, last in several.items() for line in range(first, last + 1)}
    ignored = set(docstring_lines(tree))
    code = compile(text, path, "exec", dont_inherit=True)
    return {start.get(line, line) for line in code_lines(code) if line not in ignored} - ignored, several


def main():
    # Nothing here is in a cycle, and looking for one takes long.
    gc.disable()
    for name in sys.stdin.buffer.read().split(b"\0")[:-1]:
        try:
            path = os.fsdecode(name)
            lines, several = statements(decode(read(path)), path)
            ranges = ("%d-%d" % pair for pair in sorted(several.items()))
            print("+%s;%s" % (",".join(map(str, sorted(lines))), ",".join(ranges)))
        except Exception as error:
            print("-%s" % str(error).replace("\n", " ").encode("ascii", "replace").decode())


main()
