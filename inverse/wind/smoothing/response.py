"""The linear model of a whole clip: where forces in all intervals move a body, frame by frame.

Modes (modes.py) turn with the body as its targets turn: R_t, the rotation nearest to them. In each
interval a mode answers to a held force as the oscillator that it is, exactly. What the model leaves
out (large deformation, plastic flow, damping) a solver finds in the simulator: the model tells it
only which way to go.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from inverse.wind.smoothing.modes import RIGID, Modes
from taichi_phys.rotations import nearest_rotation


TURNING = slice(3, RIGID)
EVERY = slice(None)
# Damping ratio of a mode that turns by one radian in an interval; it grows with the square of the
# frequency. What rings for long between two pictures would only put wrong phases into the model.
DAMPING, MOST_DAMPING = 0.02, 0.5


class Response:
    """modes: of the body; x: (n, 3) m in frame 0; mass: (n,) kg; targets: (T, n, 3) m; weights:
    (T, n) in 0..1; frame_dt: s; pulse: share of an interval in which its force acts, with the same
    impulse; damping: 1/s, rate at which a drag slows all motion."""

    def __init__(
        self,
        modes: Modes,
        x: np.ndarray,
        mass: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        frame_dt: float,
        pulse: float = 1.0,
        damping: float = 0.0,
    ):
        self.modes, self.x, self.mass, self.frame_dt = modes, x, mass, frame_dt
        self.frames = len(targets)
        self.rotations, self.centers, self.middle = self._pose(targets, weights)
        # Of the middles of the intervals, (T-1, 3, 3).
        pairs = [Rotation.from_matrix(self.rotations[k : k + 2]) for k in range(self.frames - 1)]
        self.turns = np.array([pair.mean().as_matrix() for pair in pairs]).reshape(-1, 3, 3)
        self._steps = _interval(modes.squared, frame_dt, pulse, damping)

    def _pose(
        self, targets: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotations (T, 3, 3) from frame 0, centers (T, 3) m, and the body's center in frame 0."""
        share = weights * self.mass
        # Where nothing is seen, all of the targets, which are guesses, must do.
        share = np.where(share.sum(axis=1, keepdims=True) > 0, share, self.mass)
        share = share / share.sum(axis=1, keepdims=True)
        first = np.einsum("tn,nd->td", share, self.x)
        centers = np.einsum("tn,tnd->td", share, targets)
        arms = self.x - first[:, None]
        turned = np.einsum("tn,tni,tnj->tij", share, targets - centers[:, None], arms)
        # A sheet that is flat, or a rod, does not say how it turns about itself: as little as can.
        size = np.trace(turned[0])
        rotations = nearest_rotation(turned + 1e-6 * size * np.eye(3))
        middle = self.mass @ self.x / self.mass.sum()
        # The centers of all mass, not of what is seen.
        centers = centers + np.einsum("tij,tj->ti", rotations, middle - first)
        if not self.modes.free:
            rotations = np.broadcast_to(np.eye(3), rotations.shape).copy()
        return rotations, centers, middle

    def _transport(self, frame: int) -> np.ndarray:
        """(3, 3): rotational modes in the axes of a frame to those in the axes of the next."""
        axes, root = self.modes.axes, np.sqrt(self.modes.moments)
        relative = axes.T @ self.rotations[frame + 1].T @ self.rotations[frame] @ axes
        return root[:, None] * relative / root

    def loads(self, values: np.ndarray) -> np.ndarray:
        """(K, 3, J): what functions of space (n, J), as forces per mass along each of the body's
        axes, do to the modes."""
        weighted = self.mass[:, None] * values
        shapes = self.modes.shapes
        return np.stack([shapes[:, axis].T @ weighted for axis in range(3)], axis=1)

    def jacobian(self, loads: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
        """How coordinates of the first modes depend on forces and on velocities in frame 0.

        loads: (K, 3, J); kept: how many modes. Returns (T-1, kept, T-1, 3 J) s^2 sqrt(kg), from the
        forces' coefficients along the axes of the world in each interval, and (T-1, kept, K) s.
        """
        count, steps = self.modes.count, self.frames - 1
        width = loads.shape[1] * loads.shape[2]
        place, speed = np.zeros((2, count, steps * width + count))
        speed[:, steps * width :] = np.eye(count)
        stay, drift, pull, keep, push, kick = self._steps
        found = np.zeros((steps, kept, steps * width + count))
        for step in range(steps):
            turned = np.einsum("kaj,ba->kbj", loads, self.turns[step])
            if self.modes.free:
                turned[:3] = loads[:3]
            turned = turned.reshape(count, width)
            place, speed = stay * place + drift * speed, pull * place + keep * speed
            now = slice(step * width, (step + 1) * width)
            place[:, now] += push * turned
            speed[:, now] += kick * turned
            if self.modes.free:
                transport = self._transport(step)
                place[TURNING] = transport @ place[TURNING]
                speed[TURNING] = transport @ speed[TURNING]
            found[step] = place[:kept]
        forces = found[..., : steps * width].reshape(steps, kept, steps, width)
        return forces, found[..., steps * width :]

    def follow(self, pushes: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """(T, K) sqrt(kg) m: how modes move under forces pushes (T-1, K) sqrt(kg) m/s^2, held in
        each interval, from frame 0 with speeds (K,) sqrt(kg) m/s on."""
        stay, drift, pull, keep, push, kick = (column[:, 0] for column in self._steps)
        place, speed = np.zeros(self.modes.count), np.array(speeds)
        found = [place]
        for step, force in enumerate(pushes):
            place, speed = (
                stay * place + drift * speed + push * force,
                pull * place + keep * speed + kick * force,
            )
            if self.modes.free:
                transport = self._transport(step)
                place[TURNING] = transport @ place[TURNING]
                speed[TURNING] = transport @ speed[TURNING]
            found.append(place)
        return np.stack(found)

    def pushes(self, loads: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """(T-1, K) sqrt(kg) m/s^2: what forces of coefficients (T-1, 3, J) m/s^2 along the axes of
        the world do to the modes; loads: (K, 3, J)."""
        found = np.empty((self.frames - 1, self.modes.count))
        for step, now in enumerate(coefficients):
            body = self.turns[step].T @ now
            found[step] = np.einsum("kaj,aj->k", loads, body)
            if self.modes.free:
                found[step, :3] = np.einsum("kaj,aj->k", loads[:3], now)
        return found

    def coordinates(self, moved: np.ndarray, weights: np.ndarray, kept: int) -> np.ndarray:
        """(T, kept) sqrt(kg) m: the coordinates of the first modes in displacements (T, n, 3) m
        from a shape near the targets; weights (T, n) in 0..1 say how well each is known."""
        return np.stack([
            self.coordinates_in(frame, displacement, weights[frame], kept)
            for frame, displacement in enumerate(moved)
        ])  # fmt: skip

    def coordinates_in(
        self,
        frame: int,
        displacement: np.ndarray,
        weights: np.ndarray,
        kept: int,
        some: np.ndarray | slice = EVERY,
    ) -> np.ndarray:
        """(kept, ...): the same in one frame, of displacements (m, 3, ...) m and weights (m,) of
        some particles, by index; by default of all."""
        shapes, mass = self.turned(frame, kept)[some].reshape(-1, kept), self.mass[some]
        mass = mass * (self.mass.sum() / mass.sum())
        weighted = shapes * np.repeat(weights * mass, 3)[:, None]
        normal = weighted.T @ shapes
        # Modes that nothing is seen of are taken to be at rest.
        normal[np.diag_indices_from(normal)] += 1e-3 * max(weights.max(), 1e-3)
        flat = displacement.reshape(len(shapes), *displacement.shape[2:])
        return np.linalg.solve(normal, weighted.T @ flat)

    def shifts(self, moved: np.ndarray, some: np.ndarray, kept: int) -> np.ndarray:
        """(B, T, kept) sqrt(kg) m: the coordinates of B small motions (B, T, m, 3) m of some
        particles (m,), by index, beside that of the targets."""
        known = np.ones(len(some))
        frames = [
            self.coordinates_in(frame, np.moveaxis(moved[:, frame], 0, -1), known, kept, some).T
            for frame in range(self.frames)
        ]
        return np.stack(frames, axis=1)

    def turned(self, frame: int, kept: int) -> np.ndarray:
        """(n, 3, kept) shapes of the first modes in the axes of the world in a frame."""
        shapes = np.einsum("ab,nbk->nak", self.rotations[frame], self.modes.shapes[..., :kept])
        if self.modes.free:
            shapes[..., :3] = self.modes.shapes[..., :3]
        return shapes

    def path(self, targets: np.ndarray, weights: np.ndarray, kept: int) -> np.ndarray:
        """(T, kept) sqrt(kg) m: the coordinates of the modes in the whole motion from frame 0 on,
        as the model counts them: turns add up."""
        if not self.modes.free:
            return self.coordinates(targets - self.x, weights, kept)
        rigid = np.einsum("tij,nj->tni", self.rotations, self.x - self.middle)
        rigid += self.centers[:, None]
        found = self.coordinates(targets - rigid, weights, kept)
        # The pose of what is seen is not quite that of the whole: what is left of it counts, too.
        found[:, :3] += np.sqrt(self.mass.sum()) * (self.centers - self.middle)
        turn = np.zeros(3)
        root = np.sqrt(self.modes.moments)
        for step in range(self.frames - 1):
            relative = self.rotations[step + 1] @ self.rotations[step].T
            angle = self.rotations[step].T @ Rotation.from_matrix(relative).as_rotvec()
            turn = self._transport(step) @ (turn + root * (self.modes.axes.T @ angle))
            found[step + 1, TURNING] += turn
        return found


def _interval(
    squared: np.ndarray, h: float, pulse: float, damping: float
) -> tuple[np.ndarray, ...]:
    """One interval of h s of modes with squared (K,) 1/s^2, as columns (K, 1): place' = stay place
    + drift speed + push force, speed' = pull place + keep speed + kick force."""
    stay, drift, pull, keep, push = _oscillators(squared, h, damping)
    kick = drift
    if pulse < 1:
        moved, pushed = (v / pulse for v in _oscillators(squared, pulse * h, damping)[4:0:-3])
        rest, glide, back, going, _ = _oscillators(squared, (1 - pulse) * h, damping)
        push, kick = rest * moved + glide * pushed, back * moved + going * pushed
    return tuple(column[:, None] for column in (stay, drift, pull, keep, push, kick))


def _oscillators(squared: np.ndarray, h: float, damping: float) -> tuple[np.ndarray, ...]:
    """Five (K,) factors of h s under a held force: place' = stay place + drift speed + push force,
    speed' = pull place + keep speed + drift force. They solve

        place'' + 2 g place' + squared place = force,    2 g = 2 ratio omega + damping
    """
    omega = np.sqrt(squared)
    slow = omega * h < 1e-4
    omega = np.where(slow, 1.0, omega)
    ratio = np.minimum(DAMPING * (omega * h) ** 2, MOST_DAMPING)
    slope = ratio * omega + damping / 2
    turning = np.emath.sqrt(omega**2 - slope**2) + 1e-9j  # imaginary where a mode creeps
    decay = np.exp(-slope * h)
    sine, cosine = (decay * np.sin(turning * h) / turning).real, (decay * np.cos(turning * h)).real
    gone = -np.expm1(-damping * h) / damping if damping > 0 else h
    stay = np.where(slow, 1.0, cosine + slope * sine)
    keep = np.where(slow, 1.0 - damping * gone, cosine - slope * sine)
    drift = np.where(slow, gone, sine)
    pull = np.where(slow, 0.0, -(omega**2) * sine)
    far = (h - gone) / damping if damping > 0 else h * h / 2
    push = np.where(slow, far, (1 - stay) / omega**2)
    return stay, drift, pull, keep, push
