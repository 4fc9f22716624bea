"""benchmarks/mpm.py, shrunken: what it measures and prints, not how fast it is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PATIENCE, wait_for


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import mpm  # noqa: E402


def test_quick_table_and_json(tmp_path, capsys):
    file = tmp_path / "new" / "figures.json"
    result = mpm.main(["--quick", "--repeats", "1", "--json", str(file)])
    assert json.loads(file.read_text())["particles"] == result["particles"] == 1_000
    for rates in result["rates"].values():
        assert 0 < rates["forward_backward"] < rates["forward"]
    assert set(result["sweep"]) == {500} and set(result["domains"]) == {64, 256}
    printed = capsys.readouterr().out
    assert "neo-Hookean" in printed and "256^3" in printed


def test_the_workload():
    """30,000 particles, uniform in a cube of 0.3 m, 27 kg; the flowing body shears."""
    sim, state = mpm.make("von Mises, flowing")
    assert len(state.x) == 30_000 and abs(float(sim.mass.sum()) - 27) < 1e-3
    assert 0.349 < state.x.min() < 0.351 and 0.649 < state.x.max() < 0.651
    assert float(state.v[:, 0].max()) > 0.7
    big, state = mpm.make("neo-Hookean", 100_000, 64)
    assert big.grid.dx == 1 / 64 and len(state.x) == 100_000


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_ctrl_c_ends_it_and_its_workers_in_a_word():
    command = [sys.executable, str(ROOT / "benchmarks" / "mpm.py"), "--quick"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        workers = wait_for(lambda: children(process.pid), process)
        os.kill(process.pid, signal.SIGINT)  # to the program alone
        error = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
    assert (process.returncode, error) == (130, "stopped\n")
    # an orphan stays listed until the system has buried it
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
