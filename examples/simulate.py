"""Run a scene file: simulate, film, export.

    python examples/simulate.py assets/scenes/dam_break.toml
    python examples/simulate.py my.toml --frames 12 --coarsen 2      # a quick look
    python examples/simulate.py my.toml --resume                     # go on with a stopped run

Writes video.mp4, config.json, metrics.json, report.html, frames/ and checkpoints/state.npz, from
which --resume goes on bit for bit, to --out.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

import taichi_phys as tp
from inverse.commands.runner import run_command
from inverse.runs.plots import plot_lines
from inverse.runs.report import Report, environment
from inverse.runs.settings import (
    add_flags,
    from_flags,
    option,
    write_json,
)  # fmt: skip
from renderers.lines import box_lines
from renderers.orbit import look_at
from renderers.particles.draw import (
    Floor,
    Surface,
    ball_mesh,
    box_mesh,
    capsule_mesh,
    color_map,
    film,
    view,
)  # fmt: skip
from taichi_phys.io.states import INDEX, load_extras, remove_frames
from taichi_phys.runtime import one_torch_thread
from taichi_phys.scenes.keys import near
from taichi_phys.scenes.scene import Scene, load_scene, shrink


PALETTE = ("#3d85c8", "#e2813b", "#4ba86c", "#b25fc0", "#d1a827", "#c5534f", "#4fb2b5", "#83889a")
BALL = 0.62  # radius of a drawn particle by the edge of its cube: balls just overlap
ROOM = 0.04  # of the extent of what is filmed, free at each side
FREE = ("camera", "title")  # parts of a scene that may change before a run is resumed
FREE_OUTPUT = ("video", "report", "color", "limits", "colormap", "radius")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says beside the scene file."""

    out: str | None = option(None, "folder for results; default: out/NAME of the scene")
    frames: int | None = option(None, "stop after so many, if the scene has more")
    coarsen: float = option(1.0, "cells and particles so many times as large: 2 is 16 times faster")
    resume: bool = option(False, "go on with a stopped run in --out")
    video: bool | None = option(None, "default: as the scene says")
    check: bool = option(False, "only check the scene and say what is in it")
    arch: str = option("auto", "default: a GPU if torch sees one", choices=["auto", "cpu", "cuda"])
    threads: int | None = option(None, "of the CPU; default: all")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("scene", help="a .toml file, such as those in assets/scenes")
    add_flags(parser, Options)
    return parser


def parse(args: argparse.Namespace) -> tuple[Scene, Options]:
    options = from_flags(Options, args)
    scene = shrink(load_scene(args.scene), frames=options.frames, coarsen=options.coarsen)
    if options.video is not None:
        output = dataclasses.replace(scene.output, video=options.video)
        scene = dataclasses.replace(scene, output=output)
    return scene, options


# Simulation


