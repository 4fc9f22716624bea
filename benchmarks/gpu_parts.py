"""What gpu_check.py runs in processes of their own, on a CPU or on a GPU.

Each part returns arrays by name, which are the same on both.
"""

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import taichi_phys as tp
from taichi_phys.language import ti


SOLID = {"E": 1e4, "nu": 0.3}
PLASTIC = {**SOLID, "yield_stress": 50.0}
MATERIALS: dict[str, tp.Material] = {
    "elastic": tp.Elastic(**SOLID),
    "fixed_corotated": tp.FixedCorotated(**SOLID),
    "hencky": tp.Hencky(**SOLID),
    "elastoplastic": tp.Elastoplastic(**PLASTIC),
    "viscoplastic": tp.Viscoplastic(**PLASTIC, viscosity=5.0),
    "herschel_bulkley": tp.HerschelBulkley(**PLASTIC, viscosity=5.0, exponent=0.5),
    "sand": tp.Sand(**SOLID, friction_angle=30.0, cohesion=50.0),
    "fluid": tp.Fluid(bulk_modulus=1e4, viscosity=5.0),
}
COLLIDERS = {
    "plane": lambda **how: tp.Plane(point=(0, 0, 0.3), normal=(0.1, 0, 1), **how),
    "box": lambda **how: tp.Box(center=(0.5, 0.5, 0.2), half_size=(0.3, 0.3, 0.1), **how),
    "sphere": lambda **how: tp.Sphere(center=(0.5, 0.5, 0.1), radius=0.2, **how),
    "capsule": lambda **how: tp.Capsule(
        start=(0.3, 0.5, 0.2), end=(0.7, 0.5, 0.2), radius=0.1, **how
    ),
}
CONTACTS = ("sticky", "slip", "separate")
GRID = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16)
STEPS, DT = 40, 5e-4


class Device:
    """The device that a part runs on; quick: whether sizes are small, to try the script."""

    def __init__(self, arch: str, quick: bool):
        self.quick = quick
        self.runtime = tp.init(arch=arch)
        self.device = self.runtime.device

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], repeats: int = 5) -> float:
        """Median seconds of a call, after one that warms up."""
        times = []
        for _ in range(repeats + 1):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])


def machine(part: Device) -> dict[str, str]:
    """What the figures are measured on, and which architecture Taichi really runs."""
    return {
        "arch": str(ti.lang.impl.current_cfg().arch).removeprefix("Arch."),
        "card": torch.cuda.get_device_name() if part.device.type == "cuda" else "none",
        "torch": torch.__version__,
        ti.__name__: ".".join(map(str, ti.__version__)),
    }


def numbers(**tensors: torch.Tensor | None) -> dict[str, np.ndarray]:
    return {k: t.detach().double().cpu().numpy() for k, t in tensors.items() if t is not None}


def rolled(material: tp.Material, precision: str, **options) -> dict[str, np.ndarray]:
    """The state after a frame of a moving, sheared block, and the gradients of a random loss."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.35, 0.65, (600, 3))
    weights = rng.standard_normal((3, 600, 3))
    body = tp.Particles(x, volume=0.3**3 / 600, material=material)
    sim = tp.MPM(particles=body, grid=GRID, precision=precision, **options)
    start = sim.initial_state()
    v = 0.5 * torch.as_tensor(rng.standard_normal((600, 3))).to(start.x)
    v[:, 2] -= 2.0
    shear = torch.zeros(600, 3, 3).to(start.x)
    shear[:, 0, 2] = 5.0  # 1/s, so that solids yield
    start = start.replace(v=v, C=shear)
    start = start.replace(x=start.x.requires_grad_(), v=v.requires_grad_())
    force = torch.zeros_like(start.x, requires_grad=True)
    end = sim.advance(start, frame_dt=STEPS * DT, substeps=STEPS, force=force)
    a, b, c = torch.as_tensor(weights).to(start.x)
    loss = (a * end.x).sum() + (b * end.v).sum() + (c[:, :, None] * end.F).sum()
    gx, gv, gf = torch.autograd.grad(loss, [start.x, start.v, force])
    return numbers(x=end.x, v=end.v, F=end.F, plastic=end.plastic, gx=gx, gv=gv, gforce=gf)


def law(part: Device, name: str) -> dict[str, np.ndarray]:
    """A material in both precisions, forward and backward."""
    found = {}
    for precision in ("f32", "f64"):
        result = rolled(MATERIALS[name], precision)
        found |= {f"{precision}.{k}": a for k, a in result.items()}
    return found


def colliders(part: Device) -> dict[str, np.ndarray]:
    """Every collider with every contact, at rest and moving; a mesh; particles that leave."""
    import trimesh

    found = {}
    material = tp.Elastic(**SOLID)
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.2)
    ball.apply_translation((0.5, 0.5, 0.1))
    makers = {**COLLIDERS, "mesh": lambda **how: tp.Mesh(mesh=ball, **how)}
    for name, make in makers.items():
        for contact in CONTACTS:
            friction = {"friction": 0.3} if contact != "sticky" else {}
            collider = make(contact=contact, **friction)
            result = rolled(material, "f64", colliders=[collider])
            found |= {f"{name}.{contact}.{k}": a for k, a in result.items()}
    print("  colliders", flush=True)
    removed = rolled(material, "f64", outside="remove")
    return found | {f"remove.{k}": a for k, a in removed.items()}


def compiling(part: Device) -> dict[str, np.ndarray | float]:
    """Gradients of kernels compiled with and without Taichi's own passes, and the seconds."""
    from taichi_phys.mpm import drivers, engine

    found: dict[str, np.ndarray | float] = {}
    for name, how in (("quick", engine.quick_compile), ("full", contextlib.nullcontext)):
        drivers.kernels.cache_clear()
        engine.quick_compile = how
        start = time.perf_counter()
        result = rolled(tp.Elastic(**SOLID), "f64")
        found[f"seconds {name}"] = time.perf_counter() - start
        found |= {f"{name}.{k}": a for k, a in result.items()}
        print(f"  {name}: {found[f'seconds {name}']:.1f} s", flush=True)
    return found


