"""The start of Taichi: architecture, precision, threads and seed. No other module starts it."""

import atexit
import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Iterator

import torch

from taichi_phys.checks import one_of, whole_number
from taichi_phys.language import ti


ARCHS = ("auto", "cpu", "cuda")
PRECISIONS = {"f32": torch.float32, "f64": torch.float64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime:
    """The settings with which Taichi was started."""

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
    """Start Taichi once; a second call with the same arguments changes nothing.

    arch: "cpu", "cuda" or "auto" (the architecture that already runs; else CUDA if torch and Taichi
    can use a GPU, else the CPU); precision: "f32" or "f64"; threads: number of CPU threads, None
    for one thread per CPU, each bound to its CPU; seed: seed of the random numbers of Taichi and
    torch. Raises ValueError for an unknown value or a missing device, and RuntimeError for a second
    call with different arguments: a restart of Taichi would destroy every field in use.
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
    chosen = arch == "cuda" and torch.cuda.is_initialized()  # before that it is the first
    if chosen and (index := torch.cuda.current_device()):
        raise ValueError(
            f"arch: got 'cuda' while torch's current device is cuda:{index}, but Taichi takes the "
            f"first visible GPU: set CUDA_VISIBLE_DEVICES={index} instead of torch.cuda.set_device"
        )
    seed = whole_number("seed", seed, "an integer from 0 to 2^31 - 1", low=0, high=2**31 - 1)
    wanted = Runtime(arch=arch, precision=precision, threads=threads, seed=seed)
    if _current == wanted:
        return _current
    if _current is not None:
        raise RuntimeError(
            f"Taichi already runs with {_current} and cannot be restarted as {wanted} "
            "in the same process: call taichi_phys.init once, before anything else starts Taichi"
        )
    options = {"cpu_max_num_threads": threads} if threads else {}
    before = _threads()
    with contextlib.redirect_stdout(io.StringIO()):  # hides "[Taichi] Starting on arch=..."
        ti.init(
            arch=getattr(ti, arch),
            default_fp=getattr(ti, precision),
            random_seed=seed,
            log_level=ti.WARN,
            **options,
        )
    if ti.lang.impl.current_cfg().arch != getattr(ti, arch):  # Taichi fell back silently
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
    """Identifiers of the threads of this process; empty where the system does not list them."""
    return {int(name) for name in os.listdir("/proc/self/task")} if _CAN_SPREAD else set()


def _spread(threads: set[int]) -> None:
    """Bind each of Taichi's threads, of which there is one per CPU, to a CPU of its own.

    The threads wake a thousand times a second, and Linux does not move a thread that ran a moment
    ago; so two threads often share a CPU while another CPU is idle. On two CPUs that costs a third
    of the speed.
    """
    cpus = sorted(os.sched_getaffinity(0)) if _CAN_SPREAD else []
    for i, thread in enumerate(sorted(threads)):
        with contextlib.suppress(OSError):  # the thread has ended
            os.sched_setaffinity(thread, {cpus[i % len(cpus)]})


def language() -> str:
    """The name of the package that compiles the kernels: "taichi" or "quadrants"."""
    return ti.__name__


def ensure_initialized() -> Runtime:
    """The Runtime in use; starts Taichi with the defaults if init was not called before."""
    return _current or init()


@contextlib.contextmanager
def quick_compile(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Compile the kernels in this block, which compute in dtype, without passes that LLVM repeats.

    Without Taichi's own data-flow passes kernels run as fast, and compile up to five times faster:
    a backward kernel in 6 s instead of 33 s. Without its other optimizations they compile up to six
    times faster once more, but run by a fifth slower: so are kernels in f64, which check gradients.
    Kernels that Taichi differentiates need the passes: without them, Taichi 1.7.4 returns gradients
    of zero in f32.
    """
    config = ti.lang.impl.current_cfg()
    before = config.cfg_optimization, config.advanced_optimization
    config.cfg_optimization = False
    config.advanced_optimization = before[1] and dtype != torch.float64
    try:
        yield
    finally:
        config.cfg_optimization, config.advanced_optimization = before


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch on one CPU thread in this block.

    Small operations gain nothing from threads, and on a busy machine each barrier between threads
    costs a time slice: beside two other busy processes, torch was 3 to 9 times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
