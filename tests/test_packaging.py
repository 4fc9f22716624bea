"""What setup.py says; a build and an installation elsewhere are tried before a release."""

import re
import runpy
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import pytest
import setuptools

import taichi_phys as tp
from inverse.commands import version


ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = {"leaf/result.png", "scenes/meshes/make_meshes.py"}


@pytest.fixture
def said(monkeypatch):
    """The arguments of setup()."""
    arguments: dict = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    monkeypatch.chdir(ROOT)  # find_packages looks there
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def test_version_is_one(said):
    assert said["version"] == tp.__version__ == version()


def test_command_is_installed(said):
    (script,) = said["entry_points"]["console_scripts"]
    name, module, function = re.split(" = |:", script)
    assert name == "taichi-phys" and callable(getattr(import_module(module), function))


def test_all_packages_are_shipped_with_their_types(said):
    folders = {path.parent for top in ("taichi_phys", "renderers", "inverse")
               for path in (ROOT / top).rglob("__init__.py")}  # fmt: skip
    wanted = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(said["packages"]) == wanted | {"inverse.assets"}
    data = {f"{path.parent.name}/*.toml" for path in (ROOT / "inverse").rglob("*.toml")}
    assert data == set(said["package_data"]["inverse"][1:])
    for name in ("taichi_phys", "renderers", "inverse"):
        assert said["package_data"][name][0] == "py.typed"
        assert (ROOT / name / "py.typed").is_file()


def test_clips_and_scenes_are_package_data(said):
    """All of them, and nothing else of assets."""
    assert said["package_dir"] == {"inverse.assets": "assets"}
    assets = ROOT / "assets"
    patterns = said["package_data"]["inverse.assets"]
    found = {path for pattern in patterns for path in assets.glob(pattern) if path.is_file()}
    shipped = {path.relative_to(assets).as_posix() for path in found}
    left_out = said["exclude_package_data"]["inverse.assets"]
    shipped = {name for name in shipped if not any(fnmatch(name, p) for p in left_out)}
    all_files = {p.relative_to(assets).as_posix() for p in assets.rglob("*") if p.is_file()}
    assert shipped == {name for name in all_files if ".pyc" not in name} - NOT_SHIPPED


def test_index_page_has_neither_pictures_nor_links_to_files_of_ours(said):
    readme, page = (ROOT / "README.md").read_text("utf-8"), said["long_description"]
    assert "](docs/" in readme and "<!-- pictures -->" in readme
    for target in re.findall(r"!?\[[^]]*\]\(([^)]+)\)", page):
        assert target.startswith("https://"), target
    assert "![" not in page and "<!--" not in page and "## Two commands" in page
    assert "docs/viewer.md explains all keys" in page


def test_packages_need_no_path_of_the_checkout():
    """No module changes sys.path, so that installed packages work anywhere."""
    for top in ("taichi_phys", "renderers", "inverse"):
        for path in (ROOT / top).rglob("*.py"):
            assert "sys.path" not in path.read_text("utf-8"), path
