"""A sweep as an array of jobs for SLURM."""

import shlex
import sys
from pathlib import Path

from inverse.sweep.config import SweepJob
from inverse.sweep.plan import Plan
from taichi_phys.io.files import atomic_path


SCRIPT = "sweep.sbatch"


def write_sbatch(job: SweepJob, plan: Plan) -> Path:
    """Write the script that `sbatch` takes; returns its path.

    Each job of the array computes one run, as `--only` does; when all have ended, the same sweep
    without --sbatch writes the table and computes what is missing.
    """
    out = plan.out.resolve()
    words = [sys.executable, "-m", "inverse.commands", "sweep", str(Path(job.sweep).resolve())]
    words += ["--out", str(out), "--retries", str(job.retries)]
    workers = job.workers or plan.workers
    limit = "" if workers is None else f"%{workers}"
    text = f"""#!/bin/bash
#SBATCH --job-name={Path(job.sweep).stem}
#SBATCH --array=0-{len(plan.runs) - 1}{limit}
#SBATCH --cpus-per-task=2
#SBATCH --output={out}/slurm_%a.txt
#SBATCH --requeue
cd {shlex.quote(str(Path.cwd()))}
exec {shlex.join(words)} --only "$SLURM_ARRAY_TASK_ID"
"""
    path = out / SCRIPT
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
