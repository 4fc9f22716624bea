"""The pages in docs: their python blocks run, their commands parse, what they name exists."""

import ast
import functools
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import PATIENCE, QUICK
from stages import block, on_screen

from inverse.commands import COMMANDS, module_of


ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FOLDERS = "assets|benchmarks|docs|examples|inverse|renderers|taichi_phys|tests"
FOREIGN = {"--help", "--nproc-per-node"}  # of argparse and torchrun
OURS = rf"--|taichi-phys|torchrun|pip |python ({FOLDERS})/"  # how code with flags of ours begins
SYSTEM = {"make", "pip", "source", "sudo"}  # commands that are not scripts of ours


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.S | re.M)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


def commands(page: Path) -> list[list[str]]:
    """Words of every line of its bash blocks, and of inline code that calls a script."""
    joined = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    joined += re.findall(r"`((?:python (?:examples|benchmarks)/|taichi-phys )[^`]+)`", prose)
    return [words for words in (shlex.split(line) for line in joined) if words]


@functools.cache
def parser_of(script: str):
    """The parser of a command, an example or a benchmark, None where it has no make_parser."""
    if script in COMMANDS:
        return importlib.import_module(module_of(script)).make_parser()
    path = ROOT / script
    sys.path.insert(0, str(path.parent))
    try:
        module = importlib.import_module(path.stem)
    finally:
        sys.path.remove(str(path.parent))
    return module.make_parser() if hasattr(module, "make_parser") else None


# What a page's blocks find where they run


def wind_run(folder: Path):
    """The forces that a run leaves in out/wind."""
    rng = np.random.default_rng(0)
    out = folder / "out" / "wind"
    out.mkdir(parents=True)
    np.savez(
        out / "forces.npz", t=np.arange(4) / 24, x=rng.random((4, 5, 3)),
        f=rng.random((4, 5, 3)), mass=np.full(5, 0.1), gravity=np.array([0, 0, -9.81]),
    )  # fmt: skip


def trace_run(folder: Path):
    """The motion that a run leaves in out/trace; its keys are those of the code that writes it."""
    from inverse.trace.paths import motion_along_paths

    rng = np.random.default_rng(0)
    t = np.arange(5) / 10
    x = rng.random((20, 3)) + t[:, None, None] * [1.0, 0, 0]
    parts = motion_along_paths(t, x, np.ones(20, dtype=int), np.ones(20))
    out = folder / "out" / "trace"
    out.mkdir(parents=True)
    motion = {"time": t[-1], "parts": parts, "by_dynamics": []}
    (out / "motion.json").write_text(json.dumps(motion), encoding="utf-8")


def scene_file(folder: Path):
    """The scene that the page says to save, as it is printed."""
    (scene,) = blocks(ROOT / "docs" / "scene_files.md", "toml")
    (folder / "my_scene.toml").write_text(scene, encoding="utf-8")


BEFORE = {"wind.md": wind_run, "trace.md": trace_run, "scene_files.md": scene_file}
SAYS = {  # page -> what its blocks must print
    "wind.md": [r"0\.12 s: +\d"],
    "trace.md": [r"part 1, 20 Gaussians: 1\.00 m/s"],
    "your_video.md": [r"the object is \[0\.44\d 0\. +0\.37\d\] m large"],
    "simulator.md": [
        r"0\.25 s: lowest particle at 0\.\d+ m", r"0\.17 s: \d+ particles", "the same bits: True",
        r"missed by 0\.\d\d mm", r"the height changes by -?\d\.\de[-+]\d\d m per kPa",
    ],
    "scene_files.md": [r"0\.33 s: \["],
    "materials.md": [r"differs from Elastoplastic by (0|\de-(0[6-9]|1\d))"],
    "gpu.md": ["cpu|cuda"],
    "export.md": [r"\d+ faces around 0\.004\d cubic meters"],
    "reports.md": ["out/ball/report.html"],
}  # fmt: skip


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_blocks_run(page, tmp_path):
    """In order, as one script, in an empty folder."""
    BEFORE.get(name(page), lambda folder: None)(tmp_path)
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", **QUICK),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for pattern in SAYS[name(page)]:
        assert re.search(pattern, done.stdout), (pattern, done.stdout)
    if name(page) == "materials.md":
        slope, differences = re.search(r"stress: (\S+), by differences (\S+)", done.stdout).groups()
        assert float(slope) == pytest.approx(float(differences), rel=1e-5)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page):
    """Scripts exist, and their own parsers take the flags and values that are printed."""
    for words in commands(page):
        program, *rest = words
        if program == "torchrun":
            assert rest[0] == "--nproc-per-node"
            rest = rest[2:]
        elif program in SYSTEM:
            continue
        else:
            assert program in ("python", "taichi-phys"), words
        script, *arguments = rest
        known = script in COMMANDS if program == "taichi-phys" else (ROOT / script).is_file()
        assert known, words
        parser = parser_of(script)
        if "--help" in arguments or (program == "taichi-phys" and not arguments):
            continue
        if parser is None:
            assert not arguments, words
            continue
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{name(page)}: {shlex.join(words)}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_and_files_exist(page):
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    scripts = [*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    parsers = [
        parser_of(str(p.relative_to(ROOT)))
        for p in scripts if "make_parser" in p.read_text("utf-8")
    ]  # fmt: skip
    parsers += [parser_of(command) for command in COMMANDS]
    known = {flag for parser in parsers if parser for flag in parser._option_string_actions}
    codes = re.findall(r"`([^`\n]+)`", prose)
    ours = [code for code in codes if re.match(OURS, code)]  # not those of other tools
    flags = {flag for code in ours for flag in re.findall(r"(?<!\S)--[A-Za-z][A-Za-z-]*", code)}
    assert not flags - known - FOREIGN
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]+)", text_of(page))
    if page.parent.name == "api":
        named = []
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" not in target:
            path = (page.parent / target.split("#")[0]).resolve()
            assert path.is_file(), target
            assert path.is_relative_to(ROOT / "docs"), target


