"""Find materials of our own scenes from noisy points, and from two films, and print a table.

    python benchmarks/material_recovery.py                  # all kinds, five objects each
    python benchmarks/material_recovery.py --kinds elastic --objects 0
    python benchmarks/material_recovery.py --noise 0        # what the search misses by itself

The objects of the scenes are made of other particles than those of the search, twelve times as
many, at other places, and points have a noise of 0.5 mm. The guess of every value but Poisson's
ratio is ten times off, up and down in turn. The last columns say how many of the 95 % intervals
hold the truth.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.identification import MaterialConfig, MaterialJob, fit_material
from inverse.identification.bodies import make_simulator
from inverse.identification.evidence import Followers
from inverse.identification.inputs import read_force
from inverse.identification.simulator import BodySimulator
from inverse.runs.folder import write_npz
from inverse.runs.settings import write_json
from renderers.camera import camera_record
from renderers.images import to_bytes
from renderers.orbit import look_at
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video


SIZE = np.array([0.2, 0.14, 0.1])  # m, of the block
FRAMES, FPS = 24, 40.0
MARKERS, NOISE = 150, 5e-4  # m
MORE = 12.0  # times the particles of the search, and three times those of its correction
FILM = 96  # px
# What is true, as multiples for the objects of a kind; guesses are ten times more or less.
FACTORS = (1.0, 1.6, 0.7, 2.2, 0.5)
RATIOS = (0.3, 0.2, 0.38, 0.25, 0.42)
KINDS: dict[str, dict[str, Any]] = {
    "elastic": {"material": "elastic", "E": 5e3, "pull": 140.0},
    "floor": {"material": "elastic", "E": 2e4, "pull": 0.0},
    "elastoplastic": {
        "material": "elastoplastic", "E": 2e4, "yield_stress": 1e3, "pull": 260.0,
    },
    "viscoplastic": {
        "material": "viscoplastic", "E": 2e4, "yield_stress": 4e2, "viscosity": 60.0,
        "pull": 130.0,
    },
    "films": {"material": "elastic", "E": 5e3, "pull": 140.0},
}  # fmt: skip
BOUNDS = {"E": 5.0, "nu": 0.03, "yield_stress": 10.0, "viscosity": 15.0}


def truth_of(kind: str, number: int) -> dict[str, float]:
    """The true values of an object."""
    kinds = {k: v for k, v in KINDS[kind].items() if k not in ("material", "pull")}
    turns = np.roll(FACTORS, -number)
    values = {name: float(v * turns[k]) for k, (name, v) in enumerate(kinds.items())}
    if "yield_stress" in values:  # yields, but not at once
        values["yield_stress"] = kinds["yield_stress"] * float(turns[0]) ** 0.5
        values["E"] = kinds["E"] * float(turns[0])
    return {**values, "nu": RATIOS[number]}


def make_scene(
    kind: str, number: int, particles: int, folder: Path, noise: float = NOISE
) -> MaterialJob:
    """Simulate an object, write what is seen of it, and return the job that has to find it.

    noise: m, of the points; films have one of their own.
    """
    import trimesh

    settings, truth = KINDS[kind], truth_of(kind, number)
    rng = np.random.default_rng(100 * list(KINDS).index(kind) + number)
    folder.mkdir(parents=True, exist_ok=True)
    low = np.array([-0.1, -0.07, 0.06 if kind == "floor" else 0.0])
    trimesh.creation.box(bounds=[low, low + SIZE]).export(folder / "mesh.ply")
    given: dict[str, Any] = {"mesh": str(folder / "mesh.ply"), "material": settings["material"]}
    t = np.arange(FRAMES) / FPS
    if kind == "floor":
        given["floor"] = 0.0
        start = {"velocity": np.array([0.4, 0.1, -0.5]), "spin": np.array([0.0, 3.0, 0.0])}
    else:
        pull = settings["pull"]
        if "yield_stress" in truth:  # as far beyond it as the others
            pull *= truth["yield_stress"] / settings["yield_stress"]
        write_force(folder / "force.npz", pull, low, rng, gently="yield_stress" in truth)
        given["force"] = str(folder / "force.npz")
        start = {"velocity": np.array([0.1, 0.05, 0.0]), "spin": np.array([0.0, 0.5, 0.3])}
    # the truth is simulated as a job of its own
    fine = MaterialJob(motion="none", seed=31 + number, **given, **truth)
    force = read_force(fine.force, 0.0) if fine.force else None
    body = make_simulator(fine, t, round(MORE * particles), low[None], None, force)
    values = {name: np.array([value]) for name, value in truth.items()} | start
    x = _wide(body).run(values, FRAMES)[0]
    off = 10.0 if number % 2 == 0 else 0.1
    guess = {name: value * off for name, value in truth.items() if name != "nu"} | {"nu": 0.3}
    if kind == "films":
        given |= write_films(folder, x, low, rng)
    else:
        points = low + SIZE * rng.uniform(0.02, 0.98, (MARKERS, 3))
        followers = Followers(x[0], points)
        seen = followers.place(x, followers.stretch(x))
        given["motion"] = str(folder / "motion.npz")
        write_npz(folder / "motion.npz", t=t, x=seen + noise * rng.standard_normal(seen.shape))
    return MaterialJob(out=str(folder / "out"), **given, **guess)


def _wide(body: BodySimulator) -> BodySimulator:
    """The simulator with room for any motion; a grid costs nothing where nothing is."""
    grid = tp.Grid.around(body.x0, dx=body.sim.grid.dx, margin=0.4)
    return BodySimulator(
        body.sim.replace(grid=grid), body.labels, body.t, body.force, body.fixed_density
    )


def write_force(
    path: Path, pull: float, low: np.ndarray, rng: np.random.Generator, *, gently: bool
) -> None:
    """A force that stretches and shears the block, then bends it, known at a lattice.

    gently: it stretches it twice, first so little that nothing flows, which tells the stiffness.
    """
    axes = [np.linspace(a, b, 7) for a, b in zip(low, low + SIZE, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    t = np.arange(4 * FRAMES) / (4 * FPS)
    d = places - places.mean(axis=0)
    stretch = np.array([[1.0, 0.3, 0.0], [0.3, -0.5, 0.0], [0.0, 0.0, -0.5]])
    bend = np.stack([0 * d[:, 0], 0 * d[:, 0], d[:, 0] ** 2 - (d[:, 0] ** 2).mean()], axis=1)
    field = d @ stretch.T
    first, second = (np.exp(-(((t - at) / 0.05) ** 2)) for at in (0.1, 0.3))
    turn = rng.uniform(-0.2, 0.2)
    later = field + 2 * bend if gently else 12 * bend + turn * d[:, ::-1]
    early = 0.4 * field if gently else field
    shape = first[:, None, None] * early + second[:, None, None] * later
    write_npz(path, t=t, x=places, acceleration=pull * shape)


def write_films(
    folder: Path, x: np.ndarray, low: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Two films of Gaussians on the block, and the model of frame 0."""
    points = low + SIZE * rng.random((2500, 3))
    side = rng.integers(3, size=len(points))
    face = np.where(rng.random(len(points)) < 0.5, low[side], (low + SIZE)[side])
    points[np.arange(len(points)), side] = face
    waves = np.sin(points * [60.0, 90.0, 120.0] + rng.uniform(0, 6, 3))
    fields: Mapping[str, Any] = {
        "means": points,
        "quats": np.tile([1.0, 0, 0, 0], (len(points), 1)),
        "scales": np.full((len(points), 3), 0.004),
        "opacities": np.full(len(points), 0.9),
        "colors": 0.5 + 0.4 * waves,
    }
    model = Gaussians.from_colors(
        **{k: torch.as_tensor(v, dtype=torch.float32) for k, v in fields.items()}
    )
    save_gaussians(folder / "model.ply", model)
    followers = Followers(x[0], points)
    stretch = followers.stretch(x)
    means = followers.place(x, stretch)
    given: dict[str, Any] = {"model": str(folder / "model.ply"), "video": (), "camera": ()}
    given["background"] = (1.0, 1.0, 1.0)
    center = low + SIZE / 2
    for view, eye in enumerate(([0.35, -0.45, 0.25], [-0.4, -0.4, 0.2])):
        camera = look_at((center + eye).tolist(), center.tolist(), width=FILM, height=FILM, fov=36)
        frames = []
        for k in range(FRAMES):
            F = torch.as_tensor(stretch[k], dtype=torch.float32)
            shown = render(
                camera,
                means=torch.as_tensor(means[k], dtype=torch.float32),
                covariances=F @ model.covariances() @ F.mT,
                opacities=model.opacities,
                sh=model.sh,
                background=(1.0, 1.0, 1.0),
            ).rgb.cpu()
            shown = shown + 0.01 * torch.as_tensor(rng.standard_normal(shown.shape))
            frames.append(to_bytes(shown.clamp(0, 1)))
        video, file = folder / f"video_{view}.mp4", folder / f"camera_{view}.json"
        write_video(video, frames, FPS)
        write_json(file, camera_record(camera))
        given["video"] += (str(video),)
        given["camera"] += (str(file),)
    return given