class Run:
    """A scene and the folder of its results."""

    def __init__(self, scene: Scene, out: Path, resume: bool):
        self.scene, self.out = scene, out
        self.checkpoint, self.config = out / "checkpoints" / "state.npz", out / "config.json"
        self.frames = out / "frames"
        self.format = "ply" if scene.output.frames == "none" else scene.output.frames
        self.done, self.seconds, self.state = 0, 0.0, None  # frames simulated so far
        if resume and self.checkpoint.exists():
            self._check_same()
            extras = load_extras(self.checkpoint)
            self.done, self.seconds = int(extras["frame"]), float(extras["seconds"])
            self.state = tp.load_state(self.checkpoint)
            if not (self.frames / INDEX).exists():
                raise ValueError(
                    f'{self.frames}: the frames of this run are gone, as frames = "none" has it; '
                    "run it anew without --resume"
                )
            if self.done > scene.time.frames:
                raise ValueError(
                    f"{self.checkpoint}: the run is at frame {self.done} already, of "
                    f"{scene.time.frames}; give more frames, or another --out"
                )
        else:
            for name in ("video.mp4", "metrics.json", "report.html"):
                (out / name).unlink(missing_ok=True)
            self.checkpoint.unlink(missing_ok=True)
        write_json(self.config, {"scene": scene.settings(), "environment": environment()})

    def _check_same(self):
        try:
            before = json.loads(self.config.read_text(encoding="utf-8"))["scene"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"{self.config}: not that of a run; give another --out") from None
        now = json.loads(json.dumps(self.scene.settings()))
        for settings in (before, now):
            settings["time"].pop("frames")
            for key in FREE:
                settings.pop(key, None)
            for key in FREE_OUTPUT:
                settings["output"].pop(key, None)
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            raise ValueError(
                f"{self.config}: cannot resume, since {', '.join(changed)} changed; run it anew "
                "without --resume, or give another --out"
            )

    def simulate(self, sim: tp.MPM, force) -> None:
        """All frames that are left; whatever happens, the last whole one is saved."""
        scene, every = self.scene, self.scene.output.every
        started = time.perf_counter() - self.seconds
        if self.state is None:
            self.state = sim.initial_state()
        if self.done == 0:
            remove_frames(self.frames)

        def kept():
            if self.done % every == 0:  # the first, or the one that was written when it stopped
                yield self.state
                self._save()
            for state in sim.run(
                frames=scene.time.frames - self.done, fps=scene.time.fps, start=self.state,
                force=force,
            ):  # fmt: skip
                self.state, self.done = state, self.done + 1
                self.seconds = time.perf_counter() - started
                if self.done % every == 0:
                    yield state
                    self._save()

        try:
            with one_torch_thread():
                tp.write_frames(
                    kept(), self.frames, format=self.format, fps=scene.time.fps / every,
                    scalars=self._scalars, start=-(-self.done // every),
                )  # fmt: skip
        except tp.SimulationError as error:
            when = f"at frame {self.done + 1}, t = {self.done / scene.time.fps:.3f} s"
            raise ValueError(f"{scene.path}: {when}: {error}") from None
        finally:
            self._save()

    def _scalars(self, state: tp.State) -> dict:
        """What frames hold beside the state; .npz has the plastic strain anyway."""
        scalars = {"plastic": state.plastic} if self.format == "ply" else {}
        if self.scene.simulation.outside == "remove":
            scalars["removed"] = state.removed
        return scalars

    def _save(self):
        tp.save_state(self.checkpoint, self.state, frame=self.done, seconds=self.seconds)


# Film


def check_look(scene: Scene) -> None:
    """Raise ValueError, before the simulation and not after it, for what cannot be drawn."""
    import matplotlib

    name = scene.output.colormap
    if name not in matplotlib.colormaps:
        hint = near(name, matplotlib.colormaps)
        raise scene.place.at("output", "colormap").error(
            f"got {name!r}, expected a colour map of matplotlib, such as viridis or magma"
            + (f"; {hint}" if hint else "")
        )


def bodies_colors(scene: Scene, counts: list[int]) -> np.ndarray:
    """(n, 3) colours of particles by body."""
    rows = []
    for i, body in enumerate(scene.bodies):
        color = body.color or _hex(PALETTE[i % len(PALETTE)])
        rows.append(np.tile(color, (counts[i], 1)))
    return np.concatenate(rows)


def _hex(text: str) -> tuple[float, ...]:
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


def values_of(frame: tp.io.states.Frame, kind: str) -> np.ndarray:
    """(n,) what particles are coloured by."""
    if kind == "speed":
        return np.linalg.norm(frame.v, axis=1)
    return frame.fields["plastic"] if kind == "plastic" else frame.x[:, 2]


def visible(frame: tp.io.states.Frame) -> np.ndarray:
    """(n, 3) m: x, NaN of the particles that were removed, which are not drawn then."""
    return np.where(frame.removed[:, None], np.nan, frame.x)


def surfaces_of(scene: Scene, colliders) -> list:
    """For each visible collider but planes: it, and how it looks where it was given."""
    result = []
    for part, collider in zip(scene.colliders, colliders, strict=True):
        if isinstance(collider, tp.Box):
            mesh = box_mesh(collider.center, collider.half_size)
        elif isinstance(collider, tp.Sphere):
            mesh = ball_mesh(collider.center, collider.radius)
        elif isinstance(collider, tp.Capsule):
            mesh = capsule_mesh(collider.start, collider.end, collider.radius)
        elif isinstance(collider, tp.Mesh):
            mesh = {"vertices": collider.mesh.vertices, "faces": collider.mesh.faces}
        else:
            continue
        if part.opacity > 0:
            look = {} if part.color is None else {"color": part.color}
            result.append((collider, Surface(**mesh, opacity=part.opacity, **look)))
    return result


def at_time(surfaces: list, t: float) -> list[Surface]:
    """Surfaces of the colliders that act at a time, where they then are."""
    shown = []
    for collider, surface in surfaces:
        if collider.during is None or collider.during[0] <= t < collider.during[1]:
            shown.append(surface if collider.pose is None else surface.moved(*collider.pose(t)))
    return shown


def floors_of(scene: Scene, colliders, center: np.ndarray, size: float, eye) -> list[Floor]:
    """Planes that face the camera; without any, the lower wall of the grid."""
    cell = 10 ** math.floor(math.log10(max(size, 1e-9)))
    cell = cell if cell < 0.7 * size else cell / 5
    planes = [
        (c.point, c.normal, part)
        for part, c in zip(scene.colliders, colliders, strict=True)
        if isinstance(c, tp.Plane) and part.opacity > 0
    ]
    if not planes and not any(isinstance(c, tp.Plane) for c in colliders):
        planes = [((0.0, 0.0, scene.grid.room[0][2]), (0.0, 0.0, 1.0), None)]
    floors = []
    for point, normal, part in planes:
        point, normal = np.array(point), np.array(normal)
        if (np.asarray(eye) - point) @ normal <= 0:
            continue
        middle = center - normal * ((center - point) @ normal)
        look = {"color": part.color} if part is not None and part.color is not None else {}
        floors.append(Floor(point=middle, normal=normal, size=2.2 * size, cell=cell / 2, **look))
    return floors


def make_film(run: Run, sim: tp.MPM, frames: tp.io.states.Frames) -> None:
    """video.mp4."""
    scene, output, look = run.scene, run.scene.output, run.scene.camera
    shown = [points for f in frames if len(points := f.x[~f.removed])]
    shown = shown or [frames[0].x]  # a scene that is empty all the time
    low = np.min([points.min(axis=0) for points in shown], axis=0)
    high = np.max([points.max(axis=0) for points in shown], axis=0)
    surfaces = surfaces_of(scene, sim.colliders)
    if look.walls:
        room = np.array(scene.grid.room)
        low, high = np.minimum(low, room[0]), np.maximum(high, room[1])
    for surface in at_time(surfaces, 0.0):
        low = np.minimum(low, surface.vertices.min(axis=0))
        high = np.maximum(high, surface.vertices.max(axis=0))
    margin = ROOM * (high - low).max() + scene.grid.dx
    low, high = low - margin, high + margin
    shape = {"width": look.width, "height": look.height, "fov": look.fov}

    def camera(k: int):
        turn = 360 * look.turns * k / len(frames)
        if look.eye is None:
            sides = {"azimuth": look.azimuth + turn, "elevation": look.elevation}
            return view(low, high, **shape, **sides)
        arm, angle = np.subtract(look.eye, look.target), math.radians(turn)
        c, s = math.cos(angle), math.sin(angle)
        arm = np.array([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1], arm[2]])
        return look_at(look.target + arm, look.target, **shape)

    first = camera(0)
    size = float(np.linalg.norm(high - low)) / 2
    common = {"floors": floors_of(scene, sim.colliders, (low + high) / 2, size, first.position)}
    common["radius"] = output.radius or BALL * sim.volume.cpu().numpy() ** (1 / 3)
    if look.background is not None:
        common["background"] = look.background
    if look.walls:
        common["lines"] = box_lines(*room)
    limits = output.limits
    if output.color == "body":
        fixed = bodies_colors(scene, [len(body) for body in sim.bodies])
    elif limits is None:
        values = (values_of(f, output.color)[~f.removed] for f in frames)
        ends = [np.quantile(v, (0.01, 0.99)) for v in values if len(v)] or [(0.0, 1.0)]
        limits = min(e[0] for e in ends), max(e[1] for e in ends)

    def pictures():
        for k, frame in enumerate(frames):
            if output.color == "body":
                colors = fixed
            else:
                colors = color_map(values_of(frame, output.color), limits, output.colormap)
            t = float(frame.time)
            yield {
                "x": visible(frame), "colors": colors, "camera": camera(k) if look.turns else first,
                "surfaces": at_time(surfaces, t), "caption": f"{scene.title}\nt = {t:.2f} s",
            }  # fmt: skip

    film(run.out / "video.mp4", pictures(), first, fps=frames.fps, count=len(frames), **common)


