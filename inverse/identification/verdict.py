"""What a search says in words: whether to believe it first, then the values."""

from typing import Any

from inverse.identification.evidence import MotionEvidence
from inverse.identification.search import Found
from inverse.identification.unknowns import Unknown


NOISY = 2.0  # times the noise: what a simulation misses beyond that is an error of the model
# Of what an object misses that keeps its shape, or stands still: a simulation that misses more does
# not describe the motion.
WRONG = 0.25


def value_records(unknowns: list[Unknown], found: Found) -> dict[str, dict[str, Any]]:
    """What is known of each unknown, by its label."""
    records = {}
    for k, unknown in enumerate(unknowns):
        number, deviation = float(found.numbers[k]), float(found.deviation[k])
        told = unknown.told(number, deviation)
        low, high = unknown.interval(number, deviation)
        if not told:
            low, high = unknown.range
        records[unknown.label] = {
            "value": unknown.decode(number),
            "low": low,
            "high": high,
            "told": told,
            "unit": unknown.unit,
            "samples": float(found.samples[k]),
            "grid_share": float(found.grid[k] / max(deviation, 1e-300)),
        }
    return records


def verdict(
    records: dict[str, dict[str, Any]],
    unknowns: list[Unknown],
    found: Found,
    evidence: MotionEvidence,
) -> dict[str, Any]:
    """How far to believe a search, and a sentence: belief ("good", "care" or "bad") and sentence.

    records: of `value_records`.
    """
    scale = 1000.0 if evidence.unit == "m" else 1.0
    unit = "mm" if evidence.unit == "m" else evidence.unit
    missed = f"{scale * found.loss:.2g} {unit}".rstrip()
    parts, belief = list[str](), "good"
    # a friction is told by where the object goes, all else by its shape
    shape = evidence.unit == "m" and any(u.name != "friction" for u in unknowns if not u.moves)
    worse = "one that keeps its shape" if shape else "one that stands still"
    least = evidence.shapeless if shape else evidence.still
    if found.loss > WRONG * least and found.loss > NOISY * evidence.noise:
        belief = "bad"
        parts.append(
            f"Do not believe these values: the simulation misses the motion by {missed}, "
            f"{worse} by {scale * least:.2g} {unit}".rstrip()
            + "."
        )
    elif found.loss > NOISY * evidence.noise:
        belief = "care"
        parts.append(
            f"The simulation misses the motion by {missed}, which is more than its noise of "
            f"{scale * evidence.noise:.2g} {unit}".rstrip()
            + ": something is not as assumed."
        )
    if not found.settled:
        belief = "care" if belief == "good" else belief
        parts.append("The search had not come to rest; give it more --iterations.")
    material = [u for u in unknowns if not u.moves]
    known = [u for u in material if records[u.label]["told"]]
    vague = [u for u in material if not records[u.label]["told"]]
    if known:
        parts.append("; ".join(_words(u.label, records[u.label]) for u in known) + ".")
    if vague:
        belief = "care" if belief == "good" else belief
        parts.append(f"The motion does not tell {_listed([u.label for u in vague])}.")
    return {"belief": belief, "sentence": " ".join(parts)}


def _words(label: str, record: dict[str, Any]) -> str:
    unit = f" {record['unit']}" if record["unit"] else ""
    return (
        f"{label} is {record['value']:.3g}{unit}, with 95 % between {record['low']:.3g} and "
        f"{record['high']:.3g}{unit}"
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
