"""The pictures of a wind run: its re-simulation, how well that meets the clip, and the film."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from inverse.clips.footage import Footage, keep_pictures
from inverse.lifting.quality import SEEN
from inverse.metrics import image_metrics
from inverse.spread import farthest_points
from inverse.wind.results.verdict import Verdict, surely
from inverse.wind.run import WindRun
from inverse.wind.solver import WindResult
from inverse.wind.targets import Tracked
from renderers.camera import Camera
from renderers.images import to_bytes
from renderers.overlay import draw_arrows, side_by_side
from renderers.splats.binding import bind, total_deformation
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render


ARROWS = 48  # drawn on the object
ARROW_LENGTH = 0.16  # of the picture's height, for the strongest force
# Pictures from which the scene behind the object is made, and rows of them that are looked at at
# once: more show nothing new, and take memory.
BACKDROP, ROWS = 64, 32


def carried_deformation(result: WindResult, *, plastic: bool) -> torch.Tensor:
    """(T, n, 3, 3) by which Gaussians are carried: F, and for plastic bodies also what flowed."""
    if not plastic:
        return result.F
    pairs = zip(result.x, result.F, strict=True)
    return torch.stack([total_deformation(result.x[0], x, F) for x, F in pairs])


def render_motion(
    gaussians: Gaussians,
    x: torch.Tensor,
    F: torch.Tensor,
    cameras: Sequence[Camera],
    backgrounds: Footage | list[np.ndarray],
    *,
    held: bool = False,
) -> Iterator[np.ndarray]:
    """A moving object over backgrounds, one picture (H, W, 3) uint8 for each frame.

    gaussians: the object in frame 0; x: (T, n, 3) m and F: (T, n, 3, 3), its particles; cameras
    and backgrounds (H, W, 3) uint8: of each frame; held: as it is in frame 0, in all frames.
    """
    x, F = x.float().cpu(), F.float().cpu()
    binding = bind(gaussians.means, gaussians.covariances(), x[0])
    last: tuple[Camera, np.ndarray, np.ndarray] | None = None
    for frame in range(len(x)):
        shown = 0 if held else frame
        if held and last and last[0] is cameras[frame] and last[1] is backgrounds[frame]:
            yield last[2]  # nothing moved
            continue
        means, covariances = binding.deform(x[shown], F[shown])
        behind = torch.as_tensor(backgrounds[frame], dtype=torch.float32) / 255
        image = render(
            cameras[frame],
            means=means,
            covariances=covariances,
            opacities=gaussians.opacities,
            colors=gaussians.colors(),
            background=behind,
        )
        last = cameras[frame], backgrounds[frame], to_bytes(image.rgb)
        yield last[2]


def picture_metrics(
    pictures: Iterable[np.ndarray], video: Footage, covered: "np.ndarray | Coverage"
) -> dict[str, np.ndarray]:
    """psnr (T,) dB and ssim (T,) of pictures against a video, both (T, H, W, 3) uint8, over the
    pixels of covered (T, H, W) bool; NaN in frames in which no pixel is."""
    found = {"psnr": np.full(len(video), np.nan), "ssim": np.full(len(video), np.nan)}
    for frame, picture in enumerate(pictures):
        where = covered[frame]
        if not where.any():
            continue
        image, clip = (torch.as_tensor(p).float() / 255 for p in (picture, video[frame]))
        record = image_metrics(image, clip, torch.as_tensor(where))
        for name, values in found.items():
            values[frame] = record[name]
    return found


class Coverage:
    """Where an object is or may be in each frame: pixels near any of its points.

    cameras: of each frame; points: arrays (T, n, 3) m; spacing: between neighboring points in the
    picture, px.
    """

    def __init__(self, cameras: Sequence[Camera], points: Sequence[np.ndarray], *, spacing: float):
        self._cameras, self._points = cameras, points
        size = 2 * int(2 * spacing + 4) + 1
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))

    def __getitem__(self, frame: int) -> np.ndarray:
        """(H, W) bool, of one frame."""
        camera = self._cameras[frame]
        covered = np.zeros((camera.height, camera.width), dtype=np.uint8)
        for moving in self._points:
            u, v = np.floor(camera.project(moving[frame])[0]).astype(int).T
            inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
            covered[v[inside], u[inside]] = 1
        return cv2.dilate(covered, self._kernel) > 0


def backgrounds(
    video: Footage, covered: Coverage, *, moving_camera: bool
) -> Footage | list[np.ndarray]:
    """The scene without the object, (H, W, 3) uint8 per frame; the same picture for all where the
    camera stands.

    video: (T, H, W, 3) uint8; covered: where the object is or may be.
    """
    if moving_camera:
        filled = (
            cv2.inpaint(image, covered[k].astype(np.uint8), 5, cv2.INPAINT_TELEA)
            for k, image in enumerate(video)
        )
        return keep_pictures(filled, len(video))
    some = np.unique(np.linspace(0, len(video) - 1, BACKDROP).round().astype(int))
    shown = np.stack([video[k] for k in some])
    return [static_background(shown, np.stack([covered[k] for k in some]))] * len(video)


def static_background(video: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The scene without the object: per pixel the median of the frames that do not show it.

    video: (T, H, W, 3) uint8; covered: (T, H, W) bool, true where the object is or may be. Pixels
    covered in all frames are filled in from their surroundings.
    """
    background = np.empty(video.shape[1:], np.uint8)
    for low in range(0, video.shape[1], ROWS):
        rows = slice(low, low + ROWS)
        hidden = np.repeat(covered[:, rows, :, None], 3, axis=-1)
        median: Any = np.ma.median(np.ma.masked_array(video[:, rows], hidden), axis=0)
        background[rows] = median.filled(0).round().astype(np.uint8)
    always = np.asarray(covered.all(axis=0), dtype=np.uint8)
    return cv2.inpaint(background, always, 5, cv2.INPAINT_TELEA) if always.any() else background