def recover(kind: str, number: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make one object and find it: error and whether the interval holds the truth, by name."""
    job = make_scene(kind, number, args.particles, folder, args.noise)
    config = MaterialConfig(particles=args.particles, coarse=args.coarse)
    start = time.perf_counter()
    run = fit_material(job, config)
    print(f"  {kind} {number}: {run.metrics['verdict']['sentence']}", flush=True)
    found: dict[str, Any] = {"seconds": time.perf_counter() - start}
    for name, value in truth_of(kind, number).items():
        record = run.metrics["values"][name]
        error = record["value"] - value
        found[name] = (
            abs(error) if name == "nu" else 100 * abs(error) / value,
            record["low"] <= value <= record["high"],
        )
    return found


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument(
        "--objects", type=int, nargs="+", choices=range(5), default=[*range(5)],
        help="which of the objects of each kind",
    )  # fmt: skip
    parser.add_argument("--noise", type=float, default=NOISE, help="m, of the points")
    parser.add_argument("--particles", type=int, default=2000, help="of the search")
    parser.add_argument("--coarse", type=int, default=500, help="of its first stages")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Recover all objects and print the table."""
    args = make_parser().parse_args(argv)
    tp.init()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            found = [
                recover(kind, number, args, Path(folder) / f"{kind}_{number}")
                for number in args.objects
            ]
            seconds = float(np.mean([f["seconds"] for f in found]))
            for name in (key for key in found[0] if key != "seconds"):
                errors = [f[name][0] for f in found]
                inside = sum(f[name][1] for f in found)
                rows.append(
                    (kind, name, np.median(errors), max(errors), inside, len(found), seconds)
                )
    print("\n| scene | value | median error | largest | bound | truth in interval | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, name, median, most, inside, count, seconds in rows:
        unit = "" if name == "nu" else " %"
        bound = 15.0 if kind == "films" and name == "E" else BOUNDS[name]
        print(
            f"| {kind} | {name} | {median:.2g}{unit} | {most:.2g}{unit} | {bound:g}{unit} | "
            f"{inside} of {count} | {seconds:.0f} |"
        )


if __name__ == "__main__":
    sys.exit(stoppable(main))