def test_scenes_are_all_listed():
    text = text_of(ROOT / "docs" / "scene_files.md")
    for scene in (ROOT / "assets" / "scenes").glob("*.toml"):
        assert f"`assets/scenes/{scene.name}`" in text


def test_keys_of_scenes_are_all_listed():
    from taichi_phys.scenes import parts, scene

    text = text_of(ROOT / "docs" / "scene_files.md")
    keys = {k for kinds in scene.KINDS.values() for k in kinds} | set(parts.SAMPLING)
    keys |= {k for kinds in parts.SHAPES.values() for k in kinds}
    keys |= {k for _, kinds in parts.COLLIDERS.values() for k in kinds}
    keys |= {k for _, kinds in parts.FORCES.values() for k in kinds}
    keys |= set(parts.ACTING) | set(parts.MOTION)
    assert not {key for key in keys if f"`{key}`" not in text}


def test_keys_and_controls_of_the_viewer_are_all_listed():
    from renderers.viewer.live import SLIDERS

    stages = ("renderers/viewer/live", "renderers/viewer/stage", "inverse/wind/stage",
              "inverse/trace/stage")  # fmt: skip
    code = "\n".join((ROOT / f"{stage}.py").read_text("utf-8") for stage in stages)
    text = text_of(ROOT / "docs" / "viewer.md")
    own = on_screen(block(), ROOT).actions()
    keys = {"space" if key == " " else key for key in own}
    keys |= set(re.findall(r', "([a-z])"\)', code))  # of a control
    assert keys > {"space", "o", "m", "x", "a", "w"}
    assert not {key for key in keys if f"`{key}`" not in text}
    names = set(re.findall(r'(?:Slider|Choice|Button|Switch)\(\s*"([^"]+)"', code))
    names |= {name for name, *_ in SLIDERS.values()}
    assert names > {"body", "frame", "stiffness E (Pa)", "wind speed (m/s)", "velocity arrows"}
    assert not {name for name in names if f"| {name} |" not in text}


def public_names(package: str) -> set[str]:
    """What a package's own file imports to be used: `from x import y as y`."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    found = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        for alias in node.names if alias.asname == alias.name
    }  # fmt: skip
    return {key for key in found if not key.startswith("_")}


@pytest.mark.parametrize(
    ("package", "count"), [("taichi_phys", 40), ("renderers", 20), ("inverse", 35)]
)
def test_public_names_are_in_the_reference(package, count):
    text = text_of(ROOT / "docs" / "api" / f"{package}.md")
    public = public_names(package)
    public -= {"MATERIALS", "PRESETS"}  # tables, in words there
    assert len(public) >= count
    assert not {key for key in public if f"::: {package}.{key}\n" not in text + "\n"}


@pytest.mark.parametrize("package", ["renderers", "inverse"])
def test_public_names_can_be_imported(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == public_names(package) <= set(dir(module))
    for key in module.__all__:
        assert getattr(module, key).__name__ == key
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", ["renderers", "inverse"])
def test_importing_a_package_is_light(package):
    heavy = ("cv2", "matplotlib", "numpy", "taichi", "torch", "trimesh")
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_site_builds_without_warnings(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip("mkdocs is not installed: pip install -c constraints.txt -e '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded = r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"https?://"
    for page in pages:  # nothing that a page loads comes from the network
        assert not re.search(loaded, page.read_text("utf-8")), page
