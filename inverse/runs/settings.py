"""Command-line flags and JSON files made from the dataclass that holds the settings."""

import argparse
import dataclasses
import json
import types
import typing
from pathlib import Path

from taichi_phys.io.files import atomic_path


def option(default, help: str, **metadata):
    """A dataclass field with its help text; choices and metavar may be given too."""
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


def _item_type(field) -> tuple[type, int | None]:
    """The type of one value on the command line, and how many make the field (None: one)."""
    kind = field.type
    if isinstance(kind, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        return items[0], -1 if Ellipsis in items else len(items)
    return kind, None


def add_flags(parser: argparse.ArgumentParser, settings: type) -> None:
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
        elif count == -1:
            parser.add_argument(flag, type=kind, action="append", **common, **extra)
        else:
            parser.add_argument(flag, type=kind, nargs=count, **common, **extra)


def from_flags(settings: type, arguments: argparse.Namespace):
    """The dataclass with what was given on the command line; defaults elsewhere."""
    names = {field.name for field in dataclasses.fields(settings)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return from_record(settings, given)


def from_record(settings: type, record: dict):
    """The dataclass from a record, in which tuples may have become lists."""
    return settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items()})


def write_json(path: str | Path, record: dict) -> None:
    """Write a record as JSON, at once or not at all; NaN becomes null."""
    text = json.dumps(_plain(record), indent=2)
    with atomic_path(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _plain(value):
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value
