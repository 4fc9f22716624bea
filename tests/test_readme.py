"""README's python blocks run as printed, in order, as one script."""

import re
import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent


def test_python_blocks_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 2
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lowest particle at") == 12
    assert "torch.Size([2000, 3])" in done.stdout


def test_flags_exist():
    """Every --flag that README names is one that an example takes."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import fit_splats
        import show_splats
        import trace_future_frames
        import wind_from_leaf
    finally:
        sys.path.pop(0)
    text = (ROOT / "README.md").read_text("utf-8")
    flags = set(re.findall(r"`?(--[a-z][a-z-]*|--E)\b", text)) - {"--help", "--nproc-per-node"}
    examples = (wind_from_leaf, show_splats, fit_splats, trace_future_frames)
    known = "".join(example.make_parser().format_help() for example in examples)
    assert not {flag for flag in flags if flag not in known}
