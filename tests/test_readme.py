"""README's python blocks run as printed, in order, as one script."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

from helpers import PATIENCE, QUICK

from inverse.commands import COMMANDS, module_of


ROOT = Path(__file__).resolve().parent.parent


def run(blocks, tmp_path, header=""):
    script = tmp_path / "readme.py"
    script.write_text("\n".join([header, *blocks]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), **QUICK),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_blocks_run(tmp_path):
    """The simulator's blocks run where there are no renderers and no inverse, the others after."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    alone = [b for b in blocks if "renderers" not in b and "inverse" not in b]
    assert len(alone) == 2 and blocks[:2] == alone and len(blocks) > 2
    header = "import sys\nsys.modules['renderers'] = sys.modules['inverse'] = None"
    printed = run(alone, tmp_path, header)
    assert printed.count("lowest particle at") == 6
    assert re.search(r"torch\.Size\(\[5\d\d\d, 3\]\)", printed)
    assert len(list((tmp_path / "out" / "drop").glob("frame_*.ply"))) == 6
    assert "torch.Size" in run(blocks[2:], tmp_path)


def test_flags_exist():
    """Every --flag that README names is one that a command or a benchmark takes."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import mpm
    finally:
        del sys.path[0]
    text = (ROOT / "README.md").read_text("utf-8")
    flags = set(re.findall(r"`?(--[a-z][a-z-]*|--E)\b", text)) - {"--help", "--nproc-per-node"}
    modules = [importlib.import_module(module_of(name)) for name in COMMANDS]
    known = "".join(module.make_parser().format_help() for module in [*modules, mpm])
    assert not {flag for flag in flags if flag not in known}


def test_commands_are_all_listed():
    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"(?:^    |`)taichi-phys ([a-z-]+)", text, re.M))
    assert named == set(COMMANDS)
