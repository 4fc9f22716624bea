"""Check a GPU against the CPU, and time it, in about five minutes.

    python benchmarks/gpu_check.py [--json FILE] [--only PART ...] [--quick] [--arch cpu]
        [--minutes 1] [--preset laptop] [--data DIR]

The checks run every law, collider, picture and network on both and compare states, pictures and
gradients; the figures are measured on the GPU alone, one after the other. Every part is a process
of its own with a time limit, so that one that fails takes nothing with it. It needs the packages of
the simulator, OpenCV and trimesh, but no ffmpeg and no network. Ends with exit code 1 if a check
fails. --arch cpu compares the CPU with itself, to try the script. Alternatives are compared if
--only names them: arrangements (of particles), launches (substeps in each), storage (arrays or
fields), warp (a plain simulator in NVIDIA Warp).
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


ROOT = Path(__file__).resolve().parent.parent
# Norms of differences relative to those of the values: rounding, grown by 40 substeps.
TOLERANCE = {"f32": 2e-3, "f64": 1e-8}
LIMIT = 200  # s that a part may take


def start_part(name: str, arch: str, folder: str, options: argparse.Namespace) -> dict:
    """Run a part in a process: {"ok", "seconds", "log", "file"}."""
    file = Path(folder) / f"{name.replace(' ', '_')}_{arch}_{time.monotonic_ns()}.npz"
    command = [sys.executable, __file__, "--part", name, "--arch", arch, "--to", str(file)]
    command += ["--quick"] if options.quick else []
    command += ["--minutes", str(options.minutes), "--preset", options.preset]
    command += ["--data", options.data] if options.data else []
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if name == "compiling":  # nothing compiled before may help
        env["TI_OFFLINE_CACHE_FILE_PATH"] = str(file.with_suffix(""))
    limit = LIMIT + 60 * options.minutes if name == "trace" else LIMIT
    begin = time.monotonic()
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit)
        ok, log = done.returncode == 0, done.stdout + done.stderr
    except subprocess.TimeoutExpired as stopped:
        ok, log = False, f"stopped after {limit:.0f} s: {stopped.stdout!r}"
    return {"ok": ok, "seconds": time.monotonic() - begin, "log": log[-3000:], "file": file}


def run_part(options: argparse.Namespace) -> None:
    """The process of one part."""
    import gpu_figures
    import gpu_parts

    part = gpu_parts.Device(options.arch, options.quick)
    figures = {**gpu_figures.FIGURES, **gpu_figures.COMPARISONS}
    work = {"machine": gpu_parts.machine, **gpu_parts.CHECKS, **figures}[options.part]
    extra = (options.minutes, options.preset, options.data) if options.part == "trace" else ()
    np.savez(options.to, **work(part, *extra))


def compare(name: str, ours: dict, theirs: dict) -> dict:
    """The largest difference of a check on GPU and CPU, and the names beyond the tolerance."""
    from gpu_parts import difference

    if not (ours["ok"] and theirs["ok"]):
        failed = [r["log"] for r in (ours, theirs) if not r["ok"]]
        return {"ok": False, "log": failed[0], "seconds": ours["seconds"]}
    found, wanted = np.load(ours["file"]), np.load(theirs["file"])
    seconds = {k: float(found[k]) for k in found.files if k.startswith("seconds")}
    gaps = {k: difference(found[k], wanted[k]) for k in wanted.files if k not in seconds}
    limits = {k: TOLERANCE["f32" if k.startswith("f32") else "f64"] for k in gaps}
    worst = max(gaps, key=lambda k: gaps[k] / limits[k])
    beyond = sorted(k for k, gap in gaps.items() if gap > limits[k])
    return {
        "ok": not beyond,
        "compared": len(gaps),
        "worst": {worst: gaps[worst]},
        "beyond": {k: gaps[k] for k in beyond},
        "figures": seconds,
        "seconds": ours["seconds"],
    }


def main(argv: list[str] | None = None) -> int:
    """Run the parts and print a line for each; return 0 if all checks hold."""
    options = make_parser().parse_args(argv)
    if options.part:
        run_part(options)
        return 0
    import gpu_figures
    import gpu_parts

    usual = [*gpu_parts.CHECKS, *gpu_figures.FIGURES]
    known = [*usual, *gpu_figures.COMPARISONS]
    if unknown := set(options.only or ()) - set(known):
        raise SystemExit(f"--only: got {sorted(unknown)}, expected some of {known}")
    results: dict = {"machine": {}, "checks": {}, "figures": {}}

    def save() -> None:
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1))

    chosen = options.only or usual
    with tempfile.TemporaryDirectory() as folder:
        done = start_part("machine", options.arch, folder, options)
        if not done["ok"]:
            raise SystemExit(f"Taichi does not start on {options.arch}: {done['log']}")
        results["machine"] = {k: str(v) for k, v in np.load(done["file"]).items()}
        print(", ".join(f"{k} {v}" for k, v in results["machine"].items()), flush=True)
        workers = max(1, (os.cpu_count() or 2) - 1)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            jobs = {
                name: [
                    pool.submit(start_part, name, arch, folder, options)
                    for arch in (options.arch, "cpu")
                ]
                for name in gpu_parts.CHECKS
                if name in chosen
            }
            for name, pair in jobs.items():
                result = compare(name, *(job.result() for job in pair))
                results["checks"][name] = result
                verdict = "ok" if result["ok"] else "FAILED"
                about = result.get("log") or result["beyond"] or result["worst"]
                print(f"{name}: {verdict} after {result['seconds']:.0f} s; {about}", flush=True)
                save()
        for name in (n for n in known if n in chosen and n not in gpu_parts.CHECKS):
            done = start_part(name, options.arch, folder, options)
            figures = {k: float(v) for k, v in np.load(done["file"]).items()} if done["ok"] else {}
            results["figures"][name] = figures if done["ok"] else {"failed": done["log"]}
            text = ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
            text = text or ("nothing to measure here" if done["ok"] else done["log"])
            print(f"{name}, {done['seconds']:.0f} s: {text}", flush=True)
            save()
    failed = [n for n, r in results["checks"].items() if not r["ok"]]
    failed += [n for n, r in results["figures"].items() if "failed" in r]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the figures there too, after each part")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts only")
    parser.add_argument("--arch", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--minutes", type=float, default=1.0, help="of TRACE's training")
    parser.add_argument("--preset", choices=("laptop", "paper"), default="laptop")
    parser.add_argument("--data", help="a folder of TRACE data; default: the included clip")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
