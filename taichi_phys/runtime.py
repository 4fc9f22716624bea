"""The one place that starts Taichi: architecture, precision, threads, seed."""

import atexit
import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Iterator

import taichi as ti
import torch

from taichi_phys.checks import one_of, whole_number


ARCHS = ("auto", "cpu", "cuda")
PRECISIONS = {"f32": torch.float32, "f64": torch.float64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime:
    """What Taichi was started with."""

    arch: str
    precision: str
    threads: int | None
    seed: int

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of particles and grids."""
        return PRECISIONS[self.precision]

    @property
    def device(self) -> torch.device:
        """The torch device whose tensors Taichi's kernels take without a copy."""
        return torch.device(self.arch)


_CAN_SPREAD = hasattr(os, "sched_setaffinity") and os.path.isdir("/proc/self/task")
_current: Runtime | None = None


def init(
    arch: str = "auto", precision: str = "f32", threads: int | None = None, seed: int = 0
) -> Runtime:
    """Start Taichi once; the same request again changes nothing.

    arch: auto (what already runs; else CUDA if torch and Taichi can use a GPU, else the CPU), cpu
    or cuda; precision: f32 or f64; threads: CPU threads, None for one that keeps to each CPU; seed:
    of Taichi's and torch's random numbers. Raises ValueError for an unknown value and where there
    is no such device, RuntimeError for a second, different request (a restart of Taichi would
    destroy every field in use).
    """
    global _current
    one_of("arch", arch, ARCHS)
    one_of("precision", precision, tuple(PRECISIONS))
    if threads is not None:
        threads = whole_number("threads", threads, "a positive integer or None", low=1)
    automatic = arch == "auto"
    if automatic and _current is not None:
        arch = _current.arch
    elif automatic:
        arch = "cuda" if torch.cuda.is_available() else "cpu"
    if arch == "cuda" and not torch.cuda.is_available():
        raise ValueError("arch: got 'cuda', but torch sees no CUDA device; use 'cpu' or 'auto'")
    seed = whole_number("seed", seed, "an integer from 0 to 2^31 - 1", low=0, high=2**31 - 1)
    wanted = Runtime(arch=arch, precision=precision, threads=threads, seed=seed)
    if _current == wanted:
        return _current
    if _current is not None:
        raise RuntimeError(
            f"Taichi already runs with {_current} and cannot be restarted as {wanted} "
            "in the same process: call taichi_phys.init once, first"
        )
    options = {"cpu_max_num_threads": threads} if threads else {}
    before = _threads()
    with contextlib.redirect_stdout(io.StringIO()):  # "[Taichi] Starting on arch=..."
        ti.init(
            arch=getattr(ti, arch),
            default_fp=getattr(ti, precision),
            random_seed=seed,
            log_level=ti.WARN,
            **options,
        )
    if ti.lang.impl.current_cfg().arch != getattr(ti, arch):  # Taichi went on without the GPU
        reason = "torch sees a CUDA device, but Taichi cannot use it (its driver may be too old)"
        if not automatic:
            ti.reset()
            raise ValueError(f"arch: got {arch!r}, but {reason}; use 'cpu' or 'auto'")
        warnings.warn(f"{reason}: running on the CPU", stacklevel=2)
        arch, wanted = "cpu", dataclasses.replace(wanted, arch="cpu")
    if arch == "cpu" and threads is None:
        _spread(_threads() - before)
    atexit.register(ti.reset)  # writes the compiled kernels to the offline cache
    torch.manual_seed(seed)
    _current = wanted
    return _current


def _threads() -> set[int]:
    """Identifiers of this process' threads, where the system tells."""
    return {int(name) for name in os.listdir("/proc/self/task")} if _CAN_SPREAD else set()


def _spread(threads: set[int]) -> None:
    """Give each of Taichi's threads, of which there is one per CPU, a CPU of its own.

    Woken a thousand times a second, two of them often share a CPU while another is idle: Linux
    does not move threads that ran a moment ago. That costs a third of the speed on two CPUs.
    """
    cpus = sorted(os.sched_getaffinity(0)) if _CAN_SPREAD else []
    for i, thread in enumerate(sorted(threads)):
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(thread, {cpus[i % len(cpus)]})


def ensure_initialized() -> Runtime:
    """The running Runtime, started with the defaults if the user has not called init."""
    return _current or init()


@contextlib.contextmanager
def quick_compile() -> Iterator[None]:
    """Kernels that are compiled inside go without Taichi's own data-flow passes.

    They run as fast, since LLVM does the same again, and compile up to five times faster: 6 s
    instead of 33 for a backward kernel. Not for kernels that Taichi differentiates: those need the
    passes (1.7.4 gives zeros in f32 without).
    """
    config = ti.lang.impl.current_cfg()
    before = config.cfg_optimization
    config.cfg_optimization = False
    try:
        yield
    finally:
        config.cfg_optimization = before


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch on one CPU thread inside the block.

    Small operations gain nothing from threads, and on a busy machine each of their barriers costs
    a time slice: 3 to 9 times slower beside two other busy processes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
