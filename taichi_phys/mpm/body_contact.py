"""Contact between bodies: which of them slide on each other, and with how much friction."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from taichi_phys.checks import finite_number, set_fields, whole_number


MAX_FIELDS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class BodyContact:
    """Bodies that touch, slide and part, in place of bodies that stick together.

    friction: Coulomb coefficient between bodies, >= 0, a large number for no sliding; pairs: other
    coefficients for pairs of bodies, by their indices, for example {(0, 2): 0.5}; groups: the group
    of each body, an integer; bodies of one group stick together and share one velocity field, as
    all bodies do without a BodyContact; by default each body is a group. Raises ValueError.
    """

    friction: float = 0.0
    pairs: Mapping[tuple[int, int], float] = dataclasses.field(default_factory=dict)
    groups: Sequence[int] | None = None

    def __post_init__(self):
        expected = "a number >= 0"
        friction = finite_number("friction", self.friction, expected, low=0)
        if not isinstance(self.pairs, Mapping):
            raise ValueError(
                f"pairs: got {type(self.pairs).__name__}, expected {{(body, body): friction}}"
            )
        pairs = {}
        for pair, value in self.pairs.items():
            if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
                raise ValueError(f"pairs: got {pair!r}, expected two different bodies, as (0, 1)")
            one, other = (whole_number("pairs", i, "an index of a body", low=0) for i in pair)
            pairs[min(one, other), max(one, other)] = finite_number("pairs", value, expected, low=0)
        set_fields(self, friction=friction, pairs=pairs)
        if self.groups is not None:
            groups = [whole_number("groups", g, "integers >= 0", low=0) for g in self.groups]
            set_fields(self, groups=tuple(groups))

    def fields(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The field (count,) of each of count bodies, and the frictions of pairs of fields.

        Raises ValueError if pairs or groups do not fit the bodies.
        """
        groups = range(count) if self.groups is None else self.groups
        if len(groups) != count:
            raise ValueError(f"groups: got {len(groups)}, expected one for each of {count} bodies")
        names, fields = np.unique(np.asarray(groups, dtype=np.int64), return_inverse=True)
        if len(names) > MAX_FIELDS:
            raise ValueError(
                f"groups: got {len(names)}, expected at most {MAX_FIELDS}: put bodies that never "
                "meet, or may stick, into one group"
            )
        frictions = np.full((len(names), len(names)), self.friction)
        given: dict[tuple[int, int], float] = {}
        for (one, other), value in self.pairs.items():
            if other >= count:
                raise ValueError(f"pairs: got body {other}, expected less than {count}")
            a, b = sorted((int(fields[one]), int(fields[other])))
            if a == b:
                raise ValueError(f"pairs: got ({one}, {other}), which are in one group and stick")
            if given.setdefault((a, b), value) != value:
                raise ValueError(f"pairs: got two values for the groups of ({one}, {other})")
            frictions[a, b] = frictions[b, a] = value
        return fields, frictions