def result_frames(
    run: WindRun,
    video: Footage,
    motion: Footage,
    tracked: Tracked,
    verdict: Verdict,
) -> Iterator[np.ndarray]:
    """Pictures: input | re-simulation | force arrows colored by strength.

    video: (T, H, W, 3) uint8; motion: (T, H, W, 3) uint8, the re-simulation;
    tracked: says where particles are seen. Arrows stand where the object is seen, not held, and the
    force is above two standard deviations, and are faint where it is hardly above them; they end
    where the object is lost, and there are none if it is still: slow changes of light move tracks,
    too. Where there are none at all, the label says so.
    """
    cameras, x = run.cameras, run.x
    specific = run.force / run.mass[:, None]
    shown = farthest_points(x[0], ARROWS)
    strength = np.linalg.norm(specific[:, shown], axis=-1)
    sure = surely(specific[:, shown], run.std[:, shown] / run.mass[shown, None])
    drawn = (tracked.confidence[:, shown] >= SEEN) & (sure > 0)
    drawn &= ~run.held[shown]
    drawn[0 if verdict.still else verdict.until + 1 :] = False
    none = not drawn.any()
    strongest = 1.0 if none else max(float(np.percentile(strength[drawn], 98)), 1e-9)
    distance = float(np.median(cameras[0].project(x[0])[1]))
    pixel = distance / cameras[0].fy  # m
    length = ARROW_LENGTH * cameras[0].height * pixel / strongest  # m per m/s^2
    for frame in range(len(video)):
        some = drawn[frame]
        camera, start = cameras[frame], x[frame, shown[some]]
        starts = camera.project(start)[0]
        ends = camera.project(start + length * specific[frame, shown[some]])[0]
        faded = (0.55 * video[frame].astype(np.float32) + 0.45 * 255).astype(np.uint8)
        arrows = draw_arrows(
            faded, starts, ends, strength[frame, some], limits=(0, strongest),
            legend=None if none else "m/s²", opacity=sure[frame, some],
        )  # fmt: skip
        label = "force per mass"
        if none:
            label += ": none" if verdict.still else ": none stands out"
        if frame > verdict.until:
            label = "object lost"
        panels = [video[frame], motion[frame], arrows]
        yield side_by_side(panels, ["input", "re-simulation", label])
