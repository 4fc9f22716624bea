"""The table [contact] of a scene: bodies that slide on each other and part."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from taichi_phys.mpm.body_contact import BodyContact
from taichi_phys.scenes.keys import Kind, Place, near, number


FRICTION = number(least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Touch:
    """The table [contact].

    friction: Coulomb coefficient between bodies, None if bodies stick together where they meet;
    pairs: (name, name, friction) for pairs of bodies; together: names of bodies that stick.
    """

    friction: float | None = None
    pairs: tuple[tuple[str, str, float], ...] = ()
    together: tuple[tuple[str, ...], ...] = ()

    def make(self, names: Sequence[str], place: Place) -> BodyContact | None:
        """The contact between the bodies of these names, or None. Raises SceneError."""
        if self.friction is None:
            return None
        groups = list(range(len(names)))
        for team in self.together:
            members = [_index(name, names, place.at("together")) for name in team]
            merged = {groups[i] for i in members}
            groups = [min(merged) if g in merged else g for g in groups]
        pairs = {}
        for one, other, value in self.pairs:
            at = place.at("pairs")
            pairs[_index(one, names, at), _index(other, names, at)] = value
        with place.errors({"groups": "together"}):
            contact = BodyContact(friction=self.friction, pairs=pairs, groups=groups)
            contact.fields(len(names))
        return contact


def _index(name: str, names: Sequence[str], place: Place) -> int:
    if name not in names:
        hint = near(name, names)
        raise place.error(
            f"got {name!r}, expected the name of a body" + (f"; {hint}" if hint else "")
        )
    return list(names).index(name)


def _pairs(value: Any) -> tuple:
    if not isinstance(value, list):
        raise ValueError
    for row in value:
        if not isinstance(row, list) or len(row) != 3 or not _are_names(row[:2]):
            raise ValueError
    return tuple((one, other, FRICTION.read(mu)) for one, other, mu in value)


def _together(value: Any) -> tuple:
    if not isinstance(value, list) or not all(isinstance(v, list) and _are_names(v) for v in value):
        raise ValueError
    return tuple(map(tuple, value))


def _are_names(value: Any) -> bool:
    return all(isinstance(name, str) for name in value)


TOUCH = {
    "friction": FRICTION,
    "pairs": Kind('a list of ["body", "other body", friction >= 0]', _pairs),
    "together": Kind('a list of lists of the names of bodies, [["a", "b"]]', _together),
}