def splats(part: Device) -> dict[str, np.ndarray]:
    """A picture of overlapping Gaussians and its gradients, f32 and f64."""
    from renderers.camera import camera_from_fov
    from renderers.splats.render import render

    rng = np.random.default_rng(0)
    n, camera = 400, camera_from_fov(96, 72, 50)
    depth = rng.uniform(2, 6, n)
    values = {
        "means": camera.unproject(rng.uniform(0, 1, (n, 2)) * [96, 72], depth),
        "quats": rng.standard_normal((n, 4)),
        "scales": rng.uniform(0.05, 0.4, (n, 3)),
        "opacities": rng.uniform(0.05, 1, n),
        "sh": 0.3 * rng.standard_normal((n, 9, 3)),
    }
    weights = rng.standard_normal((72, 96, 3))
    found = {}
    for precision, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        leaves = {
            k: torch.as_tensor(v, dtype=dtype, device=part.device).requires_grad_()
            for k, v in values.items()
        }
        image = render(camera, **leaves)
        loss = (image.rgb * torch.as_tensor(weights).to(image.rgb)).sum() + image.depth.sum()
        loss.backward()
        grads = {f"g{k}": t.grad for k, t in leaves.items()}
        result = numbers(rgb=image.rgb, alpha=image.alpha, depth=image.depth, **grads)
        found |= {f"{precision}.{k}": a for k, a in result.items()}
    return found


def networks(part: Device) -> dict[str, np.ndarray]:
    """A step along the gradient of the triplane and of TRACE's three networks, f64."""
    from taichi_phys.bridge.causal_triplane import CausalTriplane
    from taichi_phys.bridge.deformation_mlp import DeformationMLP
    from taichi_phys.bridge.deformation_planes import DeformationPlanes
    from taichi_phys.bridge.dynamics_mlp import DynamicsMLP

    x = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (200, 3)))
    made = {
        "triplane": (CausalTriplane(lower=(-1,) * 3, upper=(1,) * 3, steps=2), (1,)),
        "deformation": (DeformationMLP(), (0.3,)),
        "planes": (DeformationPlanes(resolution=8), (0.3,)),
        "dynamics": (DynamicsMLP(), (0.3,)),
    }
    found = {}
    for name, (network, arguments) in made.items():
        torch.manual_seed(0)
        for parameter in network.parameters():  # drawn on the CPU: the same on both
            torch.nn.init.normal_(parameter, std=0.1)
        network = network.to(part.device, torch.float64)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        for _ in range(2):
            output = network(x.to(part.device), *arguments)
            parts = output if isinstance(output, tuple) else (output,)
            loss = sum(p.square().sum() for p in parts)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        result = numbers(**{f"out{i}": p for i, p in enumerate(parts)})
        found |= {f"{name}.{k}": a for k, a in result.items()}
    return found


CHECKS: dict[str, Callable[[Device], dict]] = {
    **{name: functools.partial(law, name=name) for name in MATERIALS},
    "colliders": colliders,
    "splats": splats,
    "networks": networks,
    "compiling": compiling,
}


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """|found - wanted| / |wanted|, infinite where a number is not finite."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return math.inf
    size = float(np.linalg.norm(wanted))
    gap = float(np.linalg.norm(found - wanted))
    return gap / size if size else gap
