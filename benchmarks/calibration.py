"""How often the true net force lies within the standard deviations that runs give of theirs.

    python benchmarks/calibration.py [RUN ...] [--scene NAME ...] [--views 1 2] [--out DIR]

RUN: folders of finished runs whose clips come with a ground_truth.npz. Without any, clips are made
and solved first: scenes of `wind_tables.py` (--scene, default: two), from one and from two views.
Errors and standard deviations are compared as lengths, in all frames; fields on the nodes of the
truth. Those of Gaussian errors are within one standard deviation in 61 to 68 % and within two in 95
to 99 %, depending on how alike the axes are.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from wind_tables import FRAMES, PARTICLES, PIXELS, make_clip, scenes, score

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.wind import WindConfig
from inverse.wind.results.truth import Truth, load_truth, within
from inverse.wind.run import WindRun


TRUTH = "ground_truth.npz"
SCENES = ("ring", "dough")
SMALL = {"frames": 8, "pixels": 128, "particles": 800}  # of --quick


def make_runs(names: list[str], views: list[int], out: Path, *, quick: bool) -> list[Path]:
    """The folders of the runs of scenes, made and solved."""
    table, found = scenes(None, None), []
    size = SMALL if quick else {"frames": FRAMES, "pixels": PIXELS, "particles": PARTICLES}
    config, cells = (WindConfig(smooth=1), 8) if quick else (WindConfig(), None)
    tp.init()
    for name in names:
        make_clip(table[name], out / name, **size)
        for count in views:
            score(table[name], out / name, views=count, config=config, cells=cells)
            found.append(out / name / f"run_{count}")
    return found


def read(folder: Path) -> tuple[WindRun, Truth]:
    """A run and the truth of its clip. Raises ValueError where there is none."""
    run = WindRun.load(folder)
    truth = load_truth(Path(run.job.video[0]).parent / TRUTH, len(run.t), run.t)
    if truth is None or np.isnan(run.net_std).any():
        raise ValueError(f"{folder}: expected a run with standard deviations, and {TRUTH} beside "
                         "its clip")  # fmt: skip
    return run, truth


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="*", help="folders of finished runs")
    parser.add_argument("--scene", nargs="*", default=list(SCENES), help="of wind_tables.py")
    parser.add_argument("--views", type=int, nargs="*", default=[1, 2], choices=(1, 2))
    parser.add_argument("--out", default="out/calibration", help="folder of clips and runs")
    parser.add_argument("--quick", action="store_true", help="small and short, to see it work")
    return parser


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Print the table; returns the shares over all frames."""
    parser = make_parser()
    args = parser.parse_args(argv)
    unknown = set(args.scene) - set(scenes(None, None))
    if unknown:
        parser.error(f"scene: got {', '.join(sorted(unknown))}, expected scenes of wind_tables.py")
    folders = [Path(folder) for folder in args.run]
    folders = folders or make_runs(args.scene, args.views, Path(args.out), quick=args.quick)
    print(f"{'run':28s} error  known to  within 1  within 2   field: within 1  within 2")
    off, limits = [], []
    for folder in folders:
        run, truth = read(folder)
        mass = run.mass.sum()
        error, std = run.force.sum(axis=1) / mass - truth.net, run.net_std / mass
        shares = within(error, std)
        sizes = (np.sqrt((a**2).sum(axis=1).mean()) for a in (error, std, truth.net))
        wrong, known, true = sizes
        line = f"{folder.name[-28:]:28s} {wrong / true:5.0%}  {known / true:8.0%}"
        line += f"  {shares['one']:8.0%}  {shares['two']:8.0%}"
        if truth.nodes is not None and truth.external is not None:
            near = cKDTree(run.x[0]).query(truth.nodes[0])[1]
            field, part = (a[:, near] / run.mass[near, None] for a in (run.force, run.std))
            local = within(field - truth.external, part)
            line += f"   {local['one']:15.0%}  {local['two']:8.0%}"
        print(line, flush=True)
        off.append(error / np.linalg.norm(std, axis=1, keepdims=True))
        limits.append(std / np.linalg.norm(std, axis=1, keepdims=True))
    pooled = within(np.concatenate(off), np.concatenate(limits))
    print(f"{'all frames':28s} {'':5s}  {'':8s}  {pooled['one']:8.0%}  {pooled['two']:8.0%}")
    return pooled


if __name__ == "__main__":
    sys.exit(stoppable(main))
