"""Force recovery from pixels, scene by scene, beside tables 1 and 2 of "Seeing the wind".

    python benchmarks/wind_tables.py [--scene NAME ...] [--force FORM ...] [--chair FILE]
        [--lego FILE] [--views 2] [--out DIR] [--json FILE] [--quick]

Six solid bodies, two of each material, move in six force fields of their own. The simulator makes
their motion on a finer grid and with other particles than the solver's; the splat renderer films it
from two sides. All bodies bend by pixels, and those that can yield flow by some percent, so that
the force beside its mean and the material show. A run gets the two videos, their cameras, the
Gaussians of frame 0 and the material, and has to find the force on every particle. Errors are means
over all particles and all frames, as in the paper as far as it says; the frames 1 to T - 4 stand
beside. --chair and --lego take Gaussians fitted to these scenes of NeRF-synthetic (`taichi-phys
fit`) in place of two of our bodies. --force free point kplanes compares forms of force, beside
table 2: the point is the middle of what the first view sees.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.perception import closed_mesh
from inverse.perception.mesh import mesh_area, surface_points
from inverse.perception.solid import flat_gaussians
from inverse.perception.splat_surface import splat_surface
from inverse.runs.settings import write_json
from inverse.wind import WindConfig, WindJob, recover_wind
from inverse.wind.results.truth import ALL, INNER, field_errors, load_truth
from renderers.camera import Camera, camera_record
from renderers.images import to_bytes
from renderers.orbit import look_at
from renderers.splats.binding import bind, total_deformation
from renderers.splats.files import load_gaussians, save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys.geometry.repair import Triangles


FPS, FRAMES, PIXELS = 24.0, 36, 384
SIZE = 0.5  # m, the longest side of every body
# As soft as a force of some m/s^2 bends visibly: density x force x SIZE / 2 is about 5 % of E. With
# four times the modulus and the yield stress no body moved by half a pixel beside its rigid motion,
# and none flowed.
DENSITY, E, NU = 300.0, 5e3, 0.3
YIELD, VISCOSITY = 60.0, 50.0  # Pa, Pa s
PARTICLES, CELLS = 20_000, 32  # of the simulation that makes the truth, along the longest side
GAUSSIANS = 12_000  # on a body of ours
DISTANCE, FOV, APART = 1.7, 36.0, 55.0  # m, degrees, degrees between the cameras
# PSNR in dB, magnitude error in %, direction error in degrees of table 2, by material and form.
TABLE_2 = {
    ("elastic", "point"): (20.57, 95.91, 76.48), ("elastic", "kplanes"): (26.25, 18.03, 39.83),
    ("elastic", "free"): (39.79, 5.14, 4.38), ("elastoplastic", "point"): (31.40, 98.36, 26.80),
    ("elastoplastic", "kplanes"): (30.14, 87.81, 61.42),
    ("elastoplastic", "free"): (39.93, 75.06, 45.50),
    ("viscoplastic", "point"): (17.49, 98.30, 92.02),
    ("viscoplastic", "kplanes"): (41.73, 89.04, 33.09),
    ("viscoplastic", "free"): (39.00, 21.44, 7.50),
}  # fmt: skip
TINY = 1e-6  # of the strongest force: weaker ones have no direction

Field = Callable[[torch.Tensor, float], torch.Tensor]  # (n, 3) m, s -> (n, 3) m/s^2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A body in a field; material: as `taichi-phys wind` calls it; paper: PSNR in dB, magnitude
    error in %, direction error in degrees of the paper's object of that kind."""

    body: Callable[[], tuple[Triangles, Gaussians]]
    material: str
    field: Field
    paper: tuple[str, float, float, float]


# Bodies


def _painted(mesh: trimesh.Trimesh, seed: int) -> tuple[Triangles, Gaussians]:
    """A mesh as large as SIZE, around the origin, and Gaussians on it with a random texture."""
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    mesh.apply_scale(SIZE / mesh.extents.max())
    surface = closed_mesh(mesh)
    rng = np.random.default_rng(seed)
    points, normals = surface_points(surface, GAUSSIANS, seed)
    waves = rng.normal(size=(40, 3)) * rng.uniform(15, 90, size=(40, 1))  # 1/m
    phases, mix = rng.uniform(0, 2 * math.pi, 40), rng.normal(size=(40, 3))
    colors = np.clip(0.5 + 0.09 * np.sin(points @ waves.T + phases) @ mix, 0.02, 0.98)
    gap = math.sqrt(mesh_area(surface) / GAUSSIANS)
    return surface, flat_gaussians(points, normals, colors, 0.8 * gap)


