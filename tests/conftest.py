"""One Taichi for each process of the session; f64 kernels are asked for where a test needs them.

TAICHI_PHYS_ARCH=cpu or cuda chooses where the tests run; without it the GPU is taken if there is
one, as programs do.
"""

import collections
import os
import signal

import pytest


ARCH = os.environ.get("TAICHI_PHYS_ARCH", "auto")
if ARCH == "cpu":  # also for the programs that tests start, which ask for "auto"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# One thread of BLAS for each of the session's processes: where these share the cores, its threads
# wait for each other, and small matrices took up to twenty times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Begun in the background of a script, a process ignores Ctrl-C, and so does what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402

import taichi_phys as tp  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def runtime():
    """The defaults, as examples called from tests ask for them too; torch on one thread."""
    torch.set_num_threads(1)
    return tp.init(arch=ARCH)


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same random numbers, alone or in the suite."""
    torch.manual_seed(0)


# What the reason for a skip names, and what brings it.
SYSTEM = {
    "Xvfb": "xvfb", "xdotool": "xdotool", "Vulkan": "mesa-vulkan-drivers libvulkan1",
    "chromium": "chromium",
}  # fmt: skip
EXTRAS = {"viser": "web", "mkdocs": "docs"}


def advice(reasons):
    """The commands that bring what skipped tests lack."""
    found = " ".join(package for word, package in SYSTEM.items() if any(word in r for r in reasons))
    extras = ",".join(extra for word, extra in EXTRAS.items() if any(word in r for r in reasons))
    commands = [f"apt install {found}"] if found else []
    return commands + ([f"pip install -e '.[{extras}]'"] if extras else [])


def pytest_terminal_summary(terminalreporter):
    """One line says which tests were skipped, why, and what to install for them."""
    counts = collections.Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[-1]).removeprefix("Skipped: ")
        counts[report.nodeid.split("::")[0].removeprefix("tests/"), reason] += 1
    if counts:
        what = "; ".join(f"{n} of {file} ({reason})" for (file, reason), n in counts.items())
        commands = advice({reason for _, reason in counts})
        cure = f"; to run them: {' && '.join(commands)}" if commands else ""
        terminalreporter.write_line(f"skipped: {what}{cure}")
