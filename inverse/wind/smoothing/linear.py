"""The linear model of a clip, and what is presumed of the forces in it.

Something that is held and leans bends under its weight, which is large beside most winds, and the
weight changes how stiff it is: less where it stands on what holds it, more where it hangs. A force
that is presumed to be small, around modes of a body without weight, explains neither. So two
stories are told of what is held: that the shape of frame 0 is one free of stress, and gravity
begins to bend it from then on, smoothly, within some time; or that the shape of frame 0 carries the
weight already. Their likelihoods decide (evidence.py). In the first, the weight is part of the
force that is found, and its motion is taken off the coordinates that the unknown force is to
explain.
"""

import numpy as np
from scipy import special

from inverse.lifting import SEEN
from inverse.wind.forces.drag import AirDrag
from inverse.wind.smoothing.covariance import Gain
from inverse.wind.smoothing.evidence import USUAL, Evidence, Model, TargetNoise, white_jacobian
from inverse.wind.smoothing.modes import RIGID, Modes
from inverse.wind.smoothing.prior import Shapes, Strength
from inverse.wind.smoothing.response import Response
from inverse.wind.spread import Bending
from inverse.wind.targets import Tracked


MODES = 60  # whose coordinates are looked at
FASTEST = 1.5  # radians in an interval: modes that are faster begin at rest
ONSETS = tuple(np.geomspace(0.1, 1.0, 11))  # s, within which a weight may set in
ONSET = ONSETS[4]  # s, with which the search begins


