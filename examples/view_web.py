"""What `view.py --web` serves: scenes, frames of simulations, splats, winds, TRACE results."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from view_live import LABELS, Live
from view_results import ARROW_LENGTH, ARROWS, FRAME, Trace, Wind

import taichi_phys as tp
from inverse.commands.runner import terminated_as_interrupted
from inverse.trace.results import PALETTE
from renderers.lines import box_lines
from renderers.overlay import strength_colors
from renderers.splats.gaussians import Gaussians
from renderers.viewer import web
from renderers.viewer.stage import Stage
from taichi_phys.io.states import INDEX
from taichi_phys.runtime import one_torch_thread


SAMPLES = 24  # frames of a folder that are looked at before it is shown


class Lazy(Sequence):
    """Frames that are made when they are asked for."""

    def __init__(self, count: int, make: Callable[[int], web.WebFrame]):
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> web.WebFrame:
        with torch.no_grad():
            return self._make(range(self._count)[index])


def share(
    path: str | Path, open_stage: Callable[[], Stage], *, frames: int = 48, port: int = web.PORT
) -> int:  # fmt: skip
    """Serve what lies at a path until Ctrl-C or SIGTERM; returns an exit code.

    open_stage: opens what is no folder of frames; frames: to simulate. Raises ValueError.
    """
    try:
        web.check_installed()  # before minutes of simulation
    except web.NoWeb as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = Path(path)
    folder = next((p for p in (path, path / "frames") if (p / INDEX).is_file()), None)
    with terminated_as_interrupted(), one_torch_thread(), torch.no_grad():
        shown = of_stage(open_stage(), frames) if folder is None else of_folder(folder)
        with web.serve(**shown, port=port, background=False) as page:
            try:
                print(f"{shown['title']}: {page.url}, Ctrl-C ends it", flush=True)
                page.run()
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
    return 0


def of_folder(folder: Path) -> dict:
    """What `web.serve` takes, of a folder that `tp.write_frames` filled."""
    frames = tp.read_frames(folder)
    if not len(frames):
        raise ValueError(f"{folder}: holds no frames")
    some = [frames[i] for i in sorted({*range(0, len(frames), -(-len(frames) // SAMPLES))})]
    points = [x for f in some if len(x := f.x[~f.removed])] or [some[0].x]
    lower = np.min([x.min(axis=0) for x in points], axis=0).astype(float)
    upper = np.max([x.max(axis=0) for x in points], axis=0).astype(float)
    limits = 0.0, highest([np.linalg.norm(f.v[~f.removed], axis=1) for f in some])
    lines = box_lines(lower, upper)

    def make(i: int) -> web.WebFrame:
        frame = frames[i]
        here = ~frame.removed
        speed = np.linalg.norm(frame.v[here], axis=1)
        return web.WebFrame(
            x=frame.x[here], colors=strength_colors(speed, limits), lines=lines,
            line_colors=FRAME, caption=f"t = {frame.time:.3f} s",
        )  # fmt: skip

    first = some[0].x
    filled = np.prod(np.maximum(np.ptp(first, axis=0), 1e-9)) / len(first)
    return {
        "frames": Lazy(len(frames), make), "fps": frames.fps, "box": (lower, upper),
        "radius": 0.55 * float(filled) ** (1 / 3), "legend": (limits, LABELS["speed"]),
        "title": str(folder.name if folder.name != "frames" else folder.parent.name),
    }  # fmt: skip


def highest(values: list[np.ndarray]) -> float:
    """The limit of colours: what 99 % of the values (n,) of each frame stay below."""
    return max([1e-3, *(float(np.quantile(v, 0.99)) for v in values if len(v))])


def of_stage(stage: Stage, frames: int) -> dict:
    """What `web.serve` takes, of what the viewer shows."""
    kinds = {Live: of_live, Wind: of_wind, Trace: of_trace}
    common = {
        "box": stage.box(), "title": stage.title, "up": stage.up, "azimuth": stage.azimuth,
        "elevation": stage.elevation, "fps": stage.fps,
    }  # fmt: skip
    for kind, make in kinds.items():
        if isinstance(stage, kind):
            return common | make(stage, frames)
    raise ValueError(f"{stage.title}: cannot be shown on the web")


def of_live(stage: Live, count: int) -> dict:
    """Splats as they are, or count frames of a simulation after the first."""
    if stage.sim is None:
        splats = web.Splats.of(stage.gaussians)
        caption = f"{len(stage.gaussians):,} Gaussians"
        return {"frames": [web.WebFrame(splats=splats, caption=caption)]}
    color = stage.color if stage.color in LABELS else None
    states, lines = [], []
    for i in range(count + 1):
        if i:
            print(f"\rframe {i} of {count}", end="", file=sys.stderr, flush=True)
            stage.playing = True
            stage.seek(1)
            if not stage.playing:  # it says why it cannot go on
                print(file=sys.stderr)
                raise ValueError(f"frame {i}: {stage.message}")
        values = None if color is None else stage.values_of(color).cpu().numpy()
        x, F = stage.state.x.cpu().float(), stage.state.F.cpu().float()
        states.append((x, F, values, stage.present(), float(stage.state.time)))
        segments, tints = zip(*stage.lines(), strict=True)
        tints = [np.tile(np.uint8(c), (len(s), 1)) for s, c in zip(segments, tints, strict=True)]
        now = np.concatenate(segments), np.concatenate(tints)
        still = lines and all(np.array_equal(a, b) for a, b in zip(now, lines[-1], strict=True))
        lines.append(lines[-1] if still else now)
    print(file=sys.stderr)
    limits, fixed = None, None
    if color is None:
        fixed = stage.colors()
    else:
        limits = 0.0, highest([values[here] for _, _, values, here, _ in states])

    def make(i: int) -> web.WebFrame:
        x, F, values, here, t = states[i]
        splats = None
        if stage.show == "splats":
            means, covariances = stage._binding.deform(x, F)
            splats = web.Splats.of(stage.gaussians, means=means, covariances=covariances)
        segments, tints = lines[i]
        return web.WebFrame(
            x=x.numpy()[here] if splats is None else None, splats=splats, lines=segments,
            line_colors=tints, caption=f"t = {t:.3f} s, {here.sum():,} particles",
            colors=fixed[here] if fixed is not None else strength_colors(values[here], limits),
        )  # fmt: skip

    result = {"frames": Lazy(len(states), make), "radius": stage.radius}
    if limits is not None and stage.show != "splats":
        result["legend"] = limits, LABELS[color]
    if stage.views:
        camera = stage.views[0]
        reach = np.linalg.norm(camera.position - np.mean(stage.box(), axis=0))
        result |= {"eye": camera.position, "target": camera.position + reach * camera.rotation[2]}
    return result


def of_wind(stage: Wind, _) -> dict:
    """The re-simulation, with arrows of the force per mass."""
    some, high = stage.some, stage.strongest
    lines = box_lines(*stage.box())

    def make(i: int) -> web.WebFrame:
        specific = stage.specific[i]
        speed = np.linalg.norm(stage.v[i], axis=1)
        if stage.color == "force":
            colors = strength_colors(np.linalg.norm(specific, axis=1), (0, high))
        else:
            colors = strength_colors(speed, (0, stage.fastest))
        arrows = web.arrows_of(stage.x[i][some], specific[some], ARROW_LENGTH * stage.size, high)
        return web.WebFrame(
            x=stage.x[i], colors=colors, **arrows, lines=lines, line_colors=FRAME,
            caption=f"t = {i / stage.fps:.3f} s",
        )  # fmt: skip

    return {
        "frames": Lazy(stage.last + 1, make),
        "radius": stage.radius,
        "legend": ((0.0, high), "force per mass (m/s²)"),
    }


def of_trace(stage: Trace, _) -> dict:
    """The learnt Gaussians, past the last observed time, with arrows of their velocity."""
    parts = None
    if stage.color == "parts":
        parts = PALETTE[stage.labels() % len(PALETTE)]
    ends = []
    for frame in (0, stage.last // 2, stage.last):
        stage.frame = frame
        ends.append(stage.tensors()["means"].numpy()[stage._solid])
    points = np.concatenate(ends)
    lower, upper = np.quantile(points, 0.01, axis=0), np.quantile(points, 0.99, axis=0)
    stage.frame = 0
    speed = np.linalg.norm(stage.velocities(), axis=1)[stage._solid]
    fastest = max(float(np.quantile(speed, 0.95)), 1e-9)
    length = 0.5 * ARROW_LENGTH * float((upper - lower).max())

    def make(i: int) -> web.WebFrame:
        stage.frame = i
        now, v = stage.tensors(), stage.velocities()
        g = Gaussians(**{k: t.detach() for k, t in now.items()})
        splats = web.Splats.of(g) if parts is None else web.Splats.of(g, colors=parts)
        some = stage._some[np.linalg.norm(v[stage._some], axis=1) > 0.05 * fastest][:ARROWS]
        arrows = web.arrows_of(splats.means[some], v[some], length, fastest)
        return web.WebFrame(splats=splats, **arrows, caption=", ".join(stage.status()))

    return {
        "frames": Lazy(stage.last + 1, make),
        "box": (lower, upper),
        "legend": ((0.0, fastest), LABELS["speed"]),
    }
