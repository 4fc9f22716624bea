"""The shape of the project: who may import whom, and what no file may contain."""

import ast
from inspect import ismodule
from pathlib import Path

import pytest

import taichi_phys


ROOT = Path(__file__).parent.parent
PACKAGES = ("taichi_phys", "renderers", "inverse")  # in the order in which they may be imported
SKIPPED = {".git", ".venv", ".pytest_cache", ".ruff_cache", "__pycache__", "build", "dist", "out"}
MODULES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
OPTIONAL = {"open3d", "viser", "transformers", "cotracker"}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(path, *, top_level_only=False):
    """Dotted names that a module imports; `from a import b` counts as a and as a.b."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_files():
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not any(p in SKIPPED or p.endswith(".egg-info") for p in parts):
            yield path


def test_there_is_something_to_check():
    assert len(MODULES) > 20
    assert {p.relative_to(ROOT).parts[0] for p in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    """taichi_phys <- renderers <- inverse <- examples, tests, benchmarks."""
    own = path.relative_to(ROOT).parts[0]
    allowed = PACKAGES[: PACKAGES.index(own) + 1]
    above = set(PACKAGES) - set(allowed) | {"examples", "tests", "benchmarks"}
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] in above}
    if own == "renderers":
        # beside what a user has: its public names
        private = {name for name in found if name.startswith("taichi_phys.")}
        private -= {
            f"taichi_phys.{name}" for name, it in vars(taichi_phys).items() if not ismodule(it)
        }
        allowed = ("checks", "rotations", "runtime", "io.files", "bridge.autograd")
        allowed = tuple(f"taichi_phys.{name}" for name in allowed)
        assert all(name.startswith(allowed) for name in private), private
    if own == "inverse":  # Taichi could be exchanged without touching the solvers
        assert not any(name.split(".")[0] == "taichi" for name in found)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_optional_packages_are_imported_where_they_are_used(path):
    top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not top & OPTIONAL
    if path.is_relative_to(ROOT / "taichi_phys"):
        assert not top & {"cv2", "trimesh", "matplotlib", "imageio"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_taichi_traps(path):
    """ti.init in one place; no postponed annotations beside kernels (Taichi cannot read them)."""
    text = path.read_text(encoding="utf-8")
    assert "ti.init(" not in text or path == ROOT / "taichi_phys" / "runtime.py"
    if "ti.kernel" in text:
        assert "__future__" not in set(imports(path))


def test_every_package_has_an_init():
    folders = {p.parent for p in MODULES}
    assert not [name_of(f) for f in folders if not (f / "__init__.py").exists()]


def test_no_file_names_a_place_of_this_machine():
    """Neither the data the developers share nor anyone's home."""
    shared, homes = "../" + "shared", [f"/{name}/" for name in ("root", "home", "Users")]
    home = f"{Path.home()}/"
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # pictures, videos, arrays
            continue
        found += [(name_of(path), word) for word in {shared, home, *homes} if word in text]
    assert not found
