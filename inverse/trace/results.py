"""What a TRACE run leaves behind: predicted images, parts, motion.json, metrics, video, report."""

from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from inverse.fitting.fitter import over
from inverse.metrics import image_metrics, mean_metrics
from inverse.runs.settings import write_json
from inverse.trace.frames import Frames, load_frames
from inverse.trace.mask_metrics import segmentation_metrics
from inverse.trace.paths import motion_along_paths
from inverse.trace.readout import motion_of_parts
from inverse.trace.report import write_report
from inverse.trace.segmentation import segment
from renderers.camera import Camera
from renderers.images import to_bytes, write_png
from renderers.overlay import side_by_side
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys.io.files import atomic_path


PARTS = "parts.npz"  # labels (n,) int of the checkpoint's Gaussians, as those of motion.json
SPLITS = {"val": "interpolation", "test": "extrapolation"}
VIDEO_FPS = 24.0
VIDEO_SECONDS = 4.0  # of the observed span, slowed down or sped up to that
SOLID = 0.5  # alpha from which a pixel belongs to a part
PALETTE = np.array(
    [[0.62, 0.65, 0.69], [0.17, 0.51, 0.83], [0.88, 0.39, 0.17], [0.16, 0.62, 0.38],
     [0.70, 0.36, 0.75], [0.79, 0.60, 0.02], [0.85, 0.30, 0.45], [0.35, 0.75, 0.78]]
)  # fmt: skip


@torch.no_grad()
def write_results(done, command: list[str] | None) -> dict:
    """Write the run directory of a finished TraceRun; returns the record of metrics.json."""
    labels, motion = find_parts(done)
    parts = None if motion is None else motion["parts"]
    metrics = {
        **{name: None for name in SPLITS.values()},
        "segmentation": None,
        "seconds": done.trainer.seconds,
        "iterations": done.trainer.iteration,
        "gaussians": len(done.model.gaussians),
        "moving": int(done.model.moving.sum()),
        "parts": None if parts is None else len(parts),
    }
    for split, name in SPLITS.items():
        if not (Path(done.run.data) / f"transforms_{split}.json").exists():
            continue
        frames = load_frames(done.run.data, split, downscale=done.run.downscale)
        metrics[name] = predict(done, frames, done.out / "renders" / split)
        if labels is not None:
            ids, given = part_masks(done, frames, split, labels)
            if given:  # of the future, where both splits have masks
                metrics["segmentation"] = segmentation_metrics(ids, given)
    if parts is not None:
        write_json(done.out / "motion.json", motion)
        with atomic_path(done.out / PARTS) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, labels=labels)
    write_film(done, labels)
    write_json(done.out / "metrics.json", metrics)
    write_report(done, metrics, parts, command)
    return metrics


def predict(done, frames: Frames, folder: Path) -> dict:
    """Render every frame of a split, under the names of its files; the mean metrics."""
    background = torch.tensor(done.trainer.background)
    records = []
    for k in tqdm(range(len(frames)), desc=folder.name, disable=None):
        image = picture(done, frames.cameras[k], frames.times[k])
        write_png(folder / f"{Path(frames.views[k].name).stem}.png", to_bytes(image))
        truth = over(frames.rgb[k], frames.alpha[k], background)
        records.append(image_metrics(image.cpu(), truth))
    return mean_metrics(records)


def picture(done, camera: Camera, t: float) -> torch.Tensor:
    """(H, W, 3) in 0..1: the scene at time t s."""
    tensors = done.model.tensors_at(t)
    return render(camera, **tensors, background=done.trainer.background).rgb.clamp(0, 1)


def find_parts(done) -> tuple[np.ndarray | None, dict | None]:
    """Labels (n,) of the Gaussians by their motion at the last observed time, 0 for what stands
    still, and motion.json's record of how each part moves then; None without dynamics."""
    model = done.model
    if model.dynamics is None:
        return None, None
    record = {"time": model.duration, "parts": [], "by_dynamics": []}
    static = ~model.moving.cpu().numpy()
    if static.all():
        return np.zeros(len(static), dtype=np.int64), record
    tensors = model.tensors_at(model.duration)
    rates = model.motion(tensors["means"], model.duration).origin_rates()
    x, weights, v_bar, a_bar, w, eps = (
        tensor.double().cpu().numpy() for tensor in (tensors["means"], tensors["opacities"], *rates)
    )
    labels = segment(
        x, v_bar, w, weights=weights, static=static if static.any() else None,
        parts=done.run.parts, seed=done.run.seed,
    )  # fmt: skip
    moving = labels > 0
    if moving.any():
        times = np.array(done.trainer.times)
        paths = [model.tensors_at(t)["means"].double().cpu().numpy()[moving] for t in times]
        part, weight = labels[moving], weights[moving]
        said = [a[moving] for a in (x, v_bar, a_bar, w, eps)]
        record["parts"] = motion_along_paths(times, np.stack(paths), part, weight)
        record["by_dynamics"] = motion_of_parts(*said, part, weight)
    return labels, record


def render_ids(done, camera: Camera, t: float, labels: np.ndarray) -> np.ndarray:
    """(H, W) int: 0 where nothing is, else 1 + the label that shows most there."""
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(labels)).float()
    image = render(camera, **done.model.tensors_at(t), features=one_hot.to(done.trainer.device))
    ids = 1 + image.features.argmax(dim=-1)
    return torch.where(image.alpha > SOLID, ids, 0).cpu().numpy()


def part_masks(done, frames: Frames, split: str, labels: np.ndarray) -> tuple[list, list]:
    """Masks of the parts in every frame, written to masks/{split}, and those given with the data,
    masks/{split}/*.png, where they are."""
    ids, given = [], []
    for k in range(len(frames)):
        name = f"{Path(frames.views[k].name).stem}.png"
        mask = render_ids(done, frames.cameras[k], frames.times[k], labels)
        write_png(done.out / "masks" / split / name, mask.astype(np.uint8))
        path = Path(done.run.data) / "masks" / split / name
        if path.exists():
            truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            size = (frames.cameras[k].width, frames.cameras[k].height)
            if truth is None or truth.ndim != 2:
                raise ValueError(f"{path}: not a mask of part ids, expected one channel")
            truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
            ids.append(mask)
            given.append(truth.astype(np.int64))
    return ids, given


def write_film(done, labels: np.ndarray | None) -> None:
    """video.mp4: the scene through the observed time and on into the future, and its parts."""
    model = done.model
    camera = done.train.cameras[0]
    frames = int(VIDEO_SECONDS * VIDEO_FPS)
    count = frames + int(frames * done.run.future)
    times = [model.duration * k / frames for k in range(count + 1)]

    def film():
        for t in tqdm(times, desc="video", disable=None):
            seen = "observed" if t <= model.duration + 1e-9 else "predicted"
            pictures = [to_bytes(picture(done, camera, t))]
            titles = [f"{seen}, t = {t:.2f}"]
            if labels is not None:
                colors = torch.tensor(PALETTE[labels % len(PALETTE)], dtype=torch.float32)
                tensors = {k: v for k, v in model.tensors_at(t).items() if k != "sh"}
                image = render(
                    camera, **tensors, colors=colors.to(done.trainer.device),
                    background=done.trainer.background,
                )  # fmt: skip
                pictures.append(to_bytes(image.rgb))
                titles.append("parts")
            yield side_by_side(pictures, titles)

    write_video(done.out / "video.mp4", film(), VIDEO_FPS)
