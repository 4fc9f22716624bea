"""Whether to believe a wind run, in words, from what the run knows of itself."""

import dataclasses
from typing import Any

import numpy as np

from inverse.lifting.quality import followed_frames, hidden
from inverse.wind.balls import OUTLINE
from inverse.wind.inputs.object import TINY
from inverse.wind.spread import Bending


BELIEVABLE, CARE, DOUBTFUL = "believable", "to be read with care", "not to be believed"
LEVELS = (BELIEVABLE, CARE, DOUBTFUL)  # from good to bad

ABOVE_NOISE = 2.0  # standard deviations: weaker forces do not stand out, and are not drawn
CLEAR = 4.0  # the same: stronger ones are drawn in full
# Standard deviation of the net force over its size, from which it is to be read with care.
ROUGHLY = 0.3
WEIGHT = 9.81  # m/s^2: no force stands out of a share ROUGHLY of it, and it is to be read with care
INNER = slice(1, -3)  # frames that this looks at: the ends of a clip determine hardly any force
EARLY = 10  # frames: what is lost by then was never followed
EARLY_SHARE = 1 / 3  # the same, as a share of the clip: a camera that travels loses an object later
# Motion in the picture, px, of an object that moved at all: tracks drift by one or two.
MOVED = 2.0
# By how many dB the re-simulation has to be closer to the clip than the object held still: failed
# clips gave less than none (9.1 against 14.9 dB), the good ones 8 to 14 dB.
WORSE, LITTLE_BETTER = 0.0, 3.0
TORN_SHARE = 0.1  # of the particles: what is torn beyond that has no shape to carry a force
FEW_TRACKS = 20  # eight is the least that can be lifted; a sheet that bends has more unknowns
SHORT = 8  # frames: the first and the last three do not determine a net force, so fewer are left
AXIS_SHARE = 0.7  # of the motion that lies along the axis of the only camera, which cannot see it
SMALL = 40.0  # px, of the object in the picture: twice what can be followed at all
# Reprojection error of the lift, px: what tracks measure to a tenth of a pixel is not followed.
ROUGH_LIFT, FAILED_LIFT = 2.0, 5.0
# How far off a silhouette that was followed the re-simulation may be, of the object's size.
BESIDE, ASTRAY = 0.25, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What a verdict is made of, of a run of T frames.

    seen_share: (T,) share of the particles that tracks still see, and none in the frames of the
    clip after these, which were left out because the object is lost; psnr, psnr_held: (T,) dB of
    the re-simulation, and of the object held as in frame 0, over the object's pixels, NaN where
    there are none; moved_px: how far the particles moved from frame 0, at most, on average over
    them; along_axis: share of that motion which lies along the optical axis; views: number of
    cameras; torn_share: particles that were torn, of all; tracks: number of points that were
    followed; size_px: of the object in frame 0; flat: whether its depth was assumed; strength,
    noise: (T,) m/s^2 of the net force, and its standard deviation; adrift: px, by which what is
    behind the object shifts although the camera is taken to stand still, as_one: whether it does so
    together, as before a camera that moves; held: whether something holds the object; taut: whether
    that is a sheet; factors: names of what is not known, and by which factor all forces may be off
    for it; too_large: factor by which they are, for a guessed distance, where a floor or gravity
    tells the true one, else None; reprojection_px: (T,) error of the lift, and converged: (T,)
    bool, whether it fits the tracks, None where that is not known; at_rest: whether its iterations
    ended because nothing changed any more; by: what it was followed by (balls.FOLLOWED); missed_px:
    how far the middle of the re-simulation is off where the object was found, usually; falls: m, by
    which its weight would have moved what stays in its place though nothing was found to carry it
    (carried.py), None where there is none, and sheet: whether that is a sheet; bending: whether the
    material explains how the object bends, None where that is not known; ends: T, or None
    where no frames were left out.
    """

    seen_share: np.ndarray
    psnr: np.ndarray
    psnr_held: np.ndarray
    moved_px: float
    along_axis: float
    views: int
    torn_share: float
    tracks: int
    size_px: float
    flat: bool
    strength: np.ndarray
    noise: np.ndarray
    adrift: float = 0.0
    as_one: bool = False
    held: bool = False
    taut: bool = False
    factors: tuple[tuple[str, float], ...] = ()
    too_large: float | None = None
    reprojection_px: np.ndarray | None = None
    converged: np.ndarray | None = None
    at_rest: bool = True
    by: str = "tracks"
    missed_px: float = 0.0
    falls: float | None = None
    sheet: bool = False
    bending: Bending | None = None
    ends: int | None = None

    @property
    def known_to(self) -> float:
        """Standard deviation of the net force as a share of its size, over what was followed."""
        until = followed_frames(self.seen_share)
        frames = slice(None) if until < SHORT else INNER
        strength, noise = (np.asarray(a)[:until][frames] for a in (self.strength, self.noise))
        return float(np.sqrt((noise**2).mean() / max((strength**2).mean(), 1e-300)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to believe a run: belief is one of LEVELS; until: the last frame that was followed;
    frames: their number in the clip; still: whether the object neither moved nor shows a net force
    that stands out of the noise; reasons: parts of sentences, the gravest first."""

    belief: str
    until: int
    frames: int
    still: bool
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The verdict and its reasons in one sentence."""
        reach = ""
        if self.until < self.frames - 1 and self.belief != DOUBTFUL:
            reach = f" up to frame {self.until} of {self.frames}, counted from 0"
        return f"This result is {self.belief}{reach}: {'; '.join(self.reasons)}."

    def record(self) -> dict[str, Any]:
        """As metrics.json keeps it."""
        return {**dataclasses.asdict(self), "sentence": self.sentence}


def judge(facts: Facts) -> Verdict:
    """The verdict on a run."""
    frames, until = len(facts.seen_share), followed_frames(facts.seen_share) - 1
    lost = _lost(facts, until)
    found = [*lost, *_material(facts), *_lift(facts, until), *_picture(facts, until), *_body(facts)]
    found += _assumptions(facts) + _force(facts, until)
    found.sort(key=lambda pair: -pair[0])  # stable: of the same level in the order above
    if facts.ends is not None:  # first of all where the result ends
        found.sort(key=lambda pair: pair not in lost)
    level = max((rank for rank, _ in found), default=0)
    reasons = [text for _, text in found]
    if level < 2:
        reasons += [*_good(facts, until), *_known(facts, until)]
    return Verdict(
        belief=LEVELS[level],
        until=until,
        frames=frames,
        still=facts.moved_px < MOVED and _is_noise(facts, until),
        reasons=tuple(reasons),
    )


Reasons = list[tuple[int, str]]  # (index in LEVELS, part of a sentence)


def _lost(facts: Facts, until: int) -> Reasons:
    frames = len(facts.seen_share)
    found: Reasons = []
    _, gaps = hidden(np.asarray(facts.seen_share))
    if gaps:
        names = ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in gaps)
        one = len(gaps) == 1 and gaps[0][0] == gaps[0][1]
        found.append((1, f"in frame{'' if one else 's'} {names} less than half of the object was "
                      "seen, and its motion was carried over them"))  # fmt: skip
    if until == frames - 1:
        return found
    least = f"{100 * float(np.min(facts.seen_share)):.0f} %"
    text = f"from frame {until + 1} on tracks see less than half of the object ({least} at worst)"
    if facts.ends is not None:
        text += f", and the result ends with frame {facts.ends - 1} of {frames}"
    never = until < max(EARLY, EARLY_SHARE * frames)
    return [(2 if never else 1, text), *found]


def _material(facts: Facts) -> Reasons:
    if facts.bending is None or facts.bending.explained:
        return []
    return [(1, "the material does not explain how the object bends (by "
                f"{facts.bending.error:.1f} times the error that is assumed of it): how the force "
                "varies over the object is not to be relied on; check E, density and yield "
                "stress, or choose another --material")]  # fmt: skip


def _lift(facts: Facts, until: int) -> Reasons:
    found: Reasons = []
    if facts.by in OUTLINE:  # no motion of points was used
        return found
    if facts.converged is not None:
        open_frames = int((~np.asarray(facts.converged, bool)[: until + 1]).sum())
        if open_frames:
            text = f"the motion in space was not found in {open_frames} frames"
            found.append((2 if open_frames > 0.1 * (until + 1) else 1, text))
    if not facts.at_rest:
        found.append((1, "the motion in space had not come to rest when its iterations were over"))
    if facts.reprojection_px is not None:
        off = float(np.nanmedian(np.asarray(facts.reprojection_px)[: until + 1]))
        if off > ROUGH_LIFT:
            text = f"the motion in space misses the tracks by {off:.1f} px"
            found.append((2 if off > FAILED_LIFT else 1, text))
    return found


def _gain(facts: Facts, until: int) -> float:
    """dB by which the re-simulation is closer to the clip than the object held still."""
    gains = (np.asarray(facts.psnr) - np.asarray(facts.psnr_held))[1 : until + 1]
    return float(np.nanmean(gains)) if np.isfinite(gains).any() else 0.0


def _picture(facts: Facts, until: int) -> Reasons:
    if facts.by in OUTLINE:  # how it turns is not known, so that it shows another side
        off = facts.missed_px / facts.size_px
        text = f"the re-simulation is {facts.missed_px:.1f} px off the ball's silhouette"
        return [(2 if off > ASTRAY else 1, text)] * (off > BESIDE)
    gain = _gain(facts, until)
    if facts.moved_px < MOVED:
        torn = gain < WORSE - LITTLE_BETTER
        return [(2, f"the object rests, and its re-simulation is {-gain:.1f} dB off")] * torn
    if gain < WORSE:
        return [(2, f"the re-simulation is {-gain:.1f} dB farther from the clip than holding the "
                    "object still")]  # fmt: skip
    if gain < LITTLE_BETTER:
        return [(1, f"the re-simulation is only {gain:.1f} dB closer to the clip than holding the "
                    "object still")]  # fmt: skip
    return []


def _body(facts: Facts) -> Reasons:
    found: Reasons = []
    if facts.torn_share > 0:
        text = f"{100 * facts.torn_share:.2g} % of the object was torn in the simulation"
        found.append((2 if facts.torn_share > TORN_SHARE else 1, text))
    if facts.size_px < SMALL and facts.by == "tracks":
        text = f"the object is only {facts.size_px:.0f} px across"
        found.append((2 if facts.size_px < TINY else 1, text))
    if facts.by == "doubt":
        found.append((1, "tracks on the ball do not agree with its silhouette, which was followed"))
    if facts.tracks < FEW_TRACKS:
        found.append((1, f"only {facts.tracks} points could be followed"))
    if len(facts.seen_share) < SHORT:
        text = f"of {len(facts.seen_share)} frames hardly any determines a force"
        found.append((1, text))
    if facts.views == 1 and facts.along_axis > AXIS_SHARE and facts.moved_px >= MOVED:
        share = 100 * facts.along_axis
        found.append((1, f"{share:.0f} % of the motion is along the axis of the only camera"))
    return found


def _assumptions(facts: Facts) -> Reasons:
    found: Reasons = []
    if facts.flat and facts.moved_px >= MOVED:
        found.append((1, "the object was taken to be flat and to face the camera, and forces on "
                         "what is not are wrong in direction"))  # fmt: skip
    if facts.taut:
        found.append((1, "a sheet that something holds shows no pull that it carries along itself, "
                         "and so no wind along itself: where it leaves what holds it, the force "
                         "along it is taken to be its weight and what holds it out"))  # fmt: skip
    if facts.falls is not None and facts.moved_px >= MOVED:
        # A balloon may hover, and a ball roll; no wind keeps a loose sheet in its place.
        found.append((2 if facts.sheet else 1, "the object stays in its place, where its weight "
                      f"would have moved it by {facts.falls:.2g} m: something holds or carries it "
                      "that was not found, and the net force is that of the wind, of the weight "
                      "and of its pull together; --hold-box or --floor says where it "
                      "is"))  # fmt: skip
    if facts.adrift > 0 and facts.as_one:
        found.append((2, "the camera travels: what is behind the object shifts as one, by "
                      f"{facts.adrift:.0f} px, and the camera's accelerations are part of the "
                      "force; --moving-camera with a --depth of the whole picture or a "
                      "--depth-model takes them out"))  # fmt: skip
    elif facts.adrift > 0:
        # What moves no farther than all that is behind it may well lie still.
        alike = facts.moved_px <= 2 * facts.adrift
        found.append((2 if alike else 1, f"what is behind the object shifts by {facts.adrift:.0f} "
                      f"px, the object itself by {facts.moved_px:.0f} px: if it is the camera that "
                      "moved, its accelerations are part of the force, and --moving-camera takes "
                      "them out"))  # fmt: skip
    return found


def _force(facts: Facts, until: int) -> Reasons:
    if facts.moved_px < MOVED:
        return []
    if _is_noise(facts, until):
        usual = float(np.median(facts.noise[: until + 1]))
        text = f"the net force is known only to {usual:.2g} m/s², and none stands out of that"
        return [(1, text)] if usual > ROUGHLY * WEIGHT else []
    if facts.known_to < ROUGHLY:
        return []
    return [(1, f"the net force is known only to about {_percent(facts.known_to)}")]


def _known(facts: Facts, until: int) -> list[str]:
    """How well the force is known, as far as that is no reason for care."""
    found = []
    if not _is_noise(facts, until) and facts.known_to < ROUGHLY:
        found.append(f"the net force is known to about {_percent(facts.known_to)}")
    if facts.held and not facts.taut:
        found.append("as something holds the object, the force is in proportion to the stiffness "
                     "that was assumed")  # fmt: skip
    factors = [(name, value) for name, value in facts.factors if value >= 1 + ROUGHLY / 2]
    if facts.too_large is not None:
        told = [pair for pair in factors if pair[0] == "distance"]
        factors = [pair for pair in factors if pair not in told]
        if told:
            found.append("as gravity or the floor tells the distance, all forces are "
                         f"{facts.too_large:.2g} times as large as they should be")  # fmt: skip
    if factors:
        words = " and ".join(f"{value:.2g} for the {name}" for name, value in factors)
        found.append(f"besides, all forces may be off by a factor of {words}")
    return found


def _percent(share: float) -> str:
    """A share in words, to two digits at most."""
    return f"{float(f'{100 * share:.2g}' if share < 1 else f'{100 * share:.1g}'):.0f} %"


def _good(facts: Facts, until: int) -> list[str]:
    """What speaks for a run."""
    shares = 100 * np.asarray(facts.seen_share)[: until + 1]
    all_of_it = shares.min() > 99.5
    when = "until then " if until < len(facts.seen_share) - 1 else ""
    share = "all" if all_of_it else f"at least {shares.min():.0f} %"
    found = [f"{when}tracks see {share} of the object"]
    if facts.by in OUTLINE:
        found = ["the silhouette of the ball was followed"]
    if facts.moved_px < MOVED:
        found[0] += f", which moved by no more than {facts.moved_px:.1f} px"
    elif facts.by in OUTLINE:
        found[0] += f", and the re-simulation stays within {max(facts.missed_px, 0.1):.1f} px of it"
    elif (gain := _gain(facts, until)) >= LITTLE_BETTER:  # else that is a reason for care
        found[0] += f", and the re-simulation is {gain:.1f} dB closer to the clip than holding it "
        found[0] += "still"
    if _is_noise(facts, until) and not _force(facts, until):  # which says so
        usual = float(np.median(facts.noise[: until + 1]))
        often = int(_stands_out(facts, until).sum())
        found.append(
            f"the net force stands out of its uncertainty in {often} of {until + 1} frames"
            if often
            else f"no net force stands out of its uncertainty ({usual:.2g} m/s²)"
        )
    return found


def _is_noise(facts: Facts, until: int) -> bool:
    """Whether the net force does not stand out of its noise in most frames that were followed."""
    return bool((~_stands_out(facts, until)).mean() > 0.5)


def _stands_out(facts: Facts, until: int) -> np.ndarray:
    """(until + 1,) bool: the frames in which the net force stands out of its noise."""
    strength, noise = (np.asarray(a)[: until + 1] for a in (facts.strength, facts.noise))
    return np.asarray(strength >= ABOVE_NOISE * noise)


def surely(force: np.ndarray, std: np.ndarray) -> np.ndarray:
    """How clearly forces (..., 3) stand out of their standard deviations (..., 3): from 0 at
    ABOVE_NOISE of them and below to 1 at CLEAR and above; 1 where these are not known."""
    force, std = np.linalg.norm(force, axis=-1), np.linalg.norm(std, axis=-1)
    over = force / np.maximum(np.where(np.isnan(std), 0.0, std), 1e-300)
    return np.clip((over - ABOVE_NOISE) / (CLEAR - ABOVE_NOISE), 0, 1)
