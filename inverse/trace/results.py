"""The results of a TRACE run: predicted images, masks, parts, metrics and video."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from inverse.fitting.photometric import compare, compare_videos
from inverse.metrics import mean_metrics
from inverse.runs.folder import VIDEO
from inverse.trace.mask_metrics import segmentation_metrics
from inverse.trace.model import TraceModel
from inverse.trace.parts import label_parts
from inverse.trace.paths import motion_along_paths
from inverse.trace.photographs import Photographs, load_photographs
from inverse.trace.readout import motion_of_parts
from inverse.trace.run import TraceRun
from inverse.trace.tracks import read_tracks, track_errors
from renderers.camera import Camera
from renderers.datasets import Photograph, splits
from renderers.images import to_bytes, write_png
from renderers.overlay import side_by_side
from renderers.splats.render import render
from renderers.video import write_video


Color = tuple[float, float, float]

SPLITS = ("val", "test")
KINDS = ("interpolation", "extrapolation")  # of pictures at observed times, and at later ones
VIDEO_FPS = 24.0
VIDEO_SECONDS = 4.0  # length of the observed time in the video, slowed down or sped up
LATER = (0.0, 1 / 6, 1 / 3, 2 / 3, 1.0, 2.0)  # shares of the observed time, for motion.json
SOLID = 0.5  # alpha from which a pixel belongs to a part
PALETTE = np.array(
    [[0.62, 0.65, 0.69], [0.17, 0.51, 0.83], [0.88, 0.39, 0.17], [0.16, 0.62, 0.38],
     [0.70, 0.36, 0.75], [0.79, 0.60, 0.02], [0.85, 0.30, 0.45], [0.35, 0.75, 0.78]]
)  # fmt: skip


@torch.no_grad()
def write_results(
    run: TraceRun, background: Color, *, iterations: int, seconds: float
) -> dict[str, Any]:
    """Write the pictures, masks and video of a run; returns the record of its metrics.

    run: has no metrics yet; background: the color behind transparent pixels, in 0..1; iterations,
    seconds: of the training.
    """
    model, labels = run.model, run.labels
    metrics: dict[str, Any] = {
        **{name: None for name in KINDS},
        "segmentation": None,
        "tracks": None,
        "seconds": seconds,
        "iterations": iterations,
        "planned_iterations": run.config.iterations,
        "gaussians": len(model.gaussians),
        "moving": int(model.moving.sum()),
        "parts": None if run.motion is None else len(run.motion["parts"]),
        "start": run.start,
    }
    data, job = Path(run.job.data), run.job
    records: dict[str, list[dict[str, float | None]]] = {name: [] for name in KINDS}
    for split in SPLITS:
        if split not in splits(data):
            continue
        photographs = load_photographs(
            job.data, split, downscale=job.downscale, start=run.start, fps=job.fps
        ).relative_to(run.origin)
        for kind, found in predict(
            model, photographs, background, run.folder / "renders" / split
        ).items():
            records[kind] += found
        if labels is not None:
            masks = part_masks(model, photographs, labels, run.folder / "masks" / split)
            shown, given = with_truth(masks, photographs, data / "masks" / split)
            if given:  # if both splits have masks, the metrics are those of test
                metrics["segmentation"] = segmentation_metrics(shown, given)
    for kind, some in records.items():
        if some:
            metrics[kind] = mean_metrics(some)
    tracks = read_tracks(data, 1.0 if job.fps is None else 1.0 / job.fps, run.start)
    if tracks is not None:
        times, x = tracks
        metrics["tracks"] = track_errors(
            model, times, x - (0.0 if run.origin is None else run.origin)
        )
    write_film(
        run.folder / VIDEO, model, run.cameras[0], background, labels=labels, future=run.job.future
    )
    return metrics


def predict(
    model: TraceModel, photographs: Photographs, background: Color, folder: Path
) -> dict[str, list[dict[str, float | None]]]:
    """Render every view of a split under the name of its file.

    Returns the metrics of the views at observed times, as interpolation, and at later times, as
    extrapolation. Those of a picture have `pmf` too, of the video that its camera took.
    """
    records: dict[str, list[dict[str, float | None]]] = {name: [] for name in KINDS}
    with tqdm(total=len(photographs), desc=folder.name, disable=None) as bar:
        for video in photographs.videos():  # so that no more than one is in memory
            shown: dict[str, list[tuple[torch.Tensor, Photograph]]] = {name: [] for name in KINDS}
            for k in video:
                t, photograph = photographs.times[k], photographs.images[k]
                image = picture(model.tensors_at(t), photographs.cameras[k], background)
                write_png(folder / f"{photographs.views[k].label}.png", to_bytes(image))
                shown[KINDS[t > model.duration + 1e-6]].append((image.cpu(), photograph))
                bar.update()
            for kind, pairs in shown.items():
                pmf = compare_videos(pairs, background)
                records[kind] += [compare(*pair, background) | {"pmf": pmf} for pair in pairs]
    return records


def picture(scene: dict[str, Any], camera: Camera, background: Color) -> torch.Tensor:
    """Render a scene as `tensors_at` of a model gives it: (H, W, 3) in 0..1."""
    return render(camera, **scene, background=background).rgb.clamp(0, 1)


@torch.no_grad()
def find_parts(
    model: TraceModel, times: Sequence[float], parts: int | None = None, seed: int = 0
) -> tuple[np.ndarray | None, dict[str, Any] | None]:
    """Find the parts of a scene, and how they move, at the last observed time.

    times: the observed times, s, ascending; parts: the number of moving parts, None to find it;
    seed: of the sample of Gaussians that are compared. Returns the labels (n,) of the Gaussians, 0
    for those that stand still, and the record of motion.json; both are None without dynamics.
    """
    if model.dynamics is None:
        return None, None
    record: dict[str, Any] = {"time": model.duration, "parts": [], "by_dynamics": []}
    static = ~model.moving.cpu().numpy()
    if static.all():
        return np.zeros(len(static), dtype=np.int64), record
    tensors = model.tensors_at(model.duration)
    rates = model.motion(tensors["means"], model.duration).origin_rates()
    x, weights, v_bar, a_bar, w, eps = (
        tensor.double().cpu().numpy() for tensor in (tensors["means"], tensors["opacities"], *rates)
    )
    labels = label_parts(model, parts, seed)
    moving = labels > 0
    if moving.any():
        at = np.array(times)
        paths = [model.tensors_at(t)["means"].double().cpu().numpy()[moving] for t in at]
        part, weight = labels[moving], weights[moving]
        record["parts"] = motion_along_paths(at, np.stack(paths), part, weight)
        for part_record in record["parts"]:
            part_record["law"] = law_record(model, part_record["label"])
        record["by_dynamics"] = motion_of_parts(
            x[moving], v_bar[moving], a_bar[moving], w[moving], eps[moving], part, weight
        )
    return labels, record


def law_record(model: TraceModel, label: int) -> dict[str, Any] | None:
    """What motion.json says of the law of a part, None if its Gaussians move by themselves.

    rotation and path: the forms; held_out: root mean square errors, m, with which each form
    predicts observed frames that it was not fitted to, `both` for rotations with the path; future:
    time s, centre m and deviation m, the standard deviation of the places of the part's Gaussians,
    at some later times.
    """
    shared = model.shared
    if shared is None or shared.laws is None or label > len(shared.laws):
        return None
    law = shared.laws[label - 1]
    times = model.duration * (1 + np.array(LATER))
    rows = zip(times, law.poses(times)[0], law.deviations(times), strict=True)
    return {
        "rotation": law.rotation,
        "path": law.path,
        "held_out": {name: dict(errors) for name, errors in law.errors.items()},
        "future": [
            {"time": float(t), "centre": center.tolist(), "deviation": float(deviation)}
            for t, center, deviation in rows
        ],
    }


def render_ids(model: TraceModel, camera: Camera, t: float, labels: np.ndarray) -> np.ndarray:
    """Render part ids (H, W) int: 0 where nothing is, else 1 + the label that shows most."""
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(labels)).float()
    tensors = model.tensors_at(t)
    image = render(camera, **tensors, features=one_hot.to(tensors["means"].device))
    assert image.features is not None
    ids = 1 + image.features.argmax(dim=-1)
    return torch.where(image.alpha > SOLID, ids, 0).cpu().numpy()


def part_masks(
    model: TraceModel, photographs: Photographs, labels: np.ndarray, folder: Path
) -> list[np.ndarray]:
    """Render the masks (H, W) of the parts in every view of a split.

    They are written to folder under the names of the split's files, and returned.
    """
    masks = []
    for view, camera, t in zip(
        photographs.views, photographs.cameras, photographs.times, strict=True
    ):
        masks.append(render_ids(model, camera, t, labels))
        write_png(folder / f"{view.label}.png", masks[-1].astype(np.uint8))
    return masks


def with_truth(
    masks: Sequence[np.ndarray], photographs: Photographs, folder: Path
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pair the masks of a split with those of the data; returns the found and the true masks.

    Views without a mask in the data are left out. Raises ValueError for a mask of several channels.
    """
    found, given = [], []
    for mask, view in zip(masks, photographs.views, strict=True):
        path = folder / f"{view.label}.png"
        if not path.exists():
            continue
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if truth is None or truth.ndim != 2:
            raise ValueError(
                f"{path}: not a mask of part ids, expected an image of one channel (gray)"
            )
        size = (view.camera.width, view.camera.height)
        truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        found.append(mask)
        given.append(truth.astype(np.int64))
    return found, given