# Results


def measure(sim: tp.MPM, frames: tp.io.states.Frames) -> dict[str, list[float]]:
    """What happens over time to what is in the grid: NaN where that has no value."""
    masses = sim.mass.double().cpu().numpy()
    series = {k: [] for k in ("t", "center_of_mass", "kinetic_energy", "top_speed", "top")}
    for frame in frames:
        here = ~frame.removed
        mass, x = masses[here], frame.x[here].astype(float)
        speed = np.linalg.norm(frame.v[here].astype(float), axis=1)
        center = mass @ x / mass.sum() if len(x) else np.full(3, np.nan)
        series["t"].append(float(frame.time))
        series["center_of_mass"].append(center.tolist())
        series["kinetic_energy"].append(float(0.5 * mass @ speed**2))
        series["top_speed"].append(float(speed.max(initial=0.0)))
        series["top"].append(float(x[:, 2].max()) if len(x) else math.nan)
    return series


def write_report(run: Run, metrics: dict, series: dict) -> None:
    """report.html."""
    scene, t = run.scene, series["t"]
    report = Report(scene.title)
    report.summary(
        f"{metrics['particles']} particles of {len(scene.bodies)} "
        f"{'body' if len(scene.bodies) == 1 else 'bodies'}, {metrics['simulated_seconds']:.2f} s "
        f"in {metrics['seconds']:.0f} s of computing."
    )
    if scene.output.video:
        report.video(run.out / "video.mp4", scene.title)
    gone = f"{metrics['removed']} left the grid" if metrics["removed"] else ""
    report.figures({
        "particles": (metrics["particles"], "", gone), "mass": (metrics["mass"], "kg"),
        "frames": (metrics["frames"], "", f"{scene.time.fps:g} a second"),
        "speed": (metrics["frames_per_second"], "frames/s"),
    })  # fmt: skip
    if len(t) > 1:
        heights = {"centre of mass": [c[2] for c in series["center_of_mass"]], "top": series["top"]}
        report.plot(plot_lines(t, heights, "time (s)", "height (m)"), "Height.")
        energy = {"kinetic energy": series["kinetic_energy"]}
        report.plot(plot_lines(t, energy, "time (s)", "energy (J)"), "Kinetic energy.")
        speed = {"fastest particle": series["top_speed"]}
        report.plot(plot_lines(t, speed, "time (s)", "speed (m/s)"), "Speed.")
    rows = [
        (b.name, b.shape, type(b.material).__name__, b.density, n)
        for b, n in zip(scene.bodies, metrics["particles_of_bodies"], strict=True)
    ]
    report.table("Bodies", rows, ("name", "shape", "material", "density (kg/m³)", "particles"))
    report.settings(scene.settings(), "The scene, with all defaults")
    report.environment(seed=scene.simulation.seed).write(run.out / "report.html")


