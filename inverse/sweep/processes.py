"""Runs as processes of this machine, some at the same time."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence

from inverse.sweep import attempt
from inverse.sweep.attempt import LOG, begin, end, words_of
from inverse.sweep.plan import PlannedRun


POLL = 0.05  # s
PATIENCE = 30.0  # s, that a run has to save its checkpoint when it is stopped


class _Child:
    """A process that computes a run, on some of the CPUs."""

    def __init__(self, run: PlannedRun, cpus: set[int], resumable: bool):
        self.run, self.cpus, self.start = run, cpus, time.perf_counter()
        self.resumed = begin(run) > 1 and resumable
        words = [*attempt.PROGRAM, *words_of(run, resume=self.resumed)]
        with open(run.folder / LOG, "ab") as log:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it through us alone
            )
        if cpus and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(OSError):  # it has already ended
                os.sched_setaffinity(self.process.pid, cpus)

    def code(self) -> int | None:
        """The exit code, None as long as it runs."""
        code = self.process.poll()
        if code is not None:
            end(self.run, code, time.perf_counter() - self.start)
        return code


def run_processes(
    runs: Sequence[PlannedRun],
    *,
    workers: int,
    retries: int,
    resumable: bool,
    done: Callable[[PlannedRun, int], None],
) -> None:
    """Compute runs, each in a process of its own, with its share of the CPUs.

    workers: number of processes at the same time; retries: how often a run is begun again whose
    process was killed by a signal; resumable: whether the command takes --resume, so that such a
    run goes on from its checkpoint; done: called with each run and its last exit code. When it is
    interrupted, it stops the processes, which save their checkpoints.
    """
    waiting, tries = list(runs), dict.fromkeys((run.folder for run in runs), 0)
    shares, children = _shares(min(workers, max(len(runs), 1))), dict[int, _Child]()
    try:
        while waiting or children:
            for slot, cpus in enumerate(shares):
                if slot not in children and waiting:
                    children[slot] = _Child(waiting.pop(0), cpus, resumable)
            time.sleep(POLL)
            for slot, child in list(children.items()):
                code = child.code()
                if code is None:
                    continue
                del children[slot]
                tries[child.run.folder] += 1
                # one that cannot be resumed, because it was killed in a bad moment, starts anew
                again = code < 0 or (code != 0 and child.resumed)
                if again and tries[child.run.folder] <= retries:
                    if code > 0:
                        (child.run.folder / attempt.RECORD).unlink(missing_ok=True)
                    waiting.insert(0, child.run)
                else:
                    done(child.run, code)
    finally:
        for child in children.values():
            child.process.terminate()
        for child in children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(PATIENCE)
            child.process.kill()


def _shares(workers: int) -> list[set[int]]:
    """The CPUs of each worker; all of them, where there are fewer CPUs than workers."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(workers)]
    cpus = sorted(os.sched_getaffinity(0))
    if workers > len(cpus):
        return [set(cpus) for _ in range(workers)]
    ends = [round(i * len(cpus) / workers) for i in range(workers + 1)]
    return [set(cpus[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
