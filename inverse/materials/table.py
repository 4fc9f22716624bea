"""The table of common materials that the package holds."""

import difflib
import functools
import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from inverse.materials.substance import LIMITS, Range, Substance


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "common.toml"
ORIGIN = "from the table of common materials"


def find_substance(words: str) -> Substance:
    """The material of the table that words such as "a dry leaf" name.

    Articles, case and further words do not matter: of the names in the words the longest counts.
    Raises ValueError, which lists the names, if there is none.
    """
    spoken = _words(words)
    found = [
        (len(_words(name)), -spoken.find(_words(name)), entry)
        for name, entry in _names().items()
        if f" {_words(name)} " in f" {spoken} "
    ]
    if not found:
        near = difflib.get_close_matches(spoken, list(_names()), n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"made_of: got {words!r}, which is not in the table{hint} It has "
            f"{', '.join(sorted(substances()))}. Or give --density, --E and --nu"
        )
    return max(found, key=lambda one: one[:2])[2]


@functools.cache
def substances() -> Mapping[str, Substance]:
    """All materials of the table, by name."""
    record = tomllib.loads((files("inverse.materials") / FILE).read_text(encoding="utf-8"))
    return {
        name: _substance(name, entry, record["references"])
        for name, entry in record["materials"].items()
    }


@functools.cache
def _names() -> Mapping[str, Substance]:
    """Materials by name and by all other names."""
    record = tomllib.loads((files("inverse.materials") / FILE).read_text(encoding="utf-8"))
    names = dict(substances())
    for name, entry in record["materials"].items():
        names |= {other: substances()[name] for other in entry.get("also", ())}
    return names


def _substance(name: str, entry: Mapping[str, Any], references: Mapping[str, str]) -> Substance:
    quantities = [key for key in entry if key in LIMITS]
    ranges: dict[str, Any] = {
        key: Range(low=entry[key][0], typical=entry[key][1], high=entry[key][2])
        for key in quantities
    }
    keys = [*entry["sources"], *["assumed"] * len(quantities)]
    return Substance(
        name=name,
        law=entry.get("law", "elastic"),
        sources={key: references[source] for key, source in zip(quantities, keys, strict=False)},
        origin=ORIGIN,
        **ranges,
    )


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))
