"""Time the viewer: a view of splats that is turned, and a jelly that is simulated while one looks.

    python benchmarks/viewer.py [--seconds 10] [--json FILE] [--headless] [--quick]

Splats: 100,000 Gaussians on a bumpy ball, drawn anew for every step of the mouse, smaller while
they move and at full size at rest. Jelly: 20,000 particles, E 1e4 Pa, dx 1/64 m, thrown onto the
floor; a scene frame is 1/24 s and the viewer never plays faster than in real time. Both in a window
of 1280 x 720, where there is none (or `xvfb-run -a`) or with --headless without one.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch
from splats import machine

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.runs.settings import write_json
from renderers.splats.gaussians import Gaussians
from renderers.viewer import window
from renderers.viewer.live import Live
from renderers.viewer.screen import Screen
from renderers.viewer.session import Session
from taichi_phys import runtime


SIZE = {"width": 1280, "height": 720}
TURN = 2.0  # degrees that the camera turns with every picture


def splat_stage(count: int) -> Live:
    """Gaussians side by side on a ball of about 1 m, flat like those that are fitted."""
    rng = np.random.default_rng(0)
    outward = rng.standard_normal((count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    radius = 0.5 + 0.03 * np.sin(9 * outward).prod(axis=1)
    apart = np.sqrt(np.pi / count)
    half = np.stack([1 + outward[:, 2], -outward[:, 1], outward[:, 0], 0 * radius], axis=1)
    values = {
        "means": radius[:, None] * outward,
        "quats": half + [1e-9, 0, 0, 0],  # turns z outward
        "scales": apart * np.exp(rng.normal(0, 0.4, (count, 3))) * [1, 1, 0.2],
        "opacities": rng.uniform(0.3, 1, count),
        "colors": 0.5 + 0.5 * np.sin(20 * outward + [0, 2, 4]),
    }
    tensors = {name: torch.as_tensor(value).float() for name, value in values.items()}
    return Live(lambda: None, title="splats", gaussians=Gaussians.from_colors(**tensors),
                box=np.array([[-0.55] * 3, [0.55] * 3]))  # fmt: skip


def jelly_stage(count: int) -> Live:
    """A cube of jelly that falls onto the floor of its box, spinning."""
    dx = 1 / 64
    edge = 0.5 * dx * count ** (1 / 3)
    x, volume = tp.sample_box((-edge / 2,) * 3, (edge / 2,) * 3, count=count)
    jelly = tp.Particles(
        x + [0, 0, 0.6 * edge], v=np.cross([0, 3.0, 0], x), volume=volume,
        material=tp.Elastic(E=1e4, nu=0.3),
    )  # fmt: skip
    room = 1.5 * edge + 4 * dx
    grid = tp.Grid(lower=(-room, -room, -3 * dx), upper=(room, room, 2 * room), dx=dx, friction=0.4)
    return Live(lambda: (tp.MPM(particles=jelly, grid=grid), None), title="jelly")


class Watch:
    """Called in every round of the viewer; ends it after some seconds."""

    def __init__(self, seconds: float, turn: bool):
        self.seconds, self.turn = seconds, turn
        self.ends: list[float] = []  # s, of rounds
        self.times: list[float] = []  # s, of the scene then

    def __call__(self, screen: Screen) -> None:
        if screen.stage.message:  # it compiles
            return
        playground = screen.stage.playground
        self.ends.append(time.monotonic())
        self.times.append(playground.state.time if playground else 0.0)
        if self.turn:
            screen.eye.azimuth += TURN
            screen.stir()
        if self.ends[-1] - self.ends[0] > self.seconds:
            screen.running = False


def watched(stage: Live, seconds: float, headless: bool, *, turn: bool) -> Watch:
    """Run the viewer on a stage, in a window if there is one."""
    screen, watch = Screen(Session(stage), **SIZE), Watch(seconds, turn)
    stage.playing = not turn
    if headless:
        while screen.running:
            screen.tick()
            screen.picture()
            watch(screen)
        screen.close()
    else:
        window.show(screen, after=watch)
    return watch


def splats_row(count: int, seconds: float, headless: bool) -> dict:
    """Pictures per second while the camera turns, and how long one at full size takes."""
    stage = splat_stage(count)
    watch = watched(stage, seconds, headless, turn=True)
    screen, full = Screen(Session(stage), **SIZE), []
    for _ in range(3):
        start = time.perf_counter()
        screen.draw()
        full.append(time.perf_counter() - start)
    gaps = np.diff(watch.ends)[1:]
    return {
        "gaussians": count, "pictures_per_second": float(len(gaps) / gaps.sum()),
        "slowest_picture_ms": float(1e3 * gaps.max()), "at_rest_ms": 1e3 * statistics.median(full),
    }  # fmt: skip


def jelly_row(count: int, seconds: float, headless: bool) -> dict:
    """Scene frames per second, pictures included."""
    stage = jelly_stage(count)
    watch = watched(stage, seconds, headless, turn=False)
    frames = (watch.times[-1] - watch.times[0]) * stage.fps
    passed = watch.ends[-1] - watch.ends[0]
    return {"particles": len(stage.playground.state.x), "scene_frames_per_second": frames / passed}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="each; default: %(default)g")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--headless", action="store_true", help="without a window")
    parser.add_argument("--quick", action="store_true", help="tiny scenes, to try it")
    return parser


def main(argv=None):
    args = make_parser().parse_args(argv)
    counts = (2_000, 500) if args.quick else (100_000, 20_000)
    results = {"machine": machine(tp.init()), **SIZE}
    with torch.no_grad(), runtime.one_torch_thread():
        try:
            results["window"] = not args.headless
            results["splats"] = splats_row(counts[0], args.seconds, args.headless)
        except window.NoWindow as error:
            print(f"{error}; measured without a window")
            args.headless, results["window"] = True, False
            results["splats"] = splats_row(counts[0], args.seconds, True)
        results["jelly"] = jelly_row(counts[1], args.seconds, args.headless)
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    print(
        f"{SIZE['width']} x {SIZE['height']}, {'in' if results['window'] else 'without'} a window"
    )
    splats, jelly = results["splats"], results["jelly"]
    print(
        f"{splats['gaussians']} Gaussians: {splats['pictures_per_second']:.1f} pictures per second "
        f"while they turn (slowest {splats['slowest_picture_ms']:.0f} ms), "
        f"{splats['at_rest_ms']:.0f} ms at rest"
    )
    print(
        f"{jelly['particles']} particles: {jelly['scene_frames_per_second']:.1f} frames per second"
    )
    if args.json:
        write_json(args.json, results)
    return results


if __name__ == "__main__":
    sys.exit(stoppable(main))
