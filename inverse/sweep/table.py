"""The table of a sweep: one row for each run, with its parameters and its numbers."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from inverse.runs.folder import METRICS
from inverse.runs.report import Report
from inverse.sweep.attempt import last_words, read_record
from inverse.sweep.plan import Plan, PlannedRun
from taichi_phys.io.files import atomic_path


CSV, PAGE = "sweep.csv", "sweep.html"
STATUS = ("run", "status", "attempts", "seconds")
SHOWN = 12  # numbers of a run on the page; sweep.csv has all


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """A row for each run: its folder's name, status, attempts, seconds, parameters and numbers.

    status: done, failed, killed, or missing; the numbers are those of metrics.json, with dotted
    names.
    """
    return [_row(run) for run in plan.runs]


def _row(run: PlannedRun) -> dict[str, Any]:
    record = read_record(run)
    row: dict[str, Any] = {"run": run.folder.name, "status": "missing", "attempts": 0}
    row["seconds"] = None
    if record is not None:
        code = record.get("code")
        row["status"] = "missing" if code is None else "done" if code == 0 else (
            "killed" if code < 0 else "failed"
        )  # fmt: skip
        row |= {"attempts": record["attempts"], "seconds": record.get("seconds")}
    row |= run.values
    if row["status"] == "done":
        try:
            metrics = json.loads((run.folder / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            metrics = {}
        row |= {name: value for name, value in _numbers(metrics) if name not in row}
    return row


def _numbers(record: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a record by dotted names; lists are left out."""
    if isinstance(record, Mapping):
        for name, value in record.items():
            yield from _numbers(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(record, int | float) and math.isfinite(record):
        yield prefix, record


def write_table(plan: Plan, title: str) -> list[dict[str, Any]]:
    """Write sweep.csv and sweep.html to the folder of the sweep; returns the rows."""
    rows = rows_of(plan)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(plan.out / CSV) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    report = Report(title)
    counts = {s: sum(row["status"] == s for row in rows) for s in ("done", "failed", "killed")}
    report.summary(f"{len(rows)} runs, {counts['done']} of them done.")
    bad = [row for row in rows if row["status"] in ("failed", "killed")]
    if bad:
        said = {run.folder.name: last_words(run.folder) for run in plan.runs}
        report.notice("; ".join(f"{r['run']}: {r['status']}: {said[r['run']]}" for r in bad), "bad")
    known = [*STATUS, *plan.names]
    numbers = [name for name in columns if name not in known]
    differing = [n for n in numbers if len({row.get(n) for row in rows} - {None}) > 1]
    header = [*known, *differing[:SHOWN]]
    report.table("Runs", [[row.get(name) for name in header] for row in rows], header)
    if len(differing) > SHOWN:
        report.text(f"{CSV} has all {len(numbers)} numbers of each run.")
    report.write(plan.out / PAGE)
    return rows
