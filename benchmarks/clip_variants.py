"""The clip of the leaf as phones, cameras and the web deliver it, and the force found in each.

    python benchmarks/clip_variants.py [--variant NAME ...] [--out DIR] [--json FILE] [--quick]

ffmpeg makes variants of the included clip: turned by its metadata, with repeated, missing or black
frames, cut, with a pole in front, shaken by a hand, in other sizes, rates and formats. The whole
command runs on each. It passes if the net force points within 10 degrees of that of the clean
clip's run, at the same times, or if the command ends with code 2 and one sentence.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from scipy import ndimage

from inverse.clips import plan_clip
from inverse.commands import wind
from inverse.commands.assets import asset
from inverse.commands.runner import stoppable
from inverse.lifting.shrink import shrink_camera
from inverse.runs.settings import write_json
from inverse.wind import WindRun
from inverse.wind.results.truth import INNER, force_errors
from inverse.wind.results.write import net_force
from renderers.camera import Camera, camera_record, load_camera


FPS = 24.0
BAR = 10.0  # degrees, by which a variant's force may differ from the clean clip's
SHAKE, CROP = 2.0, 8  # px: standard deviation of the hand's jitter, and what it cannot show
UHD, TINY = 2160, 12  # px: height of the enlarged clip, width of the smallest leaf
LOSSLESS = ["-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A clip that differs from the clean one.

    make: (frames (T, H, W, 3) uint8, file without its ending) -> file; scale: of its pictures;
    crop: px that are missing at each side; flags: of the command.
    """

    make: Callable[[np.ndarray, Path], Path]
    scale: float = 1.0
    crop: int = 0
    flags: tuple[str, ...] = ()


