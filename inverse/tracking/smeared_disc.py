"""The disc of a ball in one picture: center, radius, and how far it is smeared.

Light adds up: a picture is the light of what is behind the ball, as far as the ball did not hide it
while the picture was taken, and that of the ball where it was meanwhile. The ball's own light is a
smooth function on its disc: polynomials, of which the higher ones are the less likely, and what a
matt ball has of a light in front. It is found together with the disc (variable projection, Golub
and Pereyra 1973, in the form of Kaufman 1975). So a rim whose color is that of what is behind is
not taken for the end of the ball, nor a dark side for what is behind.

Films keep color at half the resolution of brightness, and compression blurs both. So edges are
taken to be soft, and brightness counts for more than color.
"""

import dataclasses

import numpy as np

from inverse.tracking.turned import Turned
from renderers.camera import Camera


GAMMA = 2.2  # of pictures
AROUND = 0.5  # radii of what is behind, that are looked at around a disc
LARGE = 14.0  # px, radius of larger discs after reduction: edges are as well known
EDGES = (1.0, 2.0)  # px: widths of edges of sharp films, and of compressed ones
EDGE_ERROR = 0.3  # px, by which the blur of edges is off, so that they are no outliers
DEGREE = 4  # of the polynomials of a ball's light
# Standard deviations of their coefficients, of 255: a mean, a light in front, and of degree n that
# of the first over n to a power. Four times as large ones let radii follow the texture by 5 %.
MEAN, FRONT, TEXTURE, FALLS = 300.0, 100.0, 30.0, 2.5
COLOR = 0.5  # times what color is off, that counts beside brightness
LUMA = np.array([0.299, 0.587, 0.114])  # brightness of red, green, blue (Rec. 601)
LEAST_NOISE, LARGE_NOISE = 1.5, 64.0  # of 255: compression; what is no outlier at first
SOFTER = 5  # steps, after which noise is what it is
STEP, STEP_EDGES = 0.15, 1.5  # between places of a smeared disc: radii; widths of edges
MOST_PLACES = 14
USUAL_SMEAR, SMEAR_ERROR, LONGEST = 0.5, 0.3, 1.0  # of the way between frames
ROUNDS = 12  # of Gauss-Newton
STILL = 0.03  # px: it has come to rest

_POWERS = [(n - j, j) for n in range(DEGREE + 1) for j in range(n + 1)]
_RED, _BLUE = np.eye(3)[0], np.eye(3)[2]
_MIX = np.stack([np.sqrt(3) * LUMA, COLOR * (_RED - LUMA), COLOR * (_BLUE - LUMA)])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SmearedDisc:
    """The disc of a ball in a picture: center (2,) px; radius, px, in a camera of the same focal
    length that looks at it; smear: px, its way while the picture was taken; error: (2,) px, of
    center and radius, were those of pixels independent, and smear_error; cost: how badly it
    explains the picture, per pixel."""

    center: np.ndarray
    radius: float
    smear: float
    error: np.ndarray
    smear_error: float
    cost: float


def fit_disc(
    image: np.ndarray,
    behind: np.ndarray,
    camera: Camera,
    center: np.ndarray,
    radius: float,
    way: np.ndarray,
    smear: float | None = None,
    *,
    edge: float = EDGES[-1],
) -> SmearedDisc:
    """The smeared disc that explains a picture best, near a draft.

    image: (H, W, 3) uint8; behind: (H, W, 3) gray levels of what is behind; camera: that took it;
    center: (2,) px, radius: px in the picture, and way: (2,) px between frames, of a draft; smear:
    share of the way that it covers while the picture is taken, None where that is to be found, too;
    edge: px, width of edges in the picture.
    """
    fit = _Fit(image, behind, camera, center, radius, way, smear, edge)
    for step in range(ROUNDS):
        moved = fit.step(step)
        if step >= SOFTER and moved < STILL:
            break
    return fit.found()