def lump(seed: int, roughness: float, squash: tuple[float, float, float]):
    """A ball with random bumps, squashed along its axes."""

    def make() -> tuple[Triangles, Gaussians]:
        mesh = trimesh.creation.icosphere(subdivisions=4)
        rng = np.random.default_rng(seed)
        waves, phases = rng.normal(size=(6, 3)) * 2.5, rng.uniform(0, 2 * math.pi, 6)
        bumps = np.sin(mesh.vertices @ waves.T + phases).mean(axis=1)
        mesh.vertices *= (1 + roughness * bumps)[:, None] * np.array(squash)
        return _painted(mesh, seed)

    return make


def ring() -> tuple[Triangles, Gaussians]:
    """A torus."""
    mesh = trimesh.creation.torus(0.17, 0.08, major_sections=64, minor_sections=32)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(1.2, (1, 0.3, 0)))
    return _painted(mesh, 7)


def sausage() -> tuple[Triangles, Gaussians]:
    """A capsule that lies."""
    mesh = trimesh.creation.capsule(height=0.34, radius=0.09, count=(32, 32))
    mesh.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (0, 1, 0.3)))
    return _painted(mesh, 8)


def fitted(path: str):
    """The Gaussians of a fit, moved to the origin and made as large as SIZE."""

    def make() -> tuple[Triangles, Gaussians]:
        gaussians = load_gaussians(path)
        low, high = (torch.quantile(gaussians.means, q, dim=0) for q in (0.01, 0.99))
        scale = SIZE / float((high - low).max())
        gaussians = dataclasses.replace(
            gaussians,
            means=scale * (gaussians.means - (low + high) / 2),
            scales=scale * gaussians.scales,
        )
        return splat_surface(gaussians, None, cameras()[0])

    return make


# Fields


def _field(
    steady: tuple[float, float, float], period: float, part: Callable[..., torch.Tensor]
) -> Field:
    """A gust that swings, and a part that varies in space; both m/s^2."""

    def field(x: torch.Tensor, t: float) -> torch.Tensor:
        gust = torch.as_tensor(steady, dtype=x.dtype, device=x.device)
        return math.cos(2 * math.pi * t / period) * gust + part(x, t)

    return field


def _whirl(axis: tuple[float, float, float], strength: float, period: float):
    """Around an axis through the origin, strongest half as far from it as a body reaches: it does
    not only turn the body."""

    def part(x: torch.Tensor, t: float) -> torch.Tensor:
        around = torch.as_tensor(axis, dtype=x.dtype, device=x.device).expand_as(x)
        arm = torch.linalg.cross(around, x) / (0.25 * SIZE)
        fades = torch.exp((1 - (arm**2).sum(dim=1, keepdim=True)) / 2)
        return strength * math.cos(2 * math.pi * t / period + 0.4) * fades * arm

    return part


def _stretch(rows: tuple[tuple[float, float, float], ...], period: float):
    def part(x: torch.Tensor, t: float) -> torch.Tensor:
        matrix = torch.as_tensor(rows, dtype=x.dtype, device=x.device) / (0.5 * SIZE)
        return math.cos(2 * math.pi * t / period) * x @ matrix.T

    return part


def _wave(direction: tuple[float, float, float], k: tuple[float, float, float], period: float):
    def part(x: torch.Tensor, t: float) -> torch.Tensor:
        along = x @ torch.as_tensor(k, dtype=x.dtype, device=x.device)
        push = torch.as_tensor(direction, dtype=x.dtype, device=x.device)
        return torch.cos(along - 2 * math.pi * t / period)[:, None] * push

    return part