class LinearClip:
    """Where unknown forces move a body, frame by frame, beside what is presumed to move it.

    modes: of the body, with the steady push (3,) m/s^2 that it may begin to carry, or without any;
    x: (n, 3) m and mass: (n,) kg, of particles; targets: (T, n, 3) m and weights: (T, n) in 0..1;
    frame_dt: s; pulse: share of an interval in which its force acts; drag: of an air that does the
    force, if that is so; only: the functions of space of the force, where these are no question;
    tracked: says how uncertain the targets are.
    """

    evidence: Evidence

    def __init__(
        self,
        modes: Modes,
        steady: np.ndarray,
        x: np.ndarray,
        mass: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        frame_dt: float,
        pulse: float,
        drag: AirDrag | None,
        only: Shapes | None,
        tracked: Tracked | None = None,
    ):
        self.modes, self.steady, self.x, self.mass = modes, steady, x, mass
        self.targets, self.frame_dt, self.pulse, self.tracked = targets, frame_dt, pulse, tracked
        # What is seen at all is as well known as the lift says, whose errors are measured by mode.
        self.weights = np.minimum(weights / SEEN, 1.0)
        self.drag, self.only, self.steps = drag, only, len(targets) - 1
        self.unit = float(np.sqrt(mass.sum()))
        self.seen = np.sqrt(weights @ mass / mass.sum())[:, None]
        self.doubt = 1.0  # the probability of the story about the steady push that was not chosen
        self.onsets = np.zeros(len(ONSETS))  # probabilities, where a push sets in
        self.take(None, loaded=False)

    def take(self, begins: float | None, *, loaded: bool) -> None:
        """Presume that the steady push sets in within begins s, or, None, that it does not; and
        that the body is as stiff as under that push, or without it."""
        modes = self.modes.under_push(self.evidence.kept) if loaded else self.modes
        self.response = Response(
            modes, self.x, self.mass, self.targets, self.weights, self.frame_dt, self.pulse,
            damping=0.0 if self.drag is None else self.drag.rate,
        )  # fmt: skip
        self.kept = min(modes.count, MODES)
        self.start = self._start_speeds(modes)
        size, seen = float(np.ptp(self.x, axis=0).max()), self.seen[:, 0] ** 2
        shifts, pixels = np.zeros((0, self.steps + 1, self.kept)), USUAL
        if self.tracked is not None:
            known = self.tracked
            shifts = self.response.shifts(known.shifts, known.sampled, self.kept)
            pixels = known.quality.object_px
        bent = self.path()
        if modes.free:
            bent[:, :RIGID] = 0
        self.evidence = Evidence(
            self.response, size, self.start, seen, shifts, bent, pixels, self.only
        )
        self._begin(begins)

    def _begin(self, begins: float | None) -> None:
        self.begins = begins
        self.push = onset(self.steps, self.frame_dt, begins)[:, None] * self.steady
        self.given = self._given()

    def _start_speeds(self, modes: Modes) -> np.ndarray:
        """(K,) sqrt(kg) m/s: how fast modes may be in frame 0: as fast as the object ever is, and
        less where that would deform it more than it moves in an interval."""
        speed = np.linalg.norm(np.diff(self.targets, axis=0), axis=-1).max() / self.frame_dt
        turns = np.sqrt(modes.squared) * self.frame_dt
        return self.unit * max(speed, 1e-6) / (1 + turns**2) ** 2 * (turns < FASTEST)

    def _given(self) -> np.ndarray:
        """(T, K) sqrt(kg) m: where what is presumed moves the modes: the steady push, or gravity,
        where the force is apart of it, an air's."""
        push = self.push
        if self.drag is not None:
            push = push + np.asarray(self.drag.gravity)
        pushes = np.zeros((self.steps, self.response.modes.count))
        if push.any():
            ones = self.response.loads(np.ones((len(self.mass), 1)))
            pushes = self.response.pushes(ones, push[..., None])
        return self.response.follow(pushes, np.zeros(self.response.modes.count))

    def choose(self) -> Model:
        """The likeliest strength of force and noise, and, of what is held, the likelier story,
        which is kept."""
        model = self._likeliest(None, loaded=False)
        if self.modes.loaded is None:
            return model
        # What carries its weight already is under stress, which the simulation does not know.
        carried = min(model.misfit, self._likeliest(None, loaded=True, near=model).misfit)
        other = self._likeliest(ONSET, loaded=True, near=model)
        misfits = []
        for begins in ONSETS:
            self._begin(begins)
            misfits.append(self.evidence.unlikely(self.unexplained(self.path()), other))
        best = ONSETS[int(np.argmin(misfits))]
        self._begin(ONSET)
        if best != ONSET:
            other = self._likeliest(best, loaded=True, near=other)
        self.doubt = float(1 / (1 + np.exp(min(abs(other.misfit - carried), 500.0))))
        if other.misfit < carried:
            self.onsets = special.softmax(-np.array(misfits))
            return other
        self.take(None, loaded=False)
        return model

    def _likeliest(self, begins: float | None, *, loaded: bool, near: Model | None = None) -> Model:
        self.take(begins, loaded=loaded)
        return self.evidence.choose(self.unexplained(self.path()), near=near)

    def path(self) -> np.ndarray:
        """(T, kept) sqrt(kg) m: coordinates of the targets."""
        return self.response.path(self.targets, self.weights, self.kept)

    def unexplained(self, path: np.ndarray) -> np.ndarray:
        """(T, kept) sqrt(kg) m: what the unknown force is to explain of coordinates (T, kept)."""
        return path - self.given[:, : self.kept]

    def model(self, strength: Strength, noise: TargetNoise) -> Model:
        """The prior and noise of a choice."""
        shapes = self.evidence.shapes(strength.length)
        return Model.of(strength, noise, shapes, self.response.turns, self.frame_dt)

    def gain(self, model: Model) -> Gain:
        """What coordinates say of the unknown force."""
        forces, starts = self.response.jacobian(self.response.loads(model.shapes.values), self.kept)
        errors = self.evidence.errors
        white = white_jacobian(forces, starts, self.start, model, self.seen, errors)
        return Gain(model, white, errors, self.start, self.seen)

    def bending(self, gain: Gain, path: np.ndarray) -> Bending | None:
        """Whether the material explains how coordinates (T, kept) bend; None where that is not
        known: a force of a given shape misses motion for its own sake."""
        return None if self.only is not None else gain.bending(self.unexplained(path))

    def forces(self, model: Model, coefficients: np.ndarray) -> np.ndarray:
        """(T-1, n, 3) m/s^2; of an air, what it would do to particles at rest."""
        unknown = np.einsum("nj,taj->tna", model.shapes.values, coefficients, optimize=True)
        return unknown + self.push[:, None]

    def followed(
        self,
        model: Model,
        coefficients: np.ndarray,
        speeds: np.ndarray,
        nudges: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """(T, kept) sqrt(kg) m: the motion of the linear model."""
        loads = self.response.loads(model.shapes.values)
        pushes = self.response.pushes(loads, coefficients)
        pushes[:, : self.kept] += nudges
        return (self.response.follow(pushes, speeds) + self.given)[:, : self.kept]

    def sentence(self) -> str | None:
        """What was found out about the weight of a held body, None where that was no question."""
        if self.modes.loaded is None:
            return None
        if self.begins is None:
            return (
                "By its motion, what is held carries its weight in frame 0 already: the force is "
                "the one that is added to it."
            )
        return (
            "By its motion, what is held is free of stress in frame 0, and its weight sets in "
            f"within {self.begins:g} s: it is part of the force."
        )

    def open_pushes(self, model: Model) -> np.ndarray:
        """(S, T-1, 3) m/s^2: steady pushes that may act beside what is presumed, each as large as
        the root of its probability: the other story's, which sets in as fast as forces change, and
        what acts more or less where the push sets in faster or slower."""
        dt = self.frame_dt
        courses = [np.sqrt(self.doubt) * onset(self.steps, dt, model.strength.time)]
        chosen = onset(self.steps, dt, self.begins)
        for begins, likely in zip(ONSETS, self.onsets, strict=True):
            courses.append(np.sqrt(likely) * (onset(self.steps, dt, begins) - chosen))
        pushes = np.array(courses)[..., None] * self.steady
        return pushes[pushes.any(axis=(1, 2))]


def onset(intervals: int, frame_dt: float, begins: float | None) -> np.ndarray:
    """(intervals,): how much acts of a push that sets in smoothly within begins s, None: never."""
    if begins is None:
        return np.zeros(intervals)
    done = np.minimum((np.arange(intervals) + 0.5) * frame_dt / begins, 1)
    return done**2 * (3 - 2 * done)
