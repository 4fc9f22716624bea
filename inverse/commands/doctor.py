"""Check what is installed and works on this machine, and say what to install for the rest.

    %(prog)s

The exit code is 0 if everything that is required works, and 1 if not; optional parts do not count.
The command opens no window, and writes and downloads nothing.
"""

import argparse
import ctypes
import dataclasses
import importlib
import importlib.util
import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from inverse.commands.assets import asset
from inverse.commands.runner import DONE, FAILED, command_parser, run_command


REQUIRED = {  # package -> the module that it installs
    "numpy": "numpy",
    "scipy": "scipy",
    "imageio": "imageio",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "matplotlib": "matplotlib",
    "threadpoolctl": "threadpoolctl",
    "tqdm": "tqdm",
    "plyfile": "plyfile",
    "trimesh": "trimesh",
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
}
OPTIONAL = {  # package -> what it is for, and the command that installs it
    "viser": ("the viewer's web page", "pip install 'viser>=1.1,<2'"),
    "lpips": ("the metric LPIPS", "pip install lpips torchvision"),
    "pxr": ("taichi-phys export --to usd", "pip install usd-core"),
    "transformers": ("networks that find object and depth", "pip install 'transformers>=5'"),
}
COTRACKER = "scaled_offline.pth"
VULKAN = "apt install mesa-vulkan-drivers libvulkan1, or your graphics driver"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table; cure: the command that installs what is missing."""

    name: str
    value: str
    works: bool = True
    required: bool = True
    cure: str | None = None

    def line(self, width: int) -> str:
        """The finding as printed, with its name padded to a width."""
        mark = "ok" if self.works else "MISSING" if self.required else "-"
        text = textwrap.fill(
            self.value,
            width=100,
            initial_indent=f"{mark:8}{self.name:{width}}  ",
            subsequent_indent=" " * (width + 10),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return text if self.works or self.cure is None else f"{text}\n{'':{width + 10}}{self.cure}"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command, whose only flag is --help."""
    return command_parser("doctor", __doc__)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, lambda args: examine(), argv)


def examine() -> int:
    """Print the table and return the exit code."""
    findings: list[Finding] = []
    checks = (_system, _torch, _taichi, _packages, _ffmpeg, _assets, _vulkan, _optional, _weights)
    for check in checks:
        findings += check()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(finding.line(width))
    missing = [f.name for f in findings if f.required and not f.works]
    if missing:
        print(f"\nrequired, but missing or broken: {', '.join(missing)}")
        return FAILED
    print("\neverything required works; lines with - are optional")
    return DONE


def _system() -> Iterator[Finding]:
    from inverse.commands import version

    python = f"{platform.python_version()} at {sys.executable}"
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        name="Python", value=python, works=supported, cure="install one of Python 3.10 to 3.13"
    )
    folder = Path(__file__).resolve().parent.parent.parent
    yield Finding(name="taichi-phys", value=f"{version()} in {folder}")
    yield Finding(name="system", value=f"{platform.system()} {platform.machine()}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(
            name="torch", value=_first_line(error), works=False, cure="pip install 'torch>=2.4'"
        )
        return
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        sees = f"sees {', '.join(names)} (CUDA {torch.version.cuda})"
    else:
        sees = "sees no GPU" if torch.version.cuda else "built for the CPU only"
    yield Finding(name="torch", value=f"{torch.__version__}, {sees}")


def _taichi() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:  # _torch has reported it
        return
    try:
        from taichi_phys import runtime

        started = runtime.ensure_initialized()
        version = metadata.version(runtime.language())
        import torch
    except Exception as error:  # a driver, a library, a missing package: report all of them
        yield Finding(
            name="Taichi",
            value=_first_line(error),
            works=False,
            cure="pip install 'taichi>=1.7.2,<1.8'",
        )
        return
    fell_back = started.arch == "cpu" and torch.cuda.is_available()
    yield Finding(
        name="Taichi",
        value=f"{version}, runs on {started.arch}"
        + (" although torch sees a GPU" if fell_back else ""),
        works=not fell_back,
        required=False,
        cure="update the NVIDIA driver",
    )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        name="threads",
        value=f"{usable} of {os.cpu_count()} CPUs usable, Taichi takes "
        f"{started.threads or 'all'}, torch {torch.get_num_threads()}",
    )


