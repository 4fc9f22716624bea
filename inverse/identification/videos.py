"""Clips of an object whose Gaussians are known, as evidence of how it moves."""

import dataclasses

import cv2
import numpy as np
import torch

from inverse.identification.config import MaterialJob
from inverse.identification.evidence import Followers
from inverse.perception.masks import load_masks
from renderers.camera import Camera, load_camera
from renderers.splats.files import load_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import Render, render
from renderers.video import read_video
from taichi_phys.rotations import nearest_rotation


BLOCKS = 6  # along each side of a picture: its groups of pixels, whose errors may be alike
COVERED = 0.02  # opacity from which the object hides what is behind it


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Footages:
    """Clips of an object from one or more cameras that stand still.

    gaussians: of the object in frame 0; t: (T,) s; cameras: one for each view; frames: (T, H, W, 3)
    float32 in 0..1, of each view; masks: (T, H, W) float32, the same, None without masks;
    backgrounds: (H, W, 3) of each view.
    """

    gaussians: Gaussians
    t: np.ndarray
    cameras: list[Camera]
    frames: list[np.ndarray]
    masks: list[np.ndarray] | None
    backgrounds: list[np.ndarray]


def read_videos(job: MaterialJob, pixels: int) -> Footages:
    """The clips of a job, reduced to so many pixels along their longer side.

    Raises ValueError for what cannot be read or does not fit together.
    """
    assert job.model is not None
    gaussians = load_gaussians(job.model)
    cameras, frames, masks, rates = [], [], [], []
    for k, (path, file) in enumerate(zip(job.video, job.camera, strict=True)):
        video = read_video(path, max_frames=job.frames)
        camera = load_camera(file)[0]
        height, width = video.frames.shape[1:3]
        if (width, height) != camera.size:
            raise ValueError(
                f"video {path}: its size is {width}x{height}, expected "
                f"{camera.width}x{camera.height} as its camera says"
            )
        scale = min(1.0, pixels / max(width, height))
        size = (max(11, round(scale * width)), max(11, round(scale * height)))
        cameras.append(camera.resized(*size))
        frames.append(_reduced(video.frames, size) / 255)
        rates.append(video.fps)
        if job.masks:
            seen = load_masks(job.masks[k], (width, height), len(video.frames))
            masks.append(_reduced(seen.astype(np.uint8) * 255, size) / 255)
    if max(rates) - min(rates) > 0.01 * max(rates):
        raise ValueError(f"video: got rates of {rates} frames per second, expected one rate")
    count = min(len(f) for f in frames)
    if count < 4:
        raise ValueError(f"video: got {count} frames, expected at least 4")
    frames = [f[:count] for f in frames]
    backgrounds = [
        _background(job, gaussians, camera, clip)
        for camera, clip in zip(cameras, frames, strict=True)
    ]
    return Footages(
        gaussians=gaussians,
        t=np.arange(count) / rates[0],
        cameras=cameras,
        frames=frames,
        masks=[m[:count] for m in masks] or None,
        backgrounds=backgrounds,
    )


