"""Measure predicted frames on three scenes that other code than the product's has drawn.

    python benchmarks/futures.py --out out/futures --iterations 1500

A ray caster in numpy draws small pictures of a pendulum (its acceleration is not constant), of two
bodies that swerve on curved paths at changing speed, of a shaded body that spins under a fixed
light, of the same body unshaded, and of a flywheel that speeds up beside a block that is thrown
(its accelerations are constant, as TRACE's form has them). Each scene is learned twice with the
same steps: with one motion and one law for each rigid part, and in TRACE's form (--motion particles
--dynamics trd). --methods has the other forms of motion for comparison. Prints PSNR of the frames
between the learned ones and of those after them, and how far points of the bodies are then from
their true places. The runs are ordinary ones; what is complete is not run again.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from inverse.commands import trace


SIZE, SAMPLES = 64, 3  # px; rays for each pixel and axis
FOCAL, DISTANCE = 70.0, 3.4  # px; m, of the cameras from the origin
DURATION, FRAMES, LATER = 0.75, 16, 6  # s, observed; photographs of it and of the next quarter
LIGHT = np.array([0.7, -0.4, 0.6]) / np.linalg.norm([0.7, -0.4, 0.6])
AMBIENT = 0.25
PARTICLES = ["--motion", "particles"]
METHODS = {
    "parts": ["--motion", "parts"],
    "trd": [*PARTICLES, "--dynamics", "trd"],
    "rigid": [*PARTICLES, "--dynamics", "rigid"],
    "velocity": [*PARTICLES, "--dynamics", "velocity"],
    "none": [*PARTICLES, "--dynamics", "none"],
    "rk1": [*PARTICLES, "--rk", "1"],
}

Pose = Callable[[float], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class PaintedBox:
    """A box of two colors in a checkered pattern.

    half: (3,) m, half the sides; pose(t): its center (3,) m and rotation (3, 3); colors: (2, 3);
    shaded: whether a light that is fixed in the world shines on it.
    """

    half: tuple[float, float, float]
    pose: Pose
    colors: tuple[tuple[float, float, float], tuple[float, float, float]]
    shaded: bool = False

    def hit(self, eyes: np.ndarray, rays: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Distances (n,) along rays, infinite where they miss, and colors (n, 3)."""
        center, R = self.pose(t)
        half, depth, color = np.array(self.half), np.full(len(rays), np.inf), np.zeros(rays.shape)
        o, d = eyes - center, rays
        # Only rays that meet the sphere around the box.
        near = np.flatnonzero((o * d).sum(axis=1) ** 2 > (o**2).sum(axis=1) - half @ half)
        o, d = o[near] @ R, d[near] @ R
        with np.errstate(divide="ignore"):
            low, high = (-half - o) / d, (half - o) / d
        enter, leave = np.fmin(low, high).max(axis=1), np.fmax(low, high).min(axis=1)
        met = enter < leave
        near, o, d, enter = near[met], o[met], d[met], enter[met]
        p = o + enter[:, None] * d
        side = np.abs(p / half).argmax(axis=1)
        normal = np.eye(3)[side] * np.sign(p[np.arange(len(p)), side])[:, None]
        stripe = (np.floor(p / half + 0.5).sum(axis=1) % 2).astype(int)
        own = np.array(self.colors)[stripe]
        if self.shaded:
            lit = np.clip(normal @ (R.T @ LIGHT), 0, 1)
            own = own * (AMBIENT + (1 - AMBIENT) * lit)[:, None]
        depth[near], color[near] = enter, own
        return depth, color


def photograph(bodies: Sequence[PaintedBox], pose: np.ndarray, t: float) -> np.ndarray:
    """Draw (SIZE, SIZE, 4) in 0..1 of bodies at t s; pose: (4, 4), camera to world, OpenGL axes."""
    at = (np.arange(SIZE * SAMPLES) + 0.5) / SAMPLES - SIZE / 2
    across, down = np.meshgrid(at, at)
    rays = np.stack([across, -down, np.full_like(across, -FOCAL)], axis=-1).reshape(-1, 3)
    rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)) @ pose[:3, :3].T
    eyes = np.broadcast_to(pose[:3, 3], rays.shape)
    found = [body.hit(eyes, rays, t) for body in bodies]
    depths, colors = (np.stack(values) for values in zip(*found, strict=True))
    first = depths.argmin(axis=0)
    there = np.isfinite(depths.min(axis=0))
    rgb = colors[first, np.arange(len(rays))] * there[:, None]
    rgba = np.concatenate([rgb, there[:, None]], axis=1)
    rgba = rgba.reshape(SIZE, SAMPLES, SIZE, SAMPLES, 4).mean(axis=(1, 3))
    rgba[..., :3] /= np.maximum(rgba[..., 3:], 1e-9)
    return rgba


