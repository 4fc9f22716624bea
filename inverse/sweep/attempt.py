"""One run of a sweep: its command line, and the record that it leaves in its folder."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from inverse.runs.settings import write_json
from inverse.sweep.plan import PlannedRun


RECORD, LOG = "sweep.json", "log.txt"
PROGRAM = (sys.executable, "-m", "inverse.commands")


def read_record(run: PlannedRun) -> dict[str, Any] | None:
    """The record of a run's last attempt, None if there is none with the same command line."""
    try:
        record = json.loads((run.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(record, dict) and record.get("words") == list(run.words)
    return record if same else None


def is_done(run: PlannedRun) -> bool:
    """Whether the run has ended well."""
    record = read_record(run)
    return record is not None and record.get("code") == 0


def words_of(run: PlannedRun, *, resume: bool) -> list[str]:
    """The words of a run's command line, after taichi-phys."""
    return [*run.words, "--out", str(run.folder), *["--resume"] * resume]


def begin(run: PlannedRun) -> int:
    """Make the folder of a run and note in it that an attempt begins; returns its number, from 1.

    The record has no code until the attempt has ended: a run whose process dies is not done.
    """
    record = read_record(run) or {}
    attempts = 1 if record.get("code") == 0 else int(record.get("attempts", 0)) + 1
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(
        run.folder / RECORD, {"words": run.words, "attempts": attempts, "begun": time.time()}
    )
    return attempts


def end(run: PlannedRun, code: int, seconds: float) -> None:
    """Note the exit code of an attempt, negative for the signal that killed it."""
    record = read_record(run) or {"words": run.words, "attempts": 1}
    write_json(run.folder / RECORD, record | {"code": code, "seconds": seconds})


def here(run: PlannedRun, resumable: bool) -> int:
    """Run in this process, with all output in the run's log; returns the exit code.

    For workers that are processes of another engine, one run each.
    """
    from inverse.commands import main

    start, attempts = time.perf_counter(), begin(run)
    log = os.open(run.folder / LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    before = [os.dup(1), os.dup(2)]
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        code = main(words_of(run, resume=resumable and attempts > 1))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, old in zip((1, 2), before, strict=True):
            os.dup2(old, stream)
            os.close(old)
        os.close(log)
    end(run, code, time.perf_counter() - start)
    return code


def last_words(folder: Path) -> str:
    """The last line that a run has printed."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.rpartition("\r")[2].strip() for line in lines]
    return next((line for line in reversed(said) if line), "")
