"""The file of a sweep: a command, and the values of its parameters in each run."""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import io
import itertools
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inverse.commands import COMMANDS
from taichi_phys.scenes.lines import read_toml


KEYS = ("command", "out", "workers", "grid", "runs")
LONGEST = 80  # characters of a folder's name
SET = "--set"  # flag of commands that change values of a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run of a sweep.

    values: of its parameters, by name; words: of its command line, after taichi-phys, without
    --out; folder: of its results.
    """

    values: dict[str, Any]
    words: tuple[str, ...]
    folder: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep: its runs in order, its folder, the number of workers that its file asks for, and
    whether its command takes --resume."""

    runs: tuple[PlannedRun, ...]
    out: Path
    workers: int | None
    resumable: bool

    @property
    def names(self) -> list[str]:
        """The parameters, in the order in which they first appear."""
        return list(dict.fromkeys(name for run in self.runs for name in run.values))


def load_plan(path: str | Path, out: str | None = None) -> Plan:
    """The plan in a TOML file.

    out: folder of the results, in place of the file's. Raises ValueError, in one sentence, for a
    file that cannot be used, and for a run whose flags the command does not take.
    """
    path = Path(path)
    data, _ = read_toml(path)
    for key in data:
        if key not in KEYS:
            raise ValueError(f"{path}: {key}: unknown key, expected one of {', '.join(KEYS)}")
    command = data.get("command")
    words = shlex.split(command) if isinstance(command, str) else list(map(str, command or []))
    if not words or words[0] not in COMMANDS:
        raise ValueError(
            f'{path}: command: got {command!r}, expected one such as "simulate jelly_drop"'
        )
    parser = importlib.import_module(f"inverse.commands.{words[0]}").make_parser()
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    if words[0] == "sweep" or "--out" not in flags:
        raise ValueError(f"{path}: command: {words[0]} has no runs with folders of their own")
    folder = Path(out or data.get("out") or Path("out") / path.stem)
    workers = data.get("workers")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f"{path}: workers: got {workers!r}, expected a whole number >= 1")
    runs = []
    for values in _combinations(path, data):
        line = (*words[:1], *_words(path, values, parser, flags, tuple(words[1:])))
        _check(path, parser, line, values)
        runs.append(PlannedRun(values=values, words=line, folder=folder / "runs" / _name(values)))
    folders = [run.folder for run in runs]
    twice = [one.name for one in folders if folders.count(one) > 1]
    if twice:
        raise ValueError(f"{path}: runs: {twice[0]} is there twice")
    return Plan(runs=tuple(runs), out=folder, workers=workers, resumable="--resume" in flags)


def _combinations(path: Path, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    grid, more = data.get("grid", {}), data.get("runs", [])
    grid = _flat(grid) if isinstance(grid, dict) else grid
    if not isinstance(grid, dict) or not all(isinstance(v, list) and v for v in grid.values()):
        raise ValueError(f"{path}: grid: expected a table of lists, such as E = [1e4, 2e4]")
    if not isinstance(more, list) or not all(isinstance(one, dict) for one in more):
        raise ValueError(f"{path}: runs: expected tables [[runs]]")
    made = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    runs = [*(made if grid else []), *map(_flat, more)]
    if not runs:
        raise ValueError(f"{path}: grid: missing, and so is runs; expected values of parameters")
    return runs


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values with dotted names, so that body.1.material.E may be written without quotes."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def _words(
    path: Path,
    values: Mapping[str, Any],
    parser: argparse.ArgumentParser,
    flags: Mapping[str, argparse.Action],
    given: tuple[str, ...],
) -> list[str]:
    """The words of a command line with these values: of flags, positions, or parts of a file."""
    places = {action.dest for action in parser._actions if not action.option_strings}
    before, after = [], []
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        if flag in flags:
            after += _flag_words(flag, value, flags[flag])
        elif name in places:
            before.append(str(value))
        elif SET in flags:
            after += [SET, f"{name}={_toml(value)}"]
        else:
            raise ValueError(f"{path}: {name}: the command has no flag {flag}")
    return [*before, *given, *after]


def _flag_words(flag: str, value: Any, action: argparse.Action) -> list[str]:
    if action.nargs == 0:  # on or off
        off = f"--no-{flag[2:]}"
        return [flag] if value is True else [off] if off in action.option_strings else []
    several = value if isinstance(value, list) else [value]
    if action.nargs is None:
        return [f"{flag}={_plain(one)}" for one in several]
    return [flag, *map(_plain, several)]


def _plain(value: Any) -> str:
    """A value as it is typed; argparse takes -1e-5 for a flag, and -0.00001 for a number."""
    if isinstance(value, float):
        return f"{value:.17f}".rstrip("0") if value < 0 and "e" in repr(value) else repr(value)
    return str(value)


def _toml(value: Any) -> str:
    return json.dumps(value)  # of numbers, texts, booleans and lists, TOML is the same


def _check(
    path: Path, parser: argparse.ArgumentParser, words: tuple[str, ...], values: Mapping[str, Any]
) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words[1:])
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ValueError(f"{path}: {_name(values)}: {reason}") from None


def _name(values: Mapping[str, Any]) -> str:
    """The name of a folder, the same for the same values."""
    parts = []
    for name, value in values.items():
        text = _toml(value).replace('"', "")
        parts.append(f"{name.rpartition('.')[2]}={re.sub(r'[^0-9A-Za-z.+-]+', '_', text)}")
    name = ",".join(parts)
    short = len(set(part.partition("=")[0] for part in parts)) == len(parts)
    if short and len(name) <= LONGEST and "_" not in name:
        return name
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{name[:LONGEST]},{digest}"
