"""Runs as tasks of Ray, on this machine or in a cluster."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from inverse.sweep.attempt import here
from inverse.sweep.plan import PlannedRun


def run_ray(
    runs: Sequence[PlannedRun],
    *,
    workers: int,
    retries: int,
    resumable: bool,
    address: str | None,
    done: Callable[[PlannedRun, int], None],
) -> None:
    """Compute runs as tasks of Ray, each in a worker of its own.

    address: of a cluster, None for processes of this machine; the machines of a cluster see the
    folders of the runs under the same paths, and have this package. The rest as in
    `run_processes`; Ray begins a task again whose worker was killed. Raises ImportError.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("this needs a package that is not installed: pip install ray") from None
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options = {"log_to_driver": False, "include_dashboard": False, "num_cpus": max(cpus, workers)}
    own = not ray.is_initialized()
    if own:
        ray.init(**(options if address is None else {"address": address, "log_to_driver": False}))
    try:
        # max_calls: a new process for each run, since Taichi and torch keep what they were set to
        task = ray.remote(max_calls=1, max_retries=retries)(here)
        share = max(cpus // workers, 1)
        task = task.options(num_cpus=share, runtime_env={"env_vars": _threads(share)})
        waiting, tasks = list(runs), dict[Any, PlannedRun]()
        while waiting or tasks:
            while waiting and len(tasks) < workers:
                run = waiting.pop(0)
                tasks[task.remote(run, resumable)] = run
            (ready, *_), _ = ray.wait(list(tasks), num_returns=1)
            run = tasks.pop(ready)
            try:
                code = ray.get(ready)
            except ray.exceptions.WorkerCrashedError:
                code = -9
            done(run, code)
    finally:
        if own:
            ray.shutdown()


def _threads(count: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TI_CPU_MAX_NUM_THREADS")
    return dict.fromkeys(names, str(count)) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