def ffmpeg(*line: object, frames: np.ndarray | None = None, fps: float = FPS) -> None:
    """Run ffmpeg; frames (T, H, W, 3) uint8, if any, are its input."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"]
    if frames is not None:
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
    data = None if frames is None else np.ascontiguousarray(frames).tobytes()
    subprocess.run([*command, *map(str, line)], input=data, check=True)


def encoded(*line: object, ending: str = ".mp4", change=lambda frames: frames):
    """A variant made by changing the frames, and by options of ffmpeg."""

    def make(frames: np.ndarray, stem: Path) -> Path:
        path = stem.with_suffix(ending)
        ffmpeg(*(line or LOSSLESS), path, frames=change(frames))
        return path

    return make


def turned(frames: np.ndarray, stem: Path) -> Path:
    """Pictures lie on their side, and the metadata says so, as those of phones do."""
    lying, path = stem.with_suffix(".lying.mp4"), stem.with_suffix(".mp4")
    ffmpeg(*LOSSLESS, lying, frames=np.rot90(frames, axes=(1, 2)))
    ffmpeg("-display_rotation", "-90", "-i", lying, "-c", "copy", path)
    return path


def dropped(frames: np.ndarray, stem: Path) -> Path:
    """A variable rate: frames are missing here and there, and time stamps say so."""
    path = stem.with_suffix(".mp4")
    keep = np.setdiff1d(np.arange(len(frames)), [4, 9, 10, 15, 17, 22, 27, 28, 32])
    chosen = "+".join(rf"eq(n\,{k})" for k in keep)
    ffmpeg("-vf", f"select={chosen}", "-fps_mode", "passthrough", *LOSSLESS, path, frames=frames)
    return path


def doubled(frames: np.ndarray) -> np.ndarray:
    """Every sixth frame is the one before it."""
    order = np.arange(len(frames))
    return frames[np.where(order % 6 == 5, order - 1, order)]


def black(*where: int):
    def change(frames: np.ndarray) -> np.ndarray:
        frames = frames.copy()
        frames[list(where)] = 0
        return frames

    return change


def cut(frames: np.ndarray) -> np.ndarray:
    """Half of the clip, and then what another camera saw."""
    other = plan_clip(asset("leaf") / "video_1.mp4").read()
    return np.concatenate([frames[: len(frames) // 2], other[len(frames) // 2 :]])


def pole(frames: np.ndarray) -> np.ndarray:
    """A thin pole passes in front of the leaf, within ten frames."""
    frames = frames.copy()
    for k in range(10):
        x = 130 + 14 * k
        frames[12 + k, :, x : x + 8] = (70, 60, 50)
    return frames


def shaken(frames: np.ndarray) -> np.ndarray:
    """A hand shakes; at the edges of pictures nothing is missing."""
    rng = np.random.default_rng(0)
    shifts = np.clip(rng.normal(0, SHAKE, (len(frames), 2)), -CROP, CROP)
    shifts[0] = 0
    moved = [
        ndimage.shift(frame.astype(np.float32), (y, x, 0), mode="nearest")
        for frame, (x, y) in zip(frames, shifts, strict=True)
    ]
    moved = np.stack(moved).round().clip(0, 255).astype(np.uint8)
    return moved[:, CROP:-CROP, CROP:-CROP]


def variants(width: int, mask_width: int) -> dict[str, Variant]:
    """All variants of clips so wide, px, of an object so wide, px."""
    small = TINY / mask_width
    size = max(2, 2 * round(width * small / 2))
    return {
        "clean": Variant(make=encoded()),
        "rotated": Variant(make=turned),
        "doubled": Variant(make=encoded(change=doubled)),
        "variable_rate": Variant(make=dropped),
        "black": Variant(make=encoded(change=black(16, 17, 18))),
        "black_first": Variant(make=encoded(change=black(0))),
        "cut": Variant(make=encoded(change=cut)),
        "pole": Variant(make=encoded(change=pole)),
        "shake": Variant(make=encoded(change=shaken), crop=CROP),
        "4k": Variant(
            make=encoded("-vf", f"scale={UHD}:{UHD}:flags=bicubic", *LOSSLESS), scale=UHD / width
        ),
        "240fps": Variant(make=encoded("-vf", "fps=240", *LOSSLESS)),
        "240fps_smooth": Variant(
            make=encoded("-vf", "minterpolate=fps=240:mi_mode=mci", *LOSSLESS),
        ),
        "gif": Variant(
            make=encoded("-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse", ending=".gif")
        ),
        "hlg": Variant(
            make=encoded(
                "-vf", "format=gbrp,zscale=tin=bt709:pin=bt709:min=gbr:rin=pc:p=bt2020:"
                "t=arib-std-b67:m=bt2020nc:r=tv,format=yuv420p10le",
                "-c:v", "libx265", "-crf", "12", "-x265-params", "log-level=error",
                "-color_primaries", "bt2020", "-color_trc", "arib-std-b67",
                "-colorspace", "bt2020nc",
            )
        ),
        "12px": Variant(
            make=encoded("-vf", f"scale={size}:{size}:flags=area", *LOSSLESS), scale=size / width
        ),
    }  # fmt: skip


def write_case(name: str, variant: Variant, out: Path) -> list[str]:
    """Write a variant's clip, camera, mask, depth and truth; returns the flags of the command."""
    leaf, folder = asset("leaf"), out / name
    folder.mkdir(parents=True, exist_ok=True)
    frames = plan_clip(leaf / "video.mp4").read()
    camera, extra = load_camera(leaf / "camera.json")
    video = leaf / "video.mp4" if name == "clean" else variant.make(frames, folder / "video")
    camera = shrink_camera(_cropped(camera, variant.crop), variant.scale)
    extra.pop("fps", None)  # the file has to say it
    record = {**camera_record(camera), "depth_scale": extra["depth_scale"]}
    write_json(folder / "camera.json", record)
    shutil.copy(leaf / "ground_truth.npz", folder)
    flags = ["--video", video, "--camera", folder / "camera.json"]
    for kind in ("mask", "depth"):
        image = cv2.imread(str(leaf / f"{kind}_000.png"), cv2.IMREAD_UNCHANGED)
        edge = variant.crop
        image = image[edge : len(image) - edge, edge : len(image[0]) - edge]
        size = (camera.width, camera.height)
        image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)
        cv2.imwrite(str(folder / f"{kind}.png"), image)
        flags += [f"--{kind}", folder / f"{kind}.png"]
    return [*map(str, flags), "--out", str(folder / "run"), *variant.flags]