def look(azimuth: float, elevation: float) -> np.ndarray:
    """The pose (4, 4), camera to world in OpenGL axes, of a camera that looks at the origin."""
    back = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
         np.sin(elevation)]
    )  # fmt: skip
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, DISTANCE * back], axis=1)
    return pose


def write_scene(folder: Path, bodies: Sequence[PaintedBox]) -> None:
    """Write a scene in D-NeRF's layout: 8 cameras for train, 3 others for val and test."""
    times = np.linspace(0, DURATION, FRAMES)
    later = DURATION * (1 + np.arange(1, LATER + 1) / LATER / 3)
    own = [look(2 * np.pi * k / 8, (0.2, 0.75)[k % 2]) for k in range(8)]
    new = [look(2 * np.pi * (k + 0.3) / 3, 0.5) for k in range(3)]
    splits = {"train": (own, times), "val": (new, times[::3]), "test": (new, later)}
    for split, (poses, at) in splits.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        frames = []
        for k, pose in enumerate(poses):
            for i, t in enumerate(at):
                name = f"{split}/v{k}_{i:02d}"
                rgba = (255 * photograph(bodies, pose, float(t)) + 0.5).astype(np.uint8)
                cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
                frames.append(
                    {"file_path": f"./{name}", "time": float(t), "transform_matrix": pose.tolist()}
                )
        head = {"camera_angle_x": 2 * float(np.arctan(SIZE / 2 / FOCAL))}
        text = json.dumps(head | {"frames": frames})
        (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")


def write_tracks(folder: Path, bodies: Sequence[PaintedBox]) -> None:
    """Write tracks.npz: the paths of points near the corners and the middles of the sides."""
    at = np.linspace(0, 4 / 3 * DURATION, FRAMES + LATER)
    grid = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    own = 0.9 * grid[np.isin(np.abs(grid).sum(axis=1), (1, 3))]
    x = [
        [center + (own * body.half) @ R.T for center, R in (body.pose(float(t)) for t in at)]
        for body in bodies
    ]
    np.savez(folder / "tracks.npz", times=at, x=np.concatenate(x, axis=1))


def turn(axis: int, angle: float) -> np.ndarray:
    """The rotation (3, 3) by an angle about a coordinate axis."""
    return cv2.Rodrigues(angle * np.eye(3)[axis])[0]


def still(*center: float) -> Pose:
    """A pose that does not change."""
    return lambda t: (np.array(center), np.eye(3))


def pendulum() -> list[PaintedBox]:
    """A rod with a heavy end, which swings by a radian about its upper end, and its stand."""
    pivot, length, fine = np.array([0.0, 0.0, 0.75]), 1.0, 1e-3
    angles, angle, rate = [], 1.0, 0.0
    for _ in range(1 + round((4 / 3 * DURATION) / fine)):
        angles.append(angle)
        middle = rate - fine / 2 * 24 * np.sin(angle)
        angle = angle + fine * middle
        rate = middle - fine / 2 * 24 * np.sin(angle)

    def at(along: float) -> Pose:
        def pose(t: float) -> tuple[np.ndarray, np.ndarray]:
            R = turn(1, float(np.interp(t, fine * np.arange(len(angles)), angles)))
            return pivot + R @ (0, 0, -along), R

        return pose

    return [
        PaintedBox((0.05, 0.05, length / 2), at(length / 2), ((0.2, 0.3, 0.8), (0.5, 0.7, 0.9))),
        PaintedBox((0.22, 0.16, 0.16), at(length), ((0.85, 0.3, 0.15), (0.95, 0.75, 0.3))),
        PaintedBox((0.1, 0.45, 0.06), still(0, 0, 0.85), ((0.4, 0.4, 0.4), (0.6, 0.6, 0.6))),
    ]


def driven(
    start: tuple[float, float], yaw: Callable[[np.ndarray], np.ndarray],
    speed: Callable[[np.ndarray], np.ndarray],
) -> Pose:  # fmt: skip
    """A body on the plane z = 0 that moves where it looks."""
    fine = np.linspace(0, 4 / 3 * DURATION, 2001)
    heading = yaw(fine)
    v = speed(fine)[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    way = np.cumsum((v[1:] + v[:-1]) / 2 * fine[1], axis=0)
    path = np.array(start) + np.concatenate([np.zeros((1, 2)), way])

    def pose(t: float) -> tuple[np.ndarray, np.ndarray]:
        x, y = (float(np.interp(t, fine, p)) for p in path.T)
        return np.array([x, y, 0.0]), turn(2, float(np.interp(t, fine, heading)))

    return pose


def swerve() -> list[PaintedBox]:
    """A car on a curve that tightens while it speeds up, and one that weaves and slows down."""
    return [
        PaintedBox(
            (0.3, 0.16, 0.12),
            driven((-0.9, -0.7), lambda t: 0.4 + 0.6 * t + 2.2 * t**2, lambda t: 0.9 + 1.4 * t),
            ((0.85, 0.25, 0.2), (0.95, 0.8, 0.4)),
        ),
        PaintedBox(
            (0.24, 0.14, 0.18),
            driven((0.9, 0.9), lambda t: np.pi + 0.8 * np.sin(7 * t), lambda t: 2.1 - 0.9 * t),
            ((0.15, 0.4, 0.8), (0.5, 0.85, 0.7)),
        ),
        PaintedBox((0.2, 0.2, 0.05), still(0, 0, -0.3), ((0.4, 0.4, 0.4), (0.6, 0.6, 0.6))),
    ]


def spinner() -> list[PaintedBox]:
    """A shaded block that spins at a constant rate over a shaded foot, under a fixed light."""

    def pose(t: float) -> tuple[np.ndarray, np.ndarray]:
        return np.array([0.0, 0.0, 0.2]), turn(2, 3.5 * t)

    return [
        PaintedBox((0.65, 0.18, 0.3), pose, ((0.9, 0.45, 0.2), (0.95, 0.8, 0.5)), shaded=True),
        PaintedBox(
            (0.12, 0.12, 0.3), still(0, 0, -0.45), ((0.4, 0.5, 0.7), (0.7, 0.7, 0.8)), shaded=True
        ),
    ]


def unshaded() -> list[PaintedBox]:
    """The block that spins, and its foot, with the same brightness on all sides."""
    return [dataclasses.replace(body, shaded=False) for body in spinner()]


def flywheel() -> list[PaintedBox]:
    """A bar whose spin grows from 1.5 to 13.5 rad/s in 1 s, and a block that is thrown up."""

    def spun(t: float) -> tuple[np.ndarray, np.ndarray]:
        return np.array([-0.3, 0.1, 0.35]), turn(2, 1.5 * t + 6 * t**2)

    def thrown(t: float) -> tuple[np.ndarray, np.ndarray]:
        return np.array([0.8 - 0.5 * t, -0.8 + 0.6 * t, -0.5 + 2.6 * t - 3 * t**2]), np.eye(3)

    return [
        PaintedBox((0.55, 0.14, 0.1), spun, ((0.85, 0.3, 0.15), (0.95, 0.75, 0.3))),
        PaintedBox((0.18, 0.14, 0.16), thrown, ((0.15, 0.4, 0.8), (0.5, 0.85, 0.7))),
        PaintedBox((0.08, 0.08, 0.25), still(-0.3, 0.1, -0.1), ((0.4,) * 3, (0.6,) * 3)),
    ]


SCENES = {
    "pendulum": pendulum, "swerve": swerve, "spinner": spinner, "unshaded": unshaded,
    "flywheel": flywheel,
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="out/futures", help="folder of the scenes and runs")
    parser.add_argument("--scenes", nargs="+", choices=tuple(SCENES), default=tuple(SCENES))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=("parts", "trd"))
    parser.add_argument("--iterations", default="1500")
    parser.add_argument("--gaussians", default="1500")
    args, flags = parser.parse_known_args(argv)
    lines = []
    for scene in args.scenes:
        data = Path(args.out) / "scenes" / scene
        if not (data / "transforms_test.json").exists():
            write_scene(data, SCENES[scene]())
        write_tracks(data, SCENES[scene]())
        for method in args.methods:
            out = Path(args.out) / f"{scene}-{method}"
            if not (out / "metrics.json").exists():
                status = trace.main(
                    ["--data", str(data), "--out", str(out), "--resume", "--iterations",
                     args.iterations, "--gaussians", args.gaussians, "--preset", "laptop",
                     *METHODS[method], *flags]
                )  # fmt: skip
                if status:
                    return status
            metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
            psnr = [metrics[kind]["psnr"] for kind in ("interpolation", "extrapolation")]
            motion = out / "motion.json"
            parts = (
                json.loads(motion.read_text(encoding="utf-8"))["parts"] if motion.exists() else []
            )
            laws = [
                "/".join((part["law"]["path"], part["law"]["rotation"])) if part["law"] else "free"
                for part in parts
            ]
            lines.append(
                f"{scene:<10}{method:<8}{psnr[0]:>10.2f} dB{psnr[1]:>10.2f} dB"
                f"{metrics['tracks']['extrapolation']:>8.3f} m{metrics['seconds']:>8.0f} s   "
                f"{', '.join(laws)}"
            )
    print(
        f"{'scene':<10}{'method':<8}{'between':>13}{'after':>13}{'tracks':>10}{'time':>10}   laws"
    )
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