def scenes(chair: str | None, lego: str | None) -> dict[str, Case]:
    """The six scenes by name, with bodies of NeRF-synthetic where their Gaussians are given."""
    return {
        "lego" if lego else "lump": Case(
            body=fitted(lego) if lego else lump(1, 0.5, (1, 0.7, 0.8)), material="elastic",
            field=_field((3, 1, 1.5), 0.9, _whirl((0, 0.3, 1), 4.5, 0.7)),
            paper=("Lego", 33.70, 19.53, 7.02),
        ),
        "ring": Case(
            body=ring, material="elastic",
            field=_field((1, 2, 2.5), 0.8, _wave((-2.5, 0, -1), (3, 5, 2), 0.9)),
            paper=("Sunflower", 34.08, 14.38, 7.85),
        ),
        "toy": Case(
            body=lump(3, 0.8, (0.8, 1, 0.7)), material="elastoplastic",
            field=_field((2, -2, 1), 0.9,
                         _stretch(((3.3, 0, 1.1), (0, -2.2, 0), (1.1, 0, -1.1)), 0.8)),
            paper=("Toy", 41.35, 29.19, 8.11),
        ),
        "chair" if chair else "slab": Case(
            body=fitted(chair) if chair else lump(4, 0.3, (1, 0.9, 0.35)), material="elastoplastic",
            field=_field((2.5, 1, -1), 1.0, _whirl((0.2, 1, 0), 2.2, 0.9)),
            paper=("Chair", 40.10, 33.31, 23.40),
        ),
        "hotdog": Case(
            body=sausage, material="viscoplastic",
            field=_field((1, 2, 2), 0.9, _wave((0, 1.8, 1.2), (7, 0, 0), 0.8)),
            paper=("Hotdog", 30.63, 15.09, 11.63),
        ),
        "dough": Case(
            body=lump(6, 0.4, (1, 0.8, 0.6)), material="viscoplastic",
            field=_field((-2, 2, 1), 0.8,
                         _stretch(((-3.5, 0, 0), (0, 4.2, 1.4), (0, 1.4, -0.7)), 0.9)),
            paper=("Hotdog", 30.63, 15.09, 11.63),
        ),
    }  # fmt: skip


# Clips


def cameras(pixels: int = PIXELS) -> list[Camera]:
    """Two cameras that look at the origin, APART degrees from each other."""
    found = []
    for azimuth in (-90 - APART / 2, -90 + APART / 2):
        angle = math.radians(azimuth)
        place = DISTANCE * np.array([math.cos(angle), math.sin(angle), 0.25])
        found.append(look_at(place, (0, 0, 0), width=pixels, height=pixels, fov=FOV))
    return found


def make_clip(scene: Case, folder: Path, *, frames: int, pixels: int, particles: int) -> None:
    """Simulate and film a scene; the folder then holds what a run reads, and the truth."""
    surface, gaussians = scene.body()
    volume = float(trimesh.Trimesh(surface.vertices, surface.faces, process=False).volume)
    spacing = max((volume / particles) ** (1 / 3), 0.5 * SIZE / CELLS)
    x, volumes = tp.sample_mesh(surface, spacing=spacing, pattern="blue", seed=11)
    body = tp.Particles(x, density=DENSITY, volume=volumes, material=material(scene.material))
    grid = tp.Grid.around(x, dx=2 * spacing, margin=1.5 * SIZE)
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))
    mass = sim.mass[:, None]
    states = [sim.initial_state()]
    states += sim.run(frames=frames - 1, fps=FPS, force=lambda x, t: mass * scene.field(x, t))
    truth = torch.stack([scene.field(s.x.double(), s.time) for s in states]).numpy()
    share = (sim.mass / sim.mass.sum()).double().numpy()
    net = np.einsum("n,tnd->td", share, truth)
    flowed = [0.0 if s.plastic is None else float((sim.mass * s.plastic).sum()) for s in states]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "ground_truth.npz", external=truth, external_mean=net, acceleration=net,
        nodes=torch.stack([s.x for s in states]).double().numpy(),
        plastic=np.array(flowed) / float(sim.mass.sum()),
    )  # fmt: skip
    save_gaussians(folder / "model.ply", gaussians)
    start = states[0].x.float().cpu()
    binding = bind(gaussians.means, gaussians.covariances(), start)
    plastic = scene.material != "elastic"
    rng = np.random.default_rng(0)
    behind = torch.as_tensor(rng.uniform(0.55, 0.65, size=(pixels, pixels, 3)), dtype=torch.float32)
    for view, camera in enumerate(cameras(pixels)):
        pictures = []
        for state in states:
            x, F = state.x.float().cpu(), state.F.float().cpu()
            F = total_deformation(start, x, F) if plastic else F
            means, covariances = binding.deform(x, F)
            image = render(
                camera, means=means, covariances=covariances, opacities=gaussians.opacities,
                colors=gaussians.colors(), background=behind,
            )  # fmt: skip
            pictures.append(to_bytes(image.rgb))
            if view == 0 and state is states[0]:
                np.save(folder / "mask.npy", (image.alpha > 0.5).cpu().numpy())
        ending = f"_{view}" if view else ""
        write_video(folder / f"video{ending}.mp4", pictures, FPS)
        write_json(folder / f"camera{ending}.json", {**camera_record(camera), "fps": FPS})


