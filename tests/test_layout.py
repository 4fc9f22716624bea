"""The shape of the project: who may import whom, and what no file may contain."""

import ast
import collections
import graphlib
from inspect import ismodule
from pathlib import Path

import pytest

import taichi_phys


ROOT = Path(__file__).parent.parent
PACKAGES = ("taichi_phys", "renderers", "inverse")  # in the order in which they may be imported
SKIPPED = {".git", ".venv", "__pycache__", "build", "dist", "out"}
MODULES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
SCRIPTS = sorted(p for name in ("examples", "benchmarks") for p in (ROOT / name).rglob("*.py"))
OPTIONAL = {"pxr", "skimage", "viser", "transformers", "cotracker"}


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
        if path.is_file() and not any(
            p in SKIPPED or p.endswith(("_cache", ".egg-info")) for p in parts
        ):
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
        allowed = (
            "checks", "rotations", "runtime", "io.files", "bridge.autograd", "language",
            "launching",
        )  # fmt: skip
        allowed = tuple(f"taichi_phys.{name}" for name in allowed)
        assert all(name.startswith(allowed) for name in private), private
    if own == "inverse":  # Taichi could be exchanged without touching the solvers
        assert not any(name.split(".")[0] == "taichi" for name in found)
        assert "taichi_phys.language" not in found
    assert "taichi" not in found or path.name == "language.py"


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


def is_kernel(function):
    names = {ast.unparse(d).split("(")[0] for d in function.decorator_list}
    return bool(names & {"ti.kernel", "ti.func", "ti.pyfunc", "ti.real_func"})


def public_functions(tree, prefix=""):
    """(name, node) of the functions and methods that a reader of the module may call."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not is_kernel(node):
            if not node.name.startswith("_") or node.name in ("__init__", "__call__"):
                yield prefix + node.name, node


def lacks_annotations(function, method):
    given = function.args
    arguments = given.posonlyargs + given.args + given.kwonlyargs
    if method and not any(ast.unparse(d) == "staticmethod" for d in function.decorator_list):
        arguments = arguments[1:]  # self, cls
    arguments += [a for a in (given.vararg, given.kwarg) if a]
    no_result = function.returns is None and function.name != "__init__"
    return no_result or any(a.annotation is None for a in arguments)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_are_annotated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lacking = [n for n, f in public_functions(tree) if lacks_annotations(f, method="." in n)]
    assert not lacking


LINES, METHODS = 400, 20  # of a file, of a class


def classes():
    for path in [*MODULES, *SCRIPTS]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield name_of(path), node


def test_a_class_name_stands_for_one_thing():
    places = collections.defaultdict(list)
    for file, node in classes():
        places[node.name].append(file)
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert not twice


def test_no_class_and_no_file_is_too_large():
    for file, node in classes():
        methods = sum(isinstance(part, ast.FunctionDef) for part in node.body)
        assert methods <= METHODS, f"{file}: {node.name} has {methods}"
    for path in [*MODULES, *SCRIPTS]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LINES, f"{name_of(path)} has {lines} lines, at most {LINES} are allowed"


def test_frozen_records_are_set_in_one_place():
    """checks.set_fields, in __post_init__: a frozen record does not change later."""
    setters = {
        name_of(path) for path in [*MODULES, *SCRIPTS] if "object.__setattr__" in path.read_text()
    }
    assert setters == {"taichi_phys/checks.py"}


def room(module):
    """The folder of a module; a module beside the folders of a package is a room of its own."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else module


@pytest.mark.parametrize("place", [room, str], ids=["rooms", "files"])
def test_no_circle_of_imports(place):
    """Imports inside functions count, too; the faces of packages (__init__.py) do not."""
    inner = [path for path in MODULES if path.name != "__init__.py"]
    known = {dotted(path) for path in inner}
    doors = collections.defaultdict(set)
    for path in inner:
        here = place(dotted(path))
        doors[here] |= {place(name) for name in imports(path) if name in known} - {here}
    try:
        tuple(graphlib.TopologicalSorter(doors).static_order())
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