def _packages() -> Iterator[Finding]:
    versions = []
    for package, module in REQUIRED.items():
        try:
            importlib.import_module(module)
            versions.append(f"{package} {metadata.version(package)}")
        except (ImportError, OSError, metadata.PackageNotFoundError) as error:
            yield Finding(
                name=package,
                value=_first_line(error),
                works=False,
                cure=f"pip install {package}",
            )
    yield Finding(name="packages", value=", ".join(versions), works=bool(versions))


def _ffmpeg() -> Iterator[Finding]:
    try:
        import imageio_ffmpeg

        value = f"{imageio_ffmpeg.get_ffmpeg_version()} at {imageio_ffmpeg.get_ffmpeg_exe()}"
        yield Finding(name="ffmpeg", value=value)
    except Exception as error:  # RuntimeError where the wheel holds none, OSError where it fails
        yield Finding(
            name="ffmpeg", value=_first_line(error), works=False, cure="pip install imageio-ffmpeg"
        )


def _assets() -> Iterator[Finding]:
    try:
        asset("rotor_puck")
        asset("leaf/video.mp4")
        yield Finding(name="clips and scenes", value=str(asset("scenes").parent))
    except ValueError as error:
        yield Finding(
            name="clips and scenes", value=str(error), works=False, cure="install taichi-phys again"
        )


def _vulkan() -> Iterator[Finding]:
    """Whether the viewer's window can open."""
    try:
        devices = _vulkan_devices()
        reason = "no device: no driver is installed"
    except (OSError, AttributeError) as error:
        devices, reason = [], f"no loader ({_first_line(error)})"
    yield Finding(
        name="Vulkan",
        value=", ".join(devices) or f"{reason}; the viewer works with --headless and --web",
        works=bool(devices),
        required=False,
        cure=VULKAN,
    )
    screen = not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))
    yield Finding(
        name="screen",
        value=os.environ.get("DISPLAY", "yes") if screen else "none: DISPLAY is not set",
        works=screen,
        required=False,
        cure="start under xvfb-run (apt install xvfb), or use --headless or --web",
    )


def _vulkan_devices() -> list[str]:
    """Names of the devices that Vulkan offers. Raises OSError where there is no loader."""
    name = {"win32": "vulkan-1.dll", "darwin": "libvulkan.1.dylib"}.get(sys.platform)
    vulkan = ctypes.CDLL(name or "libvulkan.so.1")
    # VkInstanceCreateInfo: of type 1, all else zero
    create = (ctypes.c_uint64 * 8)(1)
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(create, None, ctypes.byref(instance)):
        return []
    try:
        count = ctypes.c_uint32()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        devices = (ctypes.c_void_p * count.value)()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
        names = []
        for device in devices:
            properties = ctypes.create_string_buffer(4096)  # VkPhysicalDeviceProperties: 824 bytes
            vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), properties)
            names.append(properties.raw[20:276].split(b"\0")[0].decode(errors="replace"))
        return names
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _optional() -> Iterator[Finding]:
    for package, (purpose, cure) in OPTIONAL.items():
        there = importlib.util.find_spec(package) is not None
        value = _version(package) if there else "not installed"
        yield Finding(
            name=package, value=f"{value} ({purpose})", works=there, required=False, cure=cure
        )


def _weights() -> Iterator[Finding]:
    """CoTracker and the network of LPIPS, which torch.hub keeps in its folder."""
    try:
        import torch

        from inverse.metrics import VGG16
    except (ImportError, OSError):  # _torch has reported it
        return
    hub = Path(torch.hub.get_dir())
    clone, weights = hub / "facebookresearch_co-tracker_main", hub / "checkpoints" / COTRACKER
    installed = importlib.util.find_spec("cotracker") is not None
    where = "the package" if installed else str(clone)
    there = (installed or clone.is_dir()) and weights.is_file()
    yield Finding(
        name="CoTracker",
        value=f"{where}, weights {weights}"
        + (" (--tracker cotracker)" if there else ": not there"),
        works=there,
        required=False,
        cure="python -c \"import torch; torch.hub.load('facebookresearch/co-tracker', "
        "'cotracker3_offline', trust_repo=True)\"",
    )
    vgg = hub / "checkpoints" / VGG16
    yield Finding(
        name="weights of LPIPS",
        value=str(vgg) + ("" if vgg.is_file() else ": not there"),
        works=vgg.is_file(),
        required=False,
        cure='python -c "import torch; torch.hub.load_state_dict_from_url('
        f"'https://download.pytorch.org/models/{VGG16}')\"",
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "version unknown"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
