"""Time the simulator: forward, backward, memory, compile, scaling; beside Genesis if asked.

    python benchmarks/mpm.py [--repeats 7] [--threads N] [--json FILE] [--quick]
        [--against genesis] [--genesis-python FILE]

The workload: a cube of 30,000 particles in free fall (uniform in 0.35..0.65 m, 64^3 grid in a unit
cube, E 1e4 Pa, nu 0.2, 1000 kg/m^3, dt 1e-4 s). "flowing" bodies shear beyond their yield stress.
Every kind of body, and Genesis, runs in a process of its own; they take turns, so that a machine
whose speed drifts is as fast for one as for the other. Rates are medians.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
PARTICLES, SUBSTEPS, BACKWARD_SUBSTEPS, DT = 30_000, 50, 20, 1e-4
WARM = 10  # substeps before those that count: whose turn it is finds processors and caches cold
LONG = 2_000  # substeps of the memory test
SOLID = {"E": 1e4, "nu": 0.2}
LAWS = {
    "neo-Hookean": ("Elastic", {}),
    "von Mises": ("Elastoplastic", {"yield_stress": 100.0}),
    "viscoplastic": ("Viscoplastic", {"yield_stress": 100.0, "viscosity": 10.0}),
    "von Mises, flowing": ("Elastoplastic", {"yield_stress": 1.0}),
    "fixed corotated": ("FixedCorotated", {}),
    "sand": ("Sand", {"friction_angle": 30.0}),
}
RATES = ("forward", "forward_backward")
SWEEP = (10_000, 30_000, 100_000, 300_000, 1_000_000)
DOMAINS = (64, 256)  # cells a side, of the same dx
OPEN = []  # workers that were not closed yet


def make(law: str, count: int = PARTICLES, cells: int = 64):
    """(simulator, state) of the workload; its cube keeps the density of particles."""
    import numpy as np
    import torch

    import taichi_phys as tp

    dx, edge = 1 / 64, 0.3 * (count / PARTICLES) ** (1 / 3)
    if edge > 0.8:  # as many particles per cell in a larger domain
        cells = int(64 * edge / 0.6)
    middle = cells * dx / 2
    x = np.random.default_rng(0).uniform(middle - edge / 2, middle + edge / 2, (count, 3))
    kind, values = LAWS[law]
    fields = {**SOLID, **values}
    body = tp.Particles(x, volume=edge**3 / count, material=getattr(tp, kind)(**fields))
    grid = tp.Grid(lower=(0, 0, 0), upper=(cells * dx,) * 3, dx=dx)
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, -9.8))
    state = sim.initial_state()
    if law.endswith("flowing"):
        shear = torch.zeros(count, 3, 3).to(state.x)
        shear[:, 0, 2] = 5.0  # 1/s
        state = state.replace(v=(state.x - middle) @ shear[0].T, C=shear)
    return sim, state


class Worker:
    """One process that measures one kind of body, on request."""

    def __init__(self, law: str, count: int, cells: int, threads: int | None):
        import torch

        import taichi_phys as tp

        self.torch, self.count = torch, count
        tp.init(threads=threads)
        self.sim, self.state = make(law, count, cells)
        self.force = torch.zeros_like(self.state.x, requires_grad=True)

    def warm(self):
        """The state after some substeps."""
        with self.torch.no_grad():
            return self.sim.advance(self.state, frame_dt=WARM * DT, substeps=WARM)

    def forward(self, substeps: int = SUBSTEPS) -> float:
        """Million particle-substeps a second; the same for the next."""
        state = self.warm()
        start = time.perf_counter()
        with self.torch.no_grad():
            self.sim.advance(state, frame_dt=substeps * DT, substeps=substeps)
        return self.count * substeps / (time.perf_counter() - start) / 1e6

    def forward_backward(self, substeps: int = BACKWARD_SUBSTEPS) -> float:
        state = self.warm()
        start = time.perf_counter()
        end = self.sim.advance(state, frame_dt=substeps * DT, substeps=substeps, force=self.force)
        end.x.sum().backward()
        return self.count * substeps / (time.perf_counter() - start) / 1e6

    def memory(self, substeps: int = LONG) -> float:
        """Peak GiB of this process after a long forward and backward."""
        import resource

        self.forward_backward(substeps)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Genesis:
    """The same workload in Genesis (its own sampler gives 31^3 particles)."""

    def __init__(self):
        import genesis as gs

        gs.init(backend=gs.cpu, precision="32", logging_level="error")
        self.scene = gs.Scene(
            sim_options=gs.options.SimOptions(dt=10 * DT, substeps=10, gravity=(0, 0, -9.8)),
            mpm_options=gs.options.MPMOptions(
                lower_bound=(0.0, 0.0, 0.0), upper_bound=(1.0, 1.0, 1.0), grid_density=64,
                particle_size=0.3 / 31,
            ),
            show_viewer=False,
        )  # fmt: skip
        material = gs.materials.MPM.Elastic(
            E=1e4, nu=0.2, rho=1000.0, model="neohooken", sampler="regular"
        )
        box = gs.morphs.Box(pos=(0.5, 0.5, 0.5), size=(0.3, 0.3, 0.3))
        self.scene.add_entity(material=material, morph=box)
        self.scene.build()

    def forward(self) -> float:
        for _ in range(WARM // 10):
            self.scene.step()
        start = time.perf_counter()
        for _ in range(SUBSTEPS // 10):
            self.scene.step()
        count = self.scene.sim.mpm_solver.n_particles
        return count * SUBSTEPS / (time.perf_counter() - start) / 1e6


def serve(worker):
    """Answer requests, a method's name a line, with a JSON line each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    print(json.dumps(0), file=answers)
    for line in sys.stdin:
        print(json.dumps(getattr(worker, line.strip())()), file=answers)