def _reduced(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pictures (T, h, w, ...) float32 of another size."""
    return np.stack(
        [cv2.resize(p.astype(np.float32), size, interpolation=cv2.INTER_AREA) for p in pictures]
    )


def _background(
    job: MaterialJob, gaussians: Gaussians, camera: Camera, clip: np.ndarray
) -> np.ndarray:
    """What is behind the object, (H, W, 3): where it is in frame 0, the median over the clip."""
    if job.background is not None:
        return np.broadcast_to(np.array(job.background, np.float32), clip.shape[1:]).copy()
    hidden = render(camera, **gaussians.tensors(), antialiased=True).alpha.cpu().numpy()  # type: ignore[arg-type]
    hidden = cv2.dilate((hidden > COVERED).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(hidden[..., None] > 0, np.median(clip, axis=0), clip[0])


class PictureEvidence:
    """Clips of an object: colors, and opacities where there are masks."""

    unit = ""

    def __init__(self, footages: Footages):
        self.footages, self.t = footages, footages.t
        self.cloud = footages.gaussians.means.double().cpu().numpy()
        self._covariances = footages.gaussians.covariances()
        self._trusted = np.ones(len(self.t))
        # as the model shows frame 0, whose motion is known
        self.bind(self.cloud)
        model = footages.gaussians
        first = self._residuals_of(0, model.means, self._covariances, None)
        self.noise = float(np.sqrt((first**2).mean()))
        still = [clip - clip[:1] for clip in footages.frames]
        self.still = self.shapeless = float(np.sqrt(np.mean([(s**2).mean() for s in still])))

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.t)

    @property
    def clusters(self) -> np.ndarray:
        """(N,) int: the block of pixels of each residual, over all frames."""
        channels = 3 if self.footages.masks is None else 4
        groups = []
        for view, camera in enumerate(self.footages.cameras):
            rows = np.arange(camera.height) * BLOCKS // camera.height
            columns = np.arange(camera.width) * BLOCKS // camera.width
            block = rows[:, None] * BLOCKS + columns + view * BLOCKS**2
            groups.append(np.repeat(block.reshape(-1), channels))
        return np.tile(np.concatenate(groups), self.count)

    def bind(self, x0: np.ndarray) -> None:
        """Be ready for simulations of particles that start at x0 (n, 3) m."""
        self._followers = Followers(x0, self.cloud)

    def trust(self, shares: np.ndarray) -> None:
        """Let residuals of each frame count as shares (T,) in 0..1 say, 1 at first."""
        self._trusted = np.sqrt(shares)

    def shown(self, x: np.ndarray) -> np.ndarray:
        """(T, N): the pictures of a simulation x (T, n, 3) m, less those that were seen."""
        return -np.stack(self._missing(x))

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """(N,): seen minus simulated, weighted, of the first frames x (k, n, 3) m."""
        return np.concatenate(
            [w * r for w, r in zip(self._trusted, self._missing(x), strict=False)]
        )

    def _missing(self, x: np.ndarray) -> list[np.ndarray]:
        """Seen minus simulated, of each of the first frames x (k, n, 3) m."""
        found = []
        like = self.footages.gaussians.means
        for k, places in enumerate(x):
            stretch = self._followers.stretch(places)
            means = torch.as_tensor(self._followers.place(places, stretch)).to(like)
            F = torch.as_tensor(stretch).to(like)
            axes = nearest_rotation(F) if self.footages.gaussians.degree else None
            found.append(self._residuals_of(k, means, F @ self._covariances @ F.mT, axes))
        return found

    def missed(self, x: np.ndarray) -> list[float]:
        """The root mean square of what a simulation x (T, n, 3) m misses of each frame."""
        return [float(np.sqrt((missing**2).mean())) for missing in self._missing(x)]

    def _residuals_of(
        self,
        frame: int,
        means: torch.Tensor,
        covariances: torch.Tensor,
        axes: torch.Tensor | None,
    ) -> np.ndarray:
        found: list[np.ndarray] = []
        for view, camera in enumerate(self.footages.cameras):
            shown = self._render(camera, view, means, covariances, axes)
            off = self.footages.frames[view][frame] - shown.rgb.cpu().numpy()
            if self.footages.masks is not None:
                outline = self.footages.masks[view][frame] - shown.alpha.cpu().numpy()
                off = np.concatenate([off, outline[..., None]], axis=2)
            found.append(off.reshape(-1))
        return np.concatenate(found).astype(np.float64)

    @torch.no_grad()
    def _render(
        self,
        camera: Camera,
        view: int,
        means: torch.Tensor,
        covariances: torch.Tensor,
        axes: torch.Tensor | None,
    ) -> Render:
        gaussians = self.footages.gaussians
        return render(
            camera,
            means=means,
            covariances=covariances,
            opacities=gaussians.opacities,
            sh=gaussians.sh,
            sh_axes=axes,
            background=torch.as_tensor(self.footages.backgrounds[view]).to(means),
            antialiased=True,
        )