def _cropped(camera: Camera, edge: int) -> Camera:
    return dataclasses.replace(
        camera, cx=camera.cx - edge, cy=camera.cy - edge,
        width=camera.width - 2 * edge, height=camera.height - 2 * edge,
    )  # fmt: skip


def run_case(flags: list[str]) -> tuple[int, str]:
    """The exit code of the command, and what it said when it failed."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = wind.main(flags)
    return code, said.getvalue().strip()


def net_of(folder: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Times (T,) s, net force per mass (T, 3) m/s^2 and metrics of a run."""
    run = WindRun.load(folder)
    return run.t, net_force(run.force, run.mass), run.metrics


def compare(found: Path, clean: Path) -> dict[str, object]:
    """How a variant's run differs from the clean clip's, and from the truth."""
    t, net, metrics = net_of(found)
    t0, net0, _ = net_of(clean)
    at = np.stack([np.interp(t, t0, axis) for axis in net0.T], axis=1)
    inside = t <= t0[-1] + 1e-6
    against = force_errors(net[inside], at[inside], INNER)
    truth = metrics.get("errors", {})
    return {
        "against_clean_deg": against["direction_error_deg"],
        "against_truth_deg": truth.get("direction_error_deg"),
        "against_truth_magnitude_percent": truth.get("magnitude_error_percent"),
        "frames": metrics["frames"],
        "verdict": metrics["verdict"]["sentence"],
    }


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", nargs="*", help="default: all")
    parser.add_argument("--out", default="out/clip_variants", help="folder of clips and runs")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="coarse runs")
    return parser


def main(argv=None):
    parser = make_parser()
    args = parser.parse_args(argv)
    mask = cv2.imread(str(asset("leaf") / "mask_000.png"), cv2.IMREAD_GRAYSCALE) > 0
    table = variants(mask.shape[1], int(mask.any(axis=0).sum()))
    unknown = set(args.variant or ()) - set(table)
    if unknown:
        parser.error(f"variant: got {', '.join(sorted(unknown))}, expected some of {list(table)}")
    out, results = Path(args.out), {}
    names = list(dict.fromkeys(["clean", *(args.variant or table)]))
    for name in names:
        start = time.perf_counter()
        if name == "clean" and args.variant and (out / "clean/run/metrics.json").exists():
            code, said = 0, ""
        else:
            flags = write_case(name, table[name], out)
            code, said = run_case([*flags, *(["--quick"] if args.quick else [])])
        record: dict[str, object] = {"code": code, "said": said}
        if code == 0:
            record |= compare(out / name / "run", out / "clean/run")
        record["passed"] = _passed(record)
        results[name] = record
        print(f"{name:14s} {_line(record)}  {time.perf_counter() - start:.0f} s", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2))
    return results


def _passed(record: dict[str, object]) -> bool:
    if record["code"] == 0:
        off = record["against_clean_deg"]
        return isinstance(off, float) and off < BAR
    return record["code"] == 2 and len(str(record["said"]).splitlines()) == 1


def _line(record: dict[str, object]) -> str:
    mark = "ok    " if record["passed"] else "FAILED"
    if record["code"]:
        return f"{mark} code {record['code']}: {record['said']}"
    against = (
        f"{record['against_clean_deg']:5.1f} deg from the clean clip's, "
        f"{record['against_truth_deg'] or float('nan'):5.1f} deg from the truth, "
    )
    return f"{mark} {against}{record['frames']} frames. {record['verdict']}"


if __name__ == "__main__":
    sys.exit(stoppable(main))