def write_film(
    path: Path,
    model: TraceModel,
    camera: Camera,
    background: Color,
    *,
    labels: np.ndarray | None,
    future: float,
) -> None:
    """Write a video of the scene during and after the observed time, with its parts beside it.

    labels: (n,) of the Gaussians, None to show no parts; future: how far the video goes past the
    observed time, as a share of it.
    """
    frames = int(VIDEO_SECONDS * VIDEO_FPS)
    count = frames + int(frames * future)
    times = [model.duration * k / frames for k in range(count + 1)]

    def film() -> Iterator[np.ndarray]:
        for t in tqdm(times, desc="video", disable=None):
            seen = "observed" if t <= model.duration + 1e-9 else "predicted"
            tensors = model.tensors_at(t)
            pictures = [to_bytes(picture(tensors, camera, background))]
            titles = [f"{seen}, t = {t:.2f}"]
            if labels is not None:
                colors = torch.tensor(PALETTE[labels % len(PALETTE)], dtype=torch.float32)
                tensors = {k: v for k, v in tensors.items() if "sh" not in k}
                # Parts blur as far as their places are uncertain.
                unsure = model.deviations(t).to(tensors["means"])
                scales = (tensors["scales"].square() + unsure[:, None].square()).sqrt()
                tensors["scales"] = scales
                image = render(
                    camera, **tensors, colors=colors.to(tensors["means"].device),
                    background=background,
                )  # fmt: skip
                pictures.append(to_bytes(image.rgb))
                largest = float(unsure.max())
                titles.append(f"parts, places +- {largest:.2g} m" if largest else "parts")
            yield side_by_side(pictures, titles)

    write_video(path, film(), VIDEO_FPS)
