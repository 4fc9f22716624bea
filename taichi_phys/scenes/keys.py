"""The kinds of values in a scene file, their checks, and the error messages."""

import contextlib
import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


LONGEST = 60  # most characters of a value that a message shows
LARGEST = 1e12  # squares and quotients of larger numbers could overflow


class SceneError(ValueError):
    """A mistake in a scene file: file, line, key, and the found and the expected value."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """The place of a table or key in a scene file.

    file: name of the file; lines: the line of every path in the file; path: keys and indices that
    lead to the place, for example ("body", 0, "material").
    """

    file: str
    lines: Mapping[tuple, int] = dataclasses.field(repr=False)
    path: tuple[str | int, ...] = ()

    def at(self, *keys: str | int) -> "Place":
        """The place of a table or key inside this one."""
        return dataclasses.replace(self, path=(*self.path, *keys))

    @property
    def line(self) -> int:
        """The line of this place; if the key is missing, the line of the table around it."""
        path = self.path
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def error(self, message: str) -> SceneError:
        """The error to raise at this place, with file, line and key before the message."""
        label = ""
        for key in self.path:  # body 2: material: E
            label += f" {key + 1}" if isinstance(key, int) else f": {key}" if label else key
        if self.path and not message.startswith(f"{self.path[-1]}: "):
            message = f"{label}: {message}"
        elif self.path:
            message = f"{label}: {message.split(': ', 1)[1]}"
        return SceneError(f"{self.file}, line {self.line}: {message}")

    @contextlib.contextmanager
    def errors(self, keys: Mapping[str, str] | None = None) -> Iterator[None]:
        """Turn a ValueError "name: got ..." of the API in the block into a SceneError from here.

        Every ValueError of the API begins with the name of an argument, which leads to the line;
        keys: the key in the file for arguments that have another name there.
        """
        try:
            yield
        except SceneError:
            raise
        except (ValueError, OverflowError, ImportError, MemoryError) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            names, sentence = _arguments(message)
            if names and keys and names[0] in keys:
                message = f"{keys[names[0]]}: {sentence}"
            if names and (*self.path, names[0]) in self.lines:
                place = self.at(names[0])
                raise place.error(message if len(names) > 1 else sentence) from None
            raise self.error(message) from None


def _arguments(message: str) -> tuple[list[str], str]:
    """The argument names at the start of a message, as in "lower, upper: ...", and the rest."""
    found = re.match(r"(\w+(?:, \w+)*): ", message)
    return (found[1].split(", "), message[found.end() :]) if found else ([], message)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of value in a scene file.

    expected: description for messages; read: function that returns a value, converted, or raises
    ValueError, whose text, if any, is a hint for the message.
    """

    expected: str
    read: Callable[[Any], Any]

    def check(self, value: Any, place: Place) -> Any:
        """The value, converted. Raises SceneError with the expected kind."""
        try:
            return self.read(value)
        except (ValueError, OverflowError) as error:
            hint = f"; {error}" if str(error) else ""
            raise place.error(f"got {show(value)}, expected {self.expected}{hint}") from None


def show(value: Any) -> str:
    """A value as it stands in the file, shortened for a message."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def near(word: Any, words: Iterable[str]) -> str:
    """A hint "did you mean ...?" if one of the words is similar, else an empty text."""
    found = difflib.get_close_matches(str(word)[:LONGEST], list(words), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if not abs(float(value)) <= LARGEST:
        raise ValueError
    return value


def number(
    unit: str = "", *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> Kind:
    """A finite number in a range; the arguments of the range are limits of the number."""

    def read(value):
        value = _number(value)
        if not (value > above and least <= value <= most):
            raise ValueError
        return value

    signs = ((">", above), (">=", least), ("<=", most))
    limits = [f"{sign} {limit:g}" for sign, limit in signs if math.isfinite(limit)]
    unit = f" ({unit})" if unit else ""
    return Kind(" ".join(["a finite number", " and ".join(limits)]).strip() + unit, read)


def integer(least: int, most: int) -> Kind:
    """A whole number in a range."""

    def read(value):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return Kind(f"a whole number from {least} to {most}", read)


def vector(unit: str, size: int = 3) -> Kind:
    """A list of finite numbers, by default three."""

    def read(value):
        if not isinstance(value, list) or len(value) != size:
            raise ValueError
        return tuple(float(_number(x)) for x in value)

    names = "[x, y, z]" if size == 3 else "[low, high]"
    return Kind(f"{size} finite numbers {names}" + (f" ({unit})" if unit else ""), read)


def _during(value):
    start, end = INTERVAL.read(value)
    if not start < end:
        raise ValueError
    return start, end


INTERVAL = vector("s", 2)
DURING = Kind("[t0, t1] in seconds with t0 < t1", _during)


def _color(value):
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return tuple(int(value[i : i + 2], 16) / 255 for i in (1, 3, 5))
    color = vector("", 3).read(value)
    if not all(0 <= c <= 1 for c in color):
        raise ValueError
    return color


COLOR = Kind('"#rrggbb" or [red, green, blue] from 0 to 1', _color)


def _text(value):
    if not isinstance(value, str):
        raise ValueError
    return value


TEXT = Kind("text in quotes", _text)


def _flag(value):
    if not isinstance(value, bool):
        raise ValueError
    return value


FLAG = Kind("true or false", _flag)


def choice(options: Iterable[str]) -> Kind:
    """One of several words."""
    options = tuple(options)

    def read(value):
        if not isinstance(value, str) or value not in options:
            raise ValueError(near(value, options))
        return value

    return Kind("one of " + ", ".join(options), read)


def file_in(folder: Path) -> Kind:
    """The path of an existing file, relative to a folder; the value stays as written."""

    def read(value):
        if not isinstance(value, str):
            raise ValueError
        try:
            found = (folder / value).is_file()
        except OSError:  # a name that is too long
            found = False
        if not found:
            raise ValueError(f"there is no file {str(folder / value)[:200]!r}")
        return value

    return Kind("the path of a file, relative to the scene", read)


def read_table(
    table: Any, place: Place, kinds: Mapping[str, Kind], required: Iterable[str] = (), of: str = ""
) -> dict[str, Any]:
    """The values of a table, checked.

    kinds: the kind of each allowed key; required: keys that must be there; of: description of the
    table for messages about unknown keys. Raises SceneError.
    """
    if not isinstance(table, dict):
        raise place.error(f"got {show(table)}, expected a table of {', '.join(kinds)}")
    for key in table:
        if key not in kinds:
            hint = near(key, kinds)
            raise place.at(key).error(
                f"unknown key, expected {f'for {of} ' if of else ''}one of {', '.join(kinds)}"
                + (f"; {hint}" if hint else "")
            )
    for key in required:
        if key not in table:
            raise place.at(key).error(f"missing, expected {kinds[key].expected}")
    return {key: kinds[key].check(value, place.at(key)) for key, value in table.items()}


def read_choice(table: Any, place: Place, key: str, options: Iterable[str]) -> str:
    """The value of the key that decides which other keys a table may have. Raises SceneError."""
    if not isinstance(table, dict):
        raise place.error(f"got {show(table)}, expected a table with {key} = ...")
    kind = choice(options)
    if key not in table:
        wrong = difflib.get_close_matches(key, list(table), n=1)
        if wrong:
            raise place.at(wrong[0]).error(f"unknown key; did you mean {key!r}?")
        raise place.at(key).error(f"missing, expected {kind.expected}")
    return kind.check(table[key], place.at(key))
