"""Dataclasses of settings: their limits, their command-line flags, their JSON files."""

import argparse
import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from taichi_phys.checks import finite_number, whole_number
from taichi_phys.io.files import atomic_path


T = TypeVar("T")


def option(default: Any, help: str, **limits: Any) -> Any:
    """Make a dataclass field that has a flag on the command line.

    help: the help text of the flag; limits: as `setting` takes them, and metavar.
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def setting(default: Any, **limits: Any) -> Any:
    """Make a dataclass field that has no flag.

    limits: low and high, the least and the largest value; above, a number that the value must
    exceed; choices, the allowed values; each, of a tuple of any length, how many values its flag
    takes, which may be repeated. `check_settings` checks them.
    """
    return dataclasses.field(default=default, metadata=limits)


def check_settings(settings: Any) -> None:
    """Check the type and the limits of every field of a dataclass; called in its __post_init__.

    An int must be a whole number, a float a finite number; None passes if the type allows it.
    Raises ValueError with the name, the value, and what is expected.
    """
    for field in dataclasses.fields(settings):
        value, (kind, count) = getattr(settings, field.name), _item_type(field)
        if value is None and _optional(field):
            continue
        if count is None:
            _check_one(field.name, value, kind, field.metadata)
        elif not isinstance(value, tuple | list) or count not in (-1, len(value)):
            expected = "several values" if count == -1 else f"{count} values"
            raise ValueError(f"{field.name}: got {value!r}, expected {expected}")
        elif len(value) % (each := field.metadata.get("each", 1)):
            raise ValueError(f"{field.name}: got {value!r}, expected {each} values, or {each} each")
        else:
            for item in value:
                _check_one(field.name, item, kind, field.metadata)


def given(name: str, value: T | None) -> T:
    """Return a value that must be there. Raises ValueError if it is None."""
    if value is None:
        raise ValueError(f"{name}: none given")
    return value


def positive(name: str, value: object) -> float:
    """Return a number from a file as a float. Raises ValueError unless it is a positive number."""
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}, expected a positive number")
    return float(value)


def _check_one(name: str, value: Any, kind: type, limits: Mapping[str, Any]) -> None:
    if "choices" in limits:
        if value not in limits["choices"]:
            expected = ", ".join(map(str, limits["choices"]))
            raise ValueError(f"{name}: got {value!r}, expected one of {expected}")
    elif kind is int:
        whole_number(name, value, "a whole number", low=-(2**53))
        finite_number(name, value, _expected(limits), **_ends(limits))
    elif kind is float:
        finite_number(name, value, "a finite number")
        finite_number(name, value, _expected(limits), **_ends(limits))
    elif not isinstance(value, kind):
        raise ValueError(f"{name}: got {value!r}, expected {_WORDS.get(kind, kind.__name__)}")


_WORDS = {bool: "true or false", str: "a text"}


def _ends(limits: Mapping[str, Any]) -> dict[str, Any]:
    above, low = limits.get("above"), limits.get("low", -math.inf)
    ends = {"low": low} if above is None else {"low": above, "open_end": True}
    return ends | {"high": limits.get("high", math.inf)}


def _expected(limits: Mapping[str, Any]) -> str:
    """The limits of a number in words."""
    low, high, above = (limits.get(key) for key in ("low", "high", "above"))
    if above is not None:
        if high is not None:
            return f"a number in ({above}, {high}]"
        return "a positive number" if above == 0 else f"a number above {above}"
    if low is not None:
        return f"at least {low}" if high is None else f"{low} to {high}"
    return f"at most {high}"


def _optional(field: dataclasses.Field) -> bool:
    return type(None) in typing.get_args(field.type)


def _item_type(field: dataclasses.Field) -> tuple[type, int | None]:
    """The type of one value on the command line, and how many values the field takes.

    The count is None for a single value, and -1 for any number of values.
    """
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        return items[0], -1 if Ellipsis in items else len(items)
    return kind, None


class Adder(Protocol):
    """An argparse parser or a group of its flags."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Add a flag, as in argparse."""


def add_flags(parser: Adder, settings: type) -> None:
    """Add a --flag for every field of the dataclass that has a help text."""
    for field in dataclasses.fields(settings):
        if "help" not in field.metadata:
            continue
        flag = "--" + field.name.replace("_", "-")
        extra = {k: v for k, v in field.metadata.items() if k in ("choices", "metavar")}
        kind, count = _item_type(field)
        common = {"dest": field.name, "default": argparse.SUPPRESS, "help": field.metadata["help"]}
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif count is None:
            parser.add_argument(flag, type=kind, **common, **extra)
        elif count == -1 and "each" in field.metadata:
            each = field.metadata["each"]
            parser.add_argument(flag, type=kind, nargs=each, action="extend", **common, **extra)
        elif count == -1:
            parser.add_argument(flag, type=kind, action="append", **common, **extra)
        else:
            parser.add_argument(flag, type=kind, nargs=count, **common, **extra)


def from_flags(settings: type[T], arguments: argparse.Namespace) -> T:
    """Make the dataclass from the flags that were given; other fields keep their defaults."""
    fields: tuple[dataclasses.Field, ...] = dataclasses.fields(settings)  # type: ignore[arg-type]
    names = {field.name for field in fields}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return from_record(settings, given)


def from_record(settings: type[T], record: Mapping[str, Any]) -> T:
    """Make the dataclass from a record, in which tuples may have become lists."""
    return settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items()})


def write_json(path: str | Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write a record to a JSON file, whole or not at all; NaN becomes null.

    Returns the record as a reader of the file gets it: strings as keys, lists, dictionaries.
    """
    plain = as_plain(record)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return plain


def as_plain(value: Any) -> Any:
    """Convert a value to what JSON gives back.

    Dataclasses and mappings become dictionaries, tuples lists, paths strings, and NaN None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return None if value != value else float(value)
    return value
