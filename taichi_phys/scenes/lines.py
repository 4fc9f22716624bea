"""The lines of keys and tables in a TOML file, since tomllib gives values without their lines."""

import bisect
import re
from pathlib import Path


try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib


KeyPath = tuple[str | int, ...]  # ("body", 0, "material", "E"): names, and indices in arrays

BARE = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # a multi-line string may end in two quotes of its own
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
SCALAR = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+")  # a date may contain a space
SPACE = re.compile(r"[ \t]*")
GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def read_toml(path: str | Path) -> tuple[dict, dict[KeyPath, int]]:
    """The contents of a TOML file and the line of every key, table and array element.

    Raises ValueError, in one sentence with the line, if the file cannot be read.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not text in UTF-8, expected a TOML file") from None
    except ValueError as error:  # a path with a null character
        raise ValueError(f"{path}: cannot be read ({error})") from None
    text = text.removeprefix("\ufeff")  # some Windows editors write a byte order mark
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: not valid TOML (brackets are nested too deeply)") from None
    except ValueError as error:
        reason = str(error)
        found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", reason)
        where = f", line {(found and found[1]) or text.rstrip().count(chr(10)) + 1}"
        reason = reason.replace(found[0], "") if found else reason
        where = where if found else ""  # for example an integer of thousands of digits
        raise ValueError(f"{path}{where}: not valid TOML ({reason})") from None
    return data, find_lines(text)


def find_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key, table and array element of a valid TOML document."""
    return _Finder(text).run()


class _Finder:
    """Finds the lines of keys in valid TOML, and skips the values."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.breaks = [m.start() for m in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {(): 1}
        self.counts: dict[KeyPath, int] = {}  # of [[tables]]

    def run(self) -> dict[KeyPath, int]:
        base = ()
        while True:
            self._skip(GAP)
            if self.at >= len(self.text):
                return self.lines
            if self.text[self.at] == "[":
                base = self._header()
            else:
                self._pair(base)

    def _header(self) -> KeyPath:
        line = self._line()
        several = self.text.startswith("[[", self.at)
        self.at += 1 + several
        path = ()
        keys = self._keys()
        for i, key in enumerate(keys):
            path += (key,)
            if several and i == len(keys) - 1:
                self.lines.setdefault(path, line)
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:  # [body.material] belongs to the last [[body]]
                path += (self.counts[path] - 1,)
            self.lines.setdefault(path, line)
        self.lines[path] = line  # the header may come after its own [sub.table]
        self.at += 1 + several
        return path

    def _pair(self, base: KeyPath):
        line, path = self._line(), base
        for key in self._keys():
            path += (key,)
            self.lines.setdefault(path, line)
        self.at += 1  # =
        self._skip(SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(SPACE)
            quoted = self.text[self.at] in "\"'"
            token = self._skip(STRING if quoted else BARE)
            keys.append(tomllib.loads(f"key = {token}")["key"] if quoted else token)
            self._skip(SPACE)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: KeyPath):
        self.lines.setdefault(path, self._line())
        first = self.text[self.at]
        if first not in "[{":
            self._skip(STRING if first in "\"'" else SCALAR)
            return
        self.at += 1
        index = 0
        while True:
            self._skip(GAP)
            if self.text[self.at] in "]}":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
            elif first == "{":
                self._pair(path)
            else:
                self._value((*path, index))
                index += 1

    def _skip(self, pattern: re.Pattern) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None  # the document is valid
        self.at = found.end()
        return found[0]

    def _line(self) -> int:
        return bisect.bisect_left(self.breaks, self.at) + 1