class _Fit:
    """Steps of Gauss-Newton on the state of a disc: center, radius and smear in px of a camera that
    looks at it."""

    def __init__(
        self,
        image: np.ndarray,
        behind: np.ndarray,
        camera: Camera,
        center: np.ndarray,
        radius: float,
        way: np.ndarray,
        smear: float | None,
        edge: float,
    ):
        height, width = image.shape[:2]
        share = USUAL_SMEAR if smear is None else smear
        pad = (1 + AROUND) * radius + max(share, USUAL_SMEAR) * np.abs(way) + edge
        scale = max(1, round(radius / LARGE))
        low = np.maximum(np.floor(center - pad).astype(int), 0)
        high = np.minimum(np.ceil(center + pad).astype(int) + 1, [width, height])
        columns, rows = np.maximum(high - low, 0) // scale
        self._turned = turned = Turned(camera, center)
        self._start, self._draft, self._way = center, radius, float(np.linalg.norm(way))
        along = turned.see(center + 0.5 * way) - turned.see(center - 0.5 * way)
        length = float(np.linalg.norm(along))
        self._along, self._length = along / max(length, 1e-9), length
        self._radius = radius / np.sqrt(turned.area(center))
        self.state = np.array([0.0, 0.0, self._radius, share * length])
        self._free = [0, 1, 2, 3] if smear is None and length > edge else [0, 1, 2]
        self._edge = float(np.hypot(scale, edge))
        at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        self._at = turned.see(scale * (at + 0.5) + low)

        def light(picture: np.ndarray) -> np.ndarray:
            part = picture[low[1] : low[1] + rows * scale, low[0] : low[0] + columns * scale]
            linear = 255 * (np.clip(part, 0, 255) / 255.0) ** GAMMA
            blocks = linear.reshape(rows, scale, columns, scale, 3).mean(axis=(1, 3))
            return blocks.reshape(-1, 3) @ _MIX.T

        self._image, self._behind = light(image), light(behind)
        self._nudges = np.array([0.3, 0.3, 0.3, 0.5]) * scale
        self._color: np.ndarray | None = None
        self._weight, self._rim = np.ones(len(at)), np.zeros(len(at))
        self._covariance = np.full((4, 4), np.nan)
        self._cost, self._places = np.inf, 1

    def step(self, number: int) -> float:
        """Move the state; returns by how much at most, px."""
        if len(self._at) < 9:
            return 0.0
        apart = max(STEP * self.state[2], STEP_EDGES * self._edge)
        smeared = 3 in self._free or self.state[3] > 0
        self._places = int(min(2 * smeared + np.ceil(self.state[3] / apart), MOST_PLACES)) or 1
        cover, basis = self._lit(self.state)
        left = self._image - (1 - cover[:, None]) * self._behind
        for _ in range(3 if self._color is None else 2):
            known = self._light_covariance(basis)
            self._color = known @ (basis.T @ (self._weight[:, None] * left))
            off = left - basis @ self._color
            self._weigh(off, cover, number)
        assert self._color is not None
        known = self._light_covariance(basis)  # of the same weights as what it is taken from below
        use = self._free
        slopes = np.stack([self._slope(k) for k in use])
        self._rim = EDGE_ERROR**2 * (slopes[2] ** 2).mean(axis=1)
        pull = np.einsum("qnc,n,nc->q", slopes, self._weight, off)
        bent = np.einsum("qnc,n,pnc->qp", slopes, self._weight, slopes)
        mixed = np.einsum("nk,n,qnc->qkc", basis, self._weight, slopes)
        bent -= np.einsum("qkc,kl,plc->qp", mixed, known, mixed)  # the ball's light adapts
        if 3 in use:
            sure = 1 / (SMEAR_ERROR * self._length) ** 2
            bent[3, 3] += sure
            pull[3] -= sure * (self.state[3] - USUAL_SMEAR * self._length)
        spread = np.linalg.inv(bent + 1e-9 * (1 + np.trace(bent)) * np.eye(len(use)))
        most = 0.15 * self._radius + 0.5
        move = np.clip(spread @ pull, -most, most)
        self.state[use] += move
        self.state[2] = np.clip(self.state[2], 0.5 * self._radius, 2 * self._radius)
        self.state[3] = np.clip(self.state[3], 0, LONGEST * self._length)
        self._covariance[np.ix_(use, use)] = spread
        return float(np.abs(move).max())

    def found(self) -> SmearedDisc:
        """The disc as it is now."""
        variance = np.nan_to_num(np.diagonal(self._covariance), nan=0.0)
        back = self._way / max(self._length, 1e-9)
        unknown = not np.isfinite(self._covariance[0, 0])
        error = np.sqrt([variance[:2].mean(), variance[2]])
        return SmearedDisc(
            center=self._start if unknown else self._turned.back(self.state[:2]),
            radius=float(self.state[2]), smear=float(self.state[3]) * back,
            error=np.full(2, np.nan) if unknown else error,
            smear_error=float(np.sqrt(variance[3])) * back, cost=self._cost,
        )  # fmt: skip

    def _lit(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much of the time the ball covers each pixel, (N,), and what each function of its
        light gives there, (N, K)."""
        middle, radius, smear, count = state[:2], float(state[2]), float(state[3]), self._places
        total = np.zeros((len(self._at), len(_POWERS) + 1))
        for share in (np.arange(count) + 0.5) / count - 0.5:
            away = (self._at - middle - share * smear * self._along) / radius
            length = np.linalg.norm(away, axis=1)
            cover = np.clip((1 - length) * radius / self._edge + 0.5, 0, 1)
            on = np.flatnonzero(cover)
            inside = away[on] / np.maximum(length[on], 1)[:, None]
            total[on] += cover[on, None] * _functions(inside) / count
        cover = total[:, 0].copy()
        return cover, np.concatenate([total[:, :-1] @ _ORTHOGONAL, total[:, -1:]], axis=1)

    def _light_covariance(self, basis: np.ndarray) -> np.ndarray:
        """(K, K): how well the ball's light is known, given pixels of these weights."""
        covariance: np.ndarray = np.linalg.inv((basis.T * self._weight) @ basis + _PRIOR)
        return covariance

    def _slope(self, which: int) -> np.ndarray:
        """(N, 3): by how much the picture changes with a part of the state."""
        nudge, pictures = self._nudges[which], []
        for sign in (1, -1):
            state = self.state.copy()
            state[which] += sign * nudge
            cover, basis = self._lit(state)
            pictures.append(basis @ self._color - cover[:, None] * self._behind)
        return (pictures[0] - pictures[1]) / (2 * nudge)

    def _weigh(self, off: np.ndarray, cover: np.ndarray, number: int) -> None:
        """Weigh pixels by what they are off, (N, 3), beside noise and the ball's fine texture."""
        squared = (off**2).mean(axis=1)
        outside, inside = cover < 0.01, cover > min(0.9, 0.6 * cover.max())
        median = 0.79  # of the mean of three squares over what is expected

        def usual(where: np.ndarray) -> float:
            return float(np.median(squared[where])) / median if where.any() else 0.0

        noise = max(usual(outside), LEAST_NOISE**2)
        variance = noise + cover**2 * max(usual(inside) - noise, 0.0) + self._rim
        unlikely = np.log1p(squared / (6 * variance)) + 0.5 * np.log(variance)
        self._cost = float(unlikely.mean())
        if number < SOFTER:  # at first the rim is far off, and no outlier
            variance = variance + (LARGE_NOISE / 2**number) ** 2
        self._weight = 1 / (variance * (1 + squared / (6 * variance)))


def _functions(at: np.ndarray) -> np.ndarray:
    """(N, K): powers of places (N, 2) on the unit disc, and how much they face the camera."""
    powers = [np.ones((len(at), 2))]
    for _ in range(DEGREE):
        powers.append(powers[-1] * at)
    columns = [powers[i][:, 0] * powers[j][:, 1] for i, j in _POWERS]
    columns.append(np.sqrt(np.maximum(1 - (at**2).sum(axis=1), 0.0)))
    return np.stack(columns, axis=1)


def _orthogonal() -> np.ndarray:
    """Powers to polynomials that are independent on the disc, of mean square 1, by degree."""
    line = np.linspace(-1, 1, 81)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) < 1]
    triangle = np.linalg.qr(_functions(grid)[:, :-1] / np.sqrt(len(grid)), mode="r")
    return np.linalg.inv(triangle)


def _prior() -> np.ndarray:
    degree = np.maximum([i + j for i, j in _POWERS], 1)
    deviations = TEXTURE / degree**FALLS
    deviations[0] = MEAN
    return np.diag(1 / np.append(deviations, FRONT) ** 2)


_ORTHOGONAL, _PRIOR = _orthogonal(), _prior()