class Child:
    """A worker in a process of its own."""

    def __init__(self, *options, python: str = sys.executable, env=None):
        command = [python, __file__, "--worker", *map(str, options)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )  # fmt: skip
        OPEN.append(self)
        self.answer()

    def answer(self) -> float:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended: {' '.join(self.process.args)}")
        return json.loads(line)

    def ask(self, what: str) -> float:
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        OPEN.remove(self)
        self.process.stdin.close()
        self.process.wait()


def compile_seconds(threads) -> dict[str, float]:
    """From a request for the first frame to its answer, beyond a later frame: with no cache, and
    with the kernels of a former process."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = {"TI_OFFLINE_CACHE_FILE_PATH": folder}
        for kind in ("cold", "cached"):
            child = Child("neo-Hookean", PARTICLES, 64, threads, env=cache)
            for name in RATES:
                seconds = []
                for _ in range(2):
                    start = time.perf_counter()
                    child.ask(name)
                    seconds.append(time.perf_counter() - start)
                result[f"{name}_{kind}"] = seconds[0] - seconds[1]
            child.close()
    return result


def measure(options) -> dict:
    """All figures, as the JSON file has them."""
    threads, count = options.threads or 0, 1_000 if options.quick else PARTICLES
    laws = list(LAWS)[:1] if options.quick else LAWS
    children = {law: Child(law, count, 64, threads) for law in laws}
    if options.against:
        children["Genesis"] = Child(python=options.genesis_python)
    samples = {(name, rate): [] for name in children for rate in RATES}
    for turn in range(options.repeats + 1):  # the first one warms up
        for (name, rate), values in samples.items():
            if name != "Genesis" or rate == "forward":
                value = children[name].ask(rate)
                values += [value] if turn else []
    for child in children.values():
        child.close()
    rates = {
        name: {r: statistics.median(samples[name, r]) for r in RATES if samples[name, r]}
        for name in children
    }
    sweep = {}
    for n in (500,) if options.quick else SWEEP:
        child = Child("neo-Hookean", n, 64, threads)
        child.ask("forward")
        sweep[n] = statistics.median(child.ask("forward") for _ in range(3))
        child.close()
    pair = {cells: Child("neo-Hookean", count, cells, threads) for cells in DOMAINS}
    rounds = range(2 if options.quick else 6)
    turns = [{c: child.ask("forward") for c, child in pair.items()} for _ in rounds][1:]
    domains = {c: statistics.median(t[c] for t in turns) for c in DOMAINS}
    for child in pair.values():
        child.close()
    result = {"rates": rates, "sweep": sweep, "domains": domains}
    if not options.quick:
        child = Child("neo-Hookean", count, 64, threads)
        result |= {"memory_gib": child.ask("memory"), "compile": compile_seconds(threads)}
        child.close()
    machine = {"platform": platform.platform(), "cores": os.cpu_count(), "threads": threads}
    return {"machine": machine, "repeats": options.repeats, "particles": count, **result}


def show(result: dict):
    base = result["rates"].get("Genesis", {}).get("forward")
    print(f"{'M particle-substeps / s':24s} {'forward':>9s} {'x Genesis':>10s}", end="")
    print(f" {'forward + backward':>19s} {'x Genesis':>10s}")
    for name, rates in result["rates"].items():
        cells = []
        for rate, width in zip(RATES, (9, 19), strict=True):
            value = rates.get(rate)
            cells.append(f"{'-' if value is None else f'{value:.2f}':>{width}s}")
            ratio = "-" if base is None or value is None else f"{value / base:.2f}"
            cells.append(f"{ratio:>10s}")
        print(f"{name:24s} {' '.join(cells)}")
    for n, rate in result["sweep"].items():
        print(f"{n:>9,d} particles: {rate:6.2f} M / s forward")
    small, large = (result["domains"][c] for c in DOMAINS)
    print(f"domain of {DOMAINS[1]}^3 cells: {small / large:.2f} x the time of {DOMAINS[0]}^3")
    if "compile" in result:
        print("compile, s: " + ", ".join(f"{k} {v:.1f}" for k, v in result["compile"].items()))
        print(f"{LONG} substeps forward + backward: {result['memory_gib']:.2f} GiB")


def main(argv=None):
    if argv is None and sys.argv[1:2] == ["--worker"]:
        arguments = sys.argv[2:]
        if not arguments:
            return serve(Genesis())
        law, count, cells, threads = arguments
        return serve(Worker(law, int(count), int(cells), int(threads) or None))
    options = make_parser().parse_args(argv)
    try:
        result = measure(options)
    finally:  # interrupted or not, no worker is left
        for child in OPEN:
            child.process.kill()
            child.process.wait()
        OPEN.clear()
    show(result)
    if options.json:
        from inverse.runs.settings import write_json

        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.json, result)
    return result


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="CPU threads, default: all")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="small scenes, to test the script")
    parser.add_argument("--against", choices=["genesis"], help="measure it in the same run")
    parser.add_argument(
        "--genesis-python", default=sys.executable, help="interpreter that has Genesis"
    )
    return parser


if __name__ == "__main__":
    from inverse.commands.runner import stoppable

    sys.exit(stoppable(main))
