"""Free flight: how far away a thing is that nothing but gravity moves.

A force per mass that is alike in all frames and points down is that of a fall. Where the distance
of the object is a guess, its size is one, too, and gravity says by how much the guess is off.
"""

import dataclasses

import numpy as np


FEWEST = 8  # frames
ALIKE = 0.15  # of the mean force, that single frames may be off, root mean square
DOWN = 20.0  # degrees from gravity: a camera that is not described may tilt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flight:
    """A flight; size: m/s^2, of the force per mass; guessed: m, the distance that it was found for,
    and distance: m, at which it would be gravity alone."""

    size: float
    guessed: float
    distance: float

    @property
    def sentence(self) -> str:
        """What that says of the distance."""
        away = f"{self.distance:.2g}"
        return (
            f"The force is alike in all frames and points down, {self.size:.2g} m/s², as in free "
            f"flight. If only gravity moves the object, it is {away} m away in frame 0, and not "
            f"{self.guessed:g} m as was guessed; --distance {away} says so."
        )

    def record(self) -> dict[str, object]:
        """As metrics.json keeps it."""
        return {
            "size_m_s2": self.size, "distance_m": self.distance, "sentence": self.sentence,
        }  # fmt: skip


def find_flight(specific: np.ndarray, gravity: np.ndarray, guessed: float) -> Flight | None:
    """The flight of an object that nothing else touches, None where it is none.

    specific: (T, 3) m/s^2, net force per mass; gravity: (3,) m/s^2; guessed: m, its distance.
    """
    weight = float(np.linalg.norm(gravity))
    inner = specific[1:-1]  # the ends of a clip determine hardly any force
    if weight == 0 or len(inner) < FEWEST:
        return None
    mean = inner.mean(axis=0)
    size = float(np.linalg.norm(mean))
    off = float(np.sqrt(((inner - mean) ** 2).sum(axis=1).mean()))
    down = float(mean @ gravity) / weight
    if not (off <= ALIKE * size and down > size * np.cos(np.radians(DOWN))):
        return None
    return Flight(size=size, guessed=guessed, distance=guessed * weight / size)