def describe(scene: Scene, sim: tp.MPM) -> str:
    counts = ", ".join(f"{b.name}: {len(p)}" for b, p in zip(scene.bodies, sim.bodies, strict=True))
    x, y, z = scene.grid.shape
    return (
        f"{scene.path}: {scene.title}; particles: {counts}; grid: {x} x {y} x {z} nodes; "
        f"{scene.time.frames} frames at {scene.time.fps:g} a second, "
        f"{sim.substeps(1 / scene.time.fps)} or more substeps each"
    )


def simulate(scene: Scene, options: Options) -> dict:
    """All of it; returns what metrics.json says."""
    check_look(scene)
    tp.init(arch=options.arch, threads=options.threads)
    sim, force = scene.build()
    print(describe(scene, sim))
    if options.check:
        return {}
    out = Path(options.out or Path("out") / scene.path.stem)
    run = Run(scene, out, options.resume)
    run.simulate(sim, force)
    frames = tp.read_frames(run.frames)
    series = measure(sim, frames)
    metrics = {
        "particles": len(sim.mass), "particles_of_bodies": [len(b) for b in sim.bodies],
        "mass": float(sim.mass.double().sum()), "frames": run.done,
        "simulated_seconds": float(run.state.time), "seconds": run.seconds,
        "frames_per_second": run.done / max(run.seconds, 1e-9),
        "removed": int(run.state.removed.sum()), "series": series,
    }  # fmt: skip
    write_json(out / "metrics.json", metrics)
    if scene.output.video:
        make_film(run, sim, frames)
    if scene.output.report:
        write_report(run, metrics, series)
    if scene.output.frames == "none":
        remove_frames(run.frames)
    return metrics


def work(args: argparse.Namespace) -> None:
    scene, options = parse(args)
    metrics = simulate(scene, options)
    if metrics:
        out = Path(options.out or Path("out") / scene.path.stem)
        print(f"{metrics['frames']} frames in {metrics['seconds']:.1f} s: {out}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_parser, work, argv, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
