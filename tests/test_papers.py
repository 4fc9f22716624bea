"""docs/papers.md: the functions that it names exist, and it leaves no equation out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
PLACES = re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)
CODE = sorted(
    path for folder in ("taichi_phys", "renderers", "inverse", "examples", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip


def names(node: ast.AST, prefix: str = "") -> Iterator[str]:
    """Dotted names of all functions, classes and assigned names below a node of the syntax."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield prefix + child.name
            yield from names(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
        else:
            yield from names(child, prefix)


@pytest.mark.parametrize("file", sorted({file for file, _ in PLACES}))
def test_places_of_a_file_exist(file):
    known = set(names(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    assert not {name for place, name in PLACES if place == file} - known


def test_every_place_is_written_so_that_it_is_checked():
    code = re.sub(r"^    .*$", "", PAGE, flags=re.M)
    written = {word for word in re.findall(r"`([^`]+)`", code) if ".py" in word}
    checked = {f"{file}:{name}" for file, name in PLACES}
    assert len(checked) > 80
    assert written - checked <= {"inverse/wind/config.py"}


def test_no_equation_is_left_out():
    wind, trace = PAGE.split("\n## TRACE\n")

    def numbers(text: str) -> set[int]:
        found = re.findall(r"^###? .*?: equations? (.+)$", text, re.M)
        spans = [re.findall(r"(\d+)(?: to (\d+))?", line) for line in found]
        pairs = [(int(a), int(b or a)) for span in spans for a, b in span]
        return {k for a, b in pairs for k in range(a, b + 1)}

    assert numbers(wind) == set(range(1, 16))
    assert numbers(trace) == {3, 5}


def test_code_cites_only_pages_that_are_here():
    for path in CODE:
        text = path.read_text(encoding="utf-8")
        cited = re.findall(r"(?<![\w./-])(?:[\w-]+/)+[\w-]+\.md\b", text)
        assert not [(path, page) for page in cited if not (ROOT / page).is_file()]
