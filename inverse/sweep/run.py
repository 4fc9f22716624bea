"""From the file of a sweep to the folders of its runs and one table."""

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inverse.sweep.attempt import RECORD, is_done, last_words
from inverse.sweep.cluster import run_ray
from inverse.sweep.config import SweepJob
from inverse.sweep.plan import Plan, PlannedRun, load_plan
from inverse.sweep.processes import run_processes
from inverse.sweep.slurm import write_sbatch
from inverse.sweep.table import CSV, PAGE, write_table


CPUS = 2  # of a run, where the number of workers is not given


def run_sweep(job: SweepJob) -> list[dict[str, Any]]:
    """Compute the runs of a sweep that are missing, and write its table.

    Returns the rows of the table, as `rows_of` does; none for a part of a sweep. A run that is
    killed or fails costs the others nothing. Raises ValueError, in one sentence, for a sweep that
    cannot be used, and ImportError for an engine that is not installed.
    """
    plan = load_plan(job.sweep, job.out)
    if job.sbatch:
        print(f"sbatch {write_sbatch(job, plan)}")
        return []
    if job.only is not None:
        if job.only >= len(plan.runs):
            raise ValueError(f"only: got {job.only}, expected 0 to {len(plan.runs) - 1}")
        plan = dataclasses.replace(plan, runs=plan.runs[job.only : job.only + 1])
    missing = [run for run in plan.runs if job.again or not is_done(run)]
    print(f"{len(plan.runs)} runs, {len(missing)} of them to do, in {plan.out}", flush=True)
    if job.dry:
        for run in missing:
            print(shlex.join(["taichi-phys", *run.words, "--out", str(run.folder)]))
        return []
    if job.again:
        for run in missing:
            (run.folder / RECORD).unlink(missing_ok=True)
    if missing:
        _compute(job, plan, missing)
    if job.only is not None:
        return []
    rows = write_table(plan, f"Sweep: {Path(job.sweep).stem}")
    done = sum(row["status"] == "done" for row in rows)
    print(f"{done} of {len(rows)} runs are done: {plan.out / PAGE}, {plan.out / CSV}")
    return rows


def _compute(job: SweepJob, plan: Plan, missing: list[PlannedRun]) -> None:
    workers = job.workers or plan.workers or max(_cpus() // CPUS, 1)
    with tqdm(total=len(missing), desc="sweep", unit="run", disable=None) as bar:

        def done(run: PlannedRun, code: int) -> None:
            if code:
                how = f"killed by signal {-code}" if code < 0 else f"failed with code {code}"
                bar.write(f"{run.folder.name}: {how}: {last_words(run.folder)}")
            bar.update()

        common: dict[str, Any] = {
            "workers": workers,
            "retries": job.retries,
            "resumable": plan.resumable,
            "done": done,
        }
        if job.engine == "ray" or job.address is not None:
            run_ray(missing, address=job.address, **common)
        else:
            run_processes(missing, **common)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