def material(name: str) -> tp.Material:
    """The material of a scene."""
    kind = tp.MATERIALS[name]
    values = {"E": E, "nu": NU, "yield_stress": YIELD, "viscosity": VISCOSITY}
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{key: value for key, value in values.items() if key in names})


# Runs


def score(
    scene: Case, folder: Path, *, views: int, config: WindConfig, cells: int | None = None
) -> dict[str, float]:
    """Recover the force of a clip; errors over the particles, quality of the picture, seconds.

    config: also says which form of force; cells: of the solver's grid along the longest side,
    default: as a run chooses.
    """
    start = time.perf_counter()
    endings = ["", "_1"][:views]
    ending = "" if config.force == "free" else f"_{config.force}"
    job = WindJob(
        video=tuple(str(folder / f"video{e}.mp4") for e in endings),
        camera=tuple(str(folder / f"camera{e}.json") for e in endings),
        mask=str(folder / "mask.npy"), model=str(folder / "model.ply"),
        material=scene.material, E=E, nu=NU, density=DENSITY, yield_stress=YIELD,
        viscosity=VISCOSITY, gravity=(0.0, 0.0, 0.0), cells=cells,
        at=middle(np.load(folder / "mask.npy")) if config.force == "point" else None,
        out=str(folder / f"run_{views}{ending}"),
    )  # fmt: skip
    run = recover_wind(job, config)
    truth = load_truth(folder / "ground_truth.npz", len(run.t))
    assert truth is not None
    specific = run.force / run.mass[:, None]
    found = {"seconds": time.perf_counter() - start, "psnr": run.metrics["psnr"]}
    found["ssim"] = run.metrics["ssim"]
    for name, some in (("all", ALL), ("inner", INNER)):
        errors = field_errors(run.x, specific, truth, some, threshold=TINY)
        found |= {f"{name}_{key}": value for key, value in errors.items()}
    return found


def middle(mask: np.ndarray) -> tuple[float, float]:
    """x y px of the pixel of a mask (H, W) that is nearest to the middle of its pixels."""
    pixels = np.argwhere(mask)
    row, column = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return column + 0.5, row + 0.5


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", nargs="*", help="default: all six")
    parser.add_argument(
        "--force", nargs="+", default=["free"], choices=("free", "uniform", "point", "kplanes"),
        help="forms of force; with other than free, the paper's figures are those of table 2",
    )  # fmt: skip
    parser.add_argument("--chair", help="Gaussians of the chair, .ply")
    parser.add_argument("--lego", help="Gaussians of lego, .ply")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2))
    parser.add_argument("--out", default="out/wind_tables", help="folder of clips and runs")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="small and short, to see it work")
    args = parser.parse_args(argv)
    table = scenes(args.chair, args.lego)
    unknown = set(args.scene or ()) - set(table)
    if unknown:
        parser.error(f"scene: got {', '.join(sorted(unknown))}, expected some of {list(table)}")
    size = {"frames": FRAMES, "pixels": PIXELS, "particles": PARTICLES}
    config, cells = WindConfig(compare=False), None
    if args.quick:
        cells = 8
        size = {"frames": 8, "pixels": 128, "particles": 800}
        config = WindConfig(compare=False, iterations=10, smooth=1)
    tp.init()
    head = f"{'material':14s} {'scene':8s} {'force':8s}"
    print(f"{head} PSNR  SSIM   magnitude %       direction deg     seconds")
    print(f"{'':32s} {'':11s}  all inner paper    all inner paper")
    results = {}
    for name in args.scene or table:
        scene, folder = table[name], Path(args.out) / name
        make_clip(scene, folder, **size)
        for force in args.force:
            smooth = None if force == "kplanes" else config.smooth
            own = dataclasses.replace(config, force=force, smooth=smooth)
            r = score(scene, folder, views=args.views, config=own, cells=cells)
            results[name if force == "free" else f"{name} {force}"] = r
            paper = scene.paper[1:]
            if args.force != ["free"]:
                paper = TABLE_2.get((scene.material, force), (math.nan,) * 3)
            print(
                f"{scene.material:14s} {name:8s} {force:8s} {r['psnr']:4.1f}  {r['ssim']:.3f}"
                f" {r['all_magnitude_error_percent']:5.1f}"
                f" {r['inner_magnitude_error_percent']:5.1f} {paper[1]:5.1f}"
                f"  {r['all_direction_error_deg']:5.1f} {r['inner_direction_error_deg']:5.1f}"
                f" {paper[2]:5.1f}   {r['seconds']:7.0f}",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2))
    return results


if __name__ == "__main__":
    sys.exit(stoppable(main))
