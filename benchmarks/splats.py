"""Time the splat renderer: projection, tile lists and compositing, and their gradients.

    python benchmarks/splats.py [--repeats 7] [--threads N] [--json FILE] [--quick]

Pairs are those of a Gaussian and a 16 px tile that it touches. Memory is the peak of the tensors
that forward and backward make, gradients included, on top of the scene itself; Taichi's kernels
work on these tensors and keep none of their own.
"""

import argparse
import os
import platform
import statistics
import sys
import time
import weakref

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.runs.settings import write_json
from renderers.camera import Camera, camera_from_fov
from renderers.splats.projection import covariances_of, project
from renderers.splats.render import TILE, render
from renderers.splats.tiles import tile_lists
from taichi_phys.runtime import Runtime


RADIUS = 8.6  # px
REFERENCE = ("reference", 10_000, 256, RADIUS)  # name, Gaussians, px of the image, mean radius px
SCENES = [REFERENCE, ("small Gaussians", 20_000, 400, 3 * 2.0)]
SCENES += [("sweep", n, size, RADIUS) for size in (256, 512, 1024) for n in (10**3, 10**4, 10**5)]
QUICK = [("reference", 300, 64, RADIUS), ("sweep", 100, 32, RADIUS)]


def make_scene(count: int, camera: Camera, radius: float) -> dict[str, torch.Tensor]:
    """Gaussians as `render` takes them; radius: three deviations along the larger axis, px.

    That is its mean. Means are uniform over the picture and over depths of 2 to 6 m, rotations
    too; the axes of each Gaussian are uniform between 0.2 and 1 of a length that is proportional
    to its depth; opacities and colours are uniform in 0 to 1. Drawn by numpy's default_rng(0).
    """
    rng = np.random.default_rng(0)
    depth = rng.uniform(2, 6, count)
    pixels = rng.uniform(0, 1, (count, 2)) * [camera.width, camera.height]
    values = {
        "means": camera.unproject(pixels, depth),
        "quats": rng.standard_normal((count, 4)),
        "scales": rng.uniform(0.2, 1, (count, 3)) * depth[:, None] / camera.fx * radius / 3,
        "opacities": rng.uniform(0, 1, count),
        "colors": rng.uniform(0, 1, (count, 3)),
    }
    device = tp.init().device
    scene = {k: torch.as_tensor(v, dtype=torch.float32, device=device) for k, v in values.items()}
    for _ in range(5):  # the blur of projection makes the radius not quite proportional
        scene["scales"] *= radius / mean_radius(camera, scene)
    return scene


def projected(camera: Camera, scene: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """uv, depth, conic, alpha and reach of `projection.project`."""
    pose = torch.as_tensor(camera.world_to_camera).to(scene["means"])
    covariances = covariances_of(scene["quats"], scene["scales"])
    return project(
        scene["means"], covariances, scene["opacities"], camera, pose, near=0.01, antialiased=False
    )


def mean_radius(camera: Camera, scene: dict[str, torch.Tensor]) -> float:
    """Three standard deviations along the larger axis in the picture, px, mean of those seen."""
    _, _, conic, _, reach = projected(camera, scene)
    a, b, c = conic[reach[:, 2] > 0].unbind(1)
    smallest = (a + c) / 2 - (((a - c) / 2).square() + b.square()).sqrt()
    return float((3 / smallest.sqrt()).mean())


def count_pairs(camera: Camera, scene: dict[str, torch.Tensor]) -> int:
    uv, depth, conic, _, reach = projected(camera, scene)
    lists = tile_lists(uv, depth, conic, reach, camera.width, camera.height, TILE)
    return len(lists.members)


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that torch makes while it is on."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.known.update(storages(args))  # made before
        result = function(*args, **(kwargs or {}))
        for storage in storages(result):
            if storage not in self.known:
                self.known.add(storage)
                self.count(storage.nbytes())
                weakref.finalize(storage, self.count, -storage.nbytes())
        return result

    def count(self, size: int) -> None:
        self.live += size
        self.peak = max(self.peak, self.live)


def storages(tree) -> list[torch.UntypedStorage]:
    return [t.untyped_storage() for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]


def milliseconds(work, repeats: int) -> dict[str, float]:
    """Median and minimum of the wall clock, after two calls that warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return {"median": statistics.median(times[2:]), "minimum": min(times[2:])}


def measure(name: str, count: int, size: int, radius: float, repeats: int) -> dict:
    """One row of the table."""
    camera = camera_from_fov(size, size, 60)
    scene = make_scene(count, camera, radius)
    leaves = {key: value.clone().requires_grad_() for key, value in scene.items()}
    weights = torch.ones(size, size, 3, device=scene["means"].device)

    def forward():
        render(camera, **scene)

    def both():
        for leaf in leaves.values():
            leaf.grad = None
        render(camera, **leaves).rgb.backward(weights)

    row = {
        "scene": name, "gaussians": count, "size": size, "radius": mean_radius(camera, scene),
        "pairs": count_pairs(camera, scene), "forward_ms": milliseconds(forward, repeats),
        "forward_backward_ms": milliseconds(both, repeats),
    }  # fmt: skip
    for leaf in leaves.values():
        leaf.grad = None
    with PeakMemory() as memory:
        both()
    return row | {"memory_mb": memory.peak / 2**20}


def machine(runtime: Runtime) -> dict:
    """What the figures were measured on."""
    on_gpu = runtime.arch == "cuda"
    return {
        "arch": runtime.arch,
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "threads": runtime.threads or os.cpu_count(),
        "torch": torch.__version__,
        "platform": platform.system(),
    }


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="after two to warm up")
    parser.add_argument("--threads", type=int, help="of the CPU, for Taichi; default: all")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="two tiny scenes, to try it")
    return parser


def main(argv=None):
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"argument --repeats: got {args.repeats}, expected at least 1")
    results = {"machine": machine(tp.init(threads=args.threads)), "repeats": args.repeats}
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    print("milliseconds: median (minimum)\n")
    print(
        "scene            Gaussians  image  radius     pairs           forward   "
        "forward + backward  memory MB"
    )
    results["rows"] = []
    for scene in QUICK if args.quick else SCENES:
        row = measure(*scene, repeats=args.repeats)
        results["rows"].append(row)
        times = [
            f"{t['median']:.1f} ({t['minimum']:.1f})"
            for t in (row["forward_ms"], row["forward_backward_ms"])
        ]
        print(
            f"{row['scene']:15s} {row['gaussians']:10d} {row['size']:6d} {row['radius']:7.1f} "
            f"{row['pairs']:9d} {times[0]:>17s} {times[1]:>20s} {row['memory_mb']:10.1f}",
            flush=True,
        )
    if args.json:
        write_json(args.json, results)
    return results


if __name__ == "__main__":
    sys.exit(stoppable(main))
