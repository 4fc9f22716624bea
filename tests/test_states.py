"""Files of states and frames: exact, whole or absent, and clear about what is wrong with them."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from helpers import interrupt, wait_for

import taichi_phys as tp
from taichi_phys.io.records import RECORDS
from taichi_phys.io.states import (
    INDEX,
    VERSION,
    load_extras,
    load_ply,
    load_state,
    read_frames,
    save_ply,
    save_state,
    write_frames,
)


NAMES = [f.name for f in dataclasses.fields(tp.State) if f.name not in RECORDS]
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
formats = pytest.mark.parametrize("format", ["ply", "npz"])


def random_state(n=5, dtype=torch.float32, time=1 / 3):
    shapes = {"x": (n, 3), "v": (n, 3), "C": (n, 3, 3), "F": (n, 3, 3), "plastic": (n,)}
    fields = {k: torch.randn(shapes[k], dtype=dtype) for k in NAMES if k != "time"}
    return tp.State(**fields, time=time)


def same(a, b):
    """Bit for bit: -0 is not 0."""
    pairs = [(getattr(a, k), getattr(b, k)) for k in NAMES if k != "time"]
    return a.time == b.time and all(
        one.dtype == two.dtype and one.cpu().numpy().tobytes() == two.cpu().numpy().tobytes()
        for one, two in pairs
    )


def leftovers(folder):
    return [p.name for p in Path(folder).iterdir() if ".part" in p.name]


# States


@dtypes
def test_a_state_comes_back_bit_for_bit(tmp_path, dtype):
    state = random_state(dtype=dtype)
    state.x.view(torch.uint8).flatten()[:4] = torch.tensor([1, 0, 0, 128])
    state.v[0, 0], state.F[0, 0, 0] = -0.0, np.nan
    save_state(tmp_path / "deep" / "a.npz", state)
    back = load_state(tmp_path / "deep" / "a.npz")
    assert same(state, back)
    assert torch.signbit(back.v[0, 0])
    assert isinstance(back.time, float)
    assert not leftovers(tmp_path / "deep")
    back.x.add_(1)  # its memory is its own


def test_a_state_with_a_graph(tmp_path):
    state = random_state().replace(x=torch.ones(5, 3, requires_grad=True) * 2)
    save_state(tmp_path / "a.npz", state)
    back = load_state(tmp_path / "a.npz")
    assert torch.equal(back.x, state.x) and not back.x.requires_grad


def test_a_simulation_goes_on_as_if_never_stopped(tmp_path):
    x = torch.rand(20, 3) * 0.2 + 0.4
    body = tp.Particles(x, material=tp.Elastoplastic(E=1e4, nu=0.3, yield_stress=10.0))
    sim = tp.MPM(particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16))
    state = sim.advance(sim.initial_state(), frame_dt=0.02)
    save_state(tmp_path / "a.npz", state, frame=1)
    assert same(sim.advance(load_state(tmp_path / "a.npz"), frame_dt=0.02),
                sim.advance(state, frame_dt=0.02))  # fmt: skip


def test_extras(tmp_path):
    path = tmp_path / "a.npz"
    save_state(path, random_state(), fps=24, name="jelly", weights=torch.arange(4.0))
    extras = load_extras(path)
    assert (extras.pop("fps"), extras.pop("name")) == (24, "jelly")
    assert extras.pop("weights").tolist() == [0, 1, 2, 3] and not extras
    load_state(path)


def edit(path, drop=(), **changes):
    with np.load(path) as file:
        arrays = {k: file[k] for k in file.files if k not in drop}
    arrays |= changes
    if "names" not in changes:
        arrays["names"] = np.array([k for k in arrays if k not in ("kind", "version", "names")])
    np.savez(path, **arrays)


def test_a_file_without_a_field_that_has_a_default(tmp_path):
    path, state = tmp_path / "a.npz", random_state().replace(time=0.0)
    optional = [f.name for f in dataclasses.fields(tp.State)
                if f.default is not dataclasses.MISSING]  # fmt: skip
    save_state(path, state)
    edit(path, drop=optional)
    assert torch.equal(load_state(path).F, state.F)
    assert load_state(path).time == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: edit(p, version=np.array(VERSION + 1)), "newer version"),
        (lambda p: edit(p, version=np.array("a")), "version"),
        (lambda p: edit(p, drop=["version"]), "version"),
        (lambda p: edit(p, temperature=np.zeros(5, "f4")), "newer version.*temperature"),
        (lambda p: edit(p, kind=np.array("cake")), "holds 'cake', expected 'taichi_phys state'"),
        (lambda p: edit(p, drop=["kind"]), "unknown contents"),
        (lambda p: edit(p, drop=["F", "v"]), "lacks the fields v, F of a state"),
        (lambda p: edit(p, drop=["x"]), "lacks the fields x of a state"),
        (lambda p: edit(p, names=np.array(["x", "v"])), "damaged.*contents.*C, F"),
        (lambda p: edit(p, v=np.zeros((4, 3), "f4")), "got v"),
        (lambda p: edit(p, x=np.zeros(5, "f4")), "got x"),
        (lambda p: edit(p, x=np.zeros((), "f4")), "got x"),
        (lambda p: edit(p, F=np.zeros((5, 3, 3), "f8")), "got F"),
        (lambda p: edit(p, C=np.zeros((5, 3, 3), "i4")), "got C"),
        (lambda p: edit(p, time=np.zeros(2)), "got time"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:10]), "damaged"),
        (lambda p: p.write_bytes(b""), "damaged"),
        (lambda p: p.write_text("hello"), "damaged"),
        (lambda p: np.save(p.open("wb"), np.zeros(3)), "damaged, or not a file of"),
        (lambda p: np.savez(p, x=np.array([{}], dtype=object)), "damaged, or not a file of"),
        (lambda p: p.unlink(), "no such file"),
    ],
)  # fmt: skip
def test_bad_state_files(tmp_path, change, says):
    path = tmp_path / "a.npz"
    save_state(path, random_state())
    change(path)
    with pytest.raises(ValueError, match=rf"a\.npz: .*{says}") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    path, state = tmp_path / "a.npz", random_state(2)
    save_state(path, state)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert same(load_state(path), state), at
        except ValueError as error:
            assert str(path) in str(error)


def test_bad_saving(tmp_path):
    with pytest.raises(ValueError, match="^state: got int"):
        save_state(tmp_path / "a.npz", 3)
    with pytest.raises(ValueError, match=r"expected a name ending in \.npz"):
        save_state(tmp_path / "a.pt", random_state())
    with pytest.raises(ValueError, match="^note: got dict"):
        save_state(tmp_path / "a.npz", random_state(), note={})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        save_state(tmp_path / "file" / "a.npz", random_state())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# PLY


@dtypes
def test_a_ply_file(tmp_path, dtype):
    path, state = tmp_path / "a.ply", random_state(dtype=dtype)
    save_ply(path, state, plastic_strain=torch.arange(5), heat=np.linspace(0, 1, 5))
    assert path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")
    vertex = plyfile.PlyData.read(str(path))["vertex"]
    assert vertex.data.dtype.names == ("x", "y", "z", "vx", "vy", "vz", "plastic_strain", "heat")
    frame = load_ply(path)
    assert frame.x.dtype == np.float32
    np.testing.assert_array_equal(frame.x, state.x.float().cpu().numpy())
    np.testing.assert_array_equal(frame.v, state.v.float().cpu().numpy())
    assert frame.time == 1 / 3
    assert frame.fields["plastic_strain"].tolist() == [0, 1, 2, 3, 4]
    assert set(frame.fields) == {"plastic_strain", "heat"}


def test_a_ply_of_others(tmp_path):
    """Text, doubles, colors, no velocities, a comment that begins like ours."""
    path = tmp_path / "a.ply"
    path.write_text(
        "ply\nformat ascii 1.0\ncomment time flies\nelement vertex 1\nproperty double x\n"
        "property double y\nproperty double z\nproperty uchar red\nend_header\n1 2 3.5 255\n"
    )
    frame = load_ply(path)
    assert frame.x.tolist() == [[1, 2, 3.5]] and frame.v.tolist() == [[0, 0, 0]]
    assert frame.time == 0 and frame.fields["red"].tolist() == [255]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-5]), "damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:50]), "damaged"),
        (lambda p: p.write_bytes(b""), "damaged"),
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_text("ply\nformat ascii 1.0\nelement face 0\n"
                                "property float x\nend_header\n"), "without vertices"),
    ],
)  # fmt: skip
def test_bad_ply_files(tmp_path, change, says):
    path = tmp_path / "a.ply"
    save_ply(path, random_state())
    change(path)
    with pytest.raises(ValueError, match=rf"a\.ply: .*{says}"):
        load_ply(path)


@pytest.mark.parametrize(
    ("scalars", "named"),
    [
        ({"heat": np.zeros(4)}, "heat"), ({"heat": np.zeros((5, 1))}, "heat"),
        ({"heat": "warm"}, "heat"), ({"heat": np.zeros(5, complex)}, "heat"),
        ({"heat": np.full(5, 1e300)}, "heat"), ({"vx": np.zeros(5)}, "scalars"),
        ({"two words": np.zeros(5)}, "scalars"),
    ],
)  # fmt: skip
def test_bad_scalars(tmp_path, scalars, named):
    with pytest.raises(ValueError, match=rf"^{named}: "):
        save_ply(tmp_path / "a.ply", random_state(), **scalars)
    assert not list(tmp_path.iterdir())


def test_bad_ply_saving(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name ending in \.ply"):
        save_ply(tmp_path / "a.obj", random_state())
    with pytest.raises(ValueError, match="^state: "):
        save_ply(tmp_path / "a.ply", None)


# Sequences


@formats
@dtypes
def test_frames(tmp_path, format, dtype):
    states = [random_state(n=4 + i, dtype=dtype, time=i / 30) for i in range(3)]
    written = write_frames(
        iter(states), tmp_path, format=format, fps=30, scalars=lambda s: {"speed": s.v.norm(dim=1)}
    )
    assert written == 3
    frames = read_frames(tmp_path)
    assert len(frames) == 3 and frames.fps == 30
    for state, frame in zip(states, frames, strict=True):
        exact = dtype if format == "npz" else torch.float32
        assert torch.equal(torch.from_numpy(frame.x), state.x.to(exact))
        assert torch.equal(torch.from_numpy(frame.v), state.v.to(exact))
        assert torch.equal(torch.from_numpy(frame.fields["speed"]), state.v.norm(dim=1).to(exact))
        assert frame.time == state.time
        more = {"speed", *NAMES} - {"x", "v", "C", "time"}
        assert set(frame.fields) == (more if format == "npz" else {"speed"})
    assert frames[-1].time == states[-1].time
    with pytest.raises(IndexError):
        frames[3]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["count"] == 3 and "speed" in index["fields"] and index["format"] == format


@formats
def test_frames_are_read_one_by_one(tmp_path, format):
    write_frames([random_state() for _ in range(3)], tmp_path, format=format)
    last = tmp_path / f"frame_0002.{format}"
    last.write_bytes(last.read_bytes()[:-9])
    reader = iter(read_frames(tmp_path))
    next(reader), next(reader)
    with pytest.raises(ValueError, match=rf"frame_0002\.{format}: .*damaged"):
        next(reader)


@formats
def test_missing_frames_are_named(tmp_path, format):
    write_frames([random_state() for _ in range(7)], tmp_path, format=format)
    (tmp_path / f"frame_0003.{format}").unlink()
    with pytest.raises(ValueError, match=rf": lacks frame_0003\.{format} of its 7 frames"):
        read_frames(tmp_path)
    for i in (1, 2, 4):
        (tmp_path / f"frame_000{i}.{format}").unlink()
    with pytest.raises(ValueError, match="frame_0001.*frame_0002.*frame_0003.* and 1 more of its"):
        read_frames(tmp_path)


def test_no_frames(tmp_path):
    assert write_frames([], tmp_path / "new") == 0
    assert list(read_frames(tmp_path / "new")) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no frames.json"), ("{", "cannot be read"), ("[]", "not an index"),
        ('{"kind": "cake"}', "not an index"),
        ('{"kind": "taichi_phys frames", "version": 99}', "newer version"),
        ('{"kind": "taichi_phys frames", "version": 1, "format": "ply"}', "is missing or wrong"),
    ],
)  # fmt: skip
def test_bad_indices(tmp_path, text, says):
    if text is not None:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(ValueError, match=says):
        read_frames(tmp_path)


def test_a_state_is_not_a_frame(tmp_path):
    write_frames([random_state()], tmp_path, format="npz")
    with pytest.raises(ValueError, match="holds 'taichi_phys frame', expected"):
        load_state(tmp_path / "frame_0000.npz")
    edit(tmp_path / "frame_0000.npz", drop=["v"])
    with pytest.raises(ValueError, match="frame_0000.npz: lacks v"):
        read_frames(tmp_path)[0]


def test_frames_of_another_run_stay(tmp_path):
    write_frames([random_state()] * 2, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="^folder: .*already holds frames"):
        write_frames([random_state()], tmp_path, format="npz")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@formats
def test_a_stopped_sequence_goes_on(tmp_path, format):
    states = [random_state(time=float(i)) for i in range(5)]
    write_frames(states, tmp_path / "whole", format=format)
    stopped = tmp_path / "stopped"
    assert write_frames(states[:3], stopped, format=format) == 3
    assert write_frames(states[2:], stopped, format=format, start=2) == 5
    one, two = ({p.name: p.read_bytes() for p in d.iterdir()} for d in tmp_path.iterdir())
    assert one == two and len(one) == 6
    assert write_frames(states[:1], stopped, format=format, start=1) == 2
    assert [frame.time for frame in read_frames(stopped)] == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"^start: got 3 with format .* but .* holds 2 frames"):
        write_frames(states, stopped, format=format, start=3)
    other = {"ply": "npz", "npz": "ply"}[format]
    with pytest.raises(ValueError, match=f"^start: .* frames in format '{format}'"):
        write_frames(states, stopped, format=other, start=2)
    with pytest.raises(ValueError, match="no frames.json"):
        write_frames(states, tmp_path / "nothing", start=2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"start": -1}, "start"), ({"start": 0.5}, "start"), ({"format": "obj"}, "format"),
        ({"fps": 0}, "fps"), ({"fps": "a"}, "fps"),
        ({"fps": float("inf")}, "fps"), ({"states": 3}, "states"), ({"states": [3]}, "states"),
        ({"scalars": lambda s: 3}, "scalars"), ({"scalars": lambda s: {"x": s.x[:, 0]}}, "scalars"),
        ({"scalars": lambda s: {"a" if s.time else "b": s.x[:, 0]}}, "scalars"),
    ],
)  # fmt: skip
def test_bad_sequences(tmp_path, change, named):
    states = [random_state(), random_state(time=0.0)]
    given = {"states": states, "folder": tmp_path, **change}
    with pytest.raises(ValueError, match=rf"^{named}: "):
        write_frames(given.pop("states"), given.pop("folder"), **given)


def test_names_that_npz_cannot_take(tmp_path):
    for name in ("file", "kind", "F"):
        with pytest.raises(ValueError, match="^scalars: "):
            write_frames([random_state()], tmp_path, format="npz",
                         scalars=lambda s: {name: s.x[:, 0]})  # fmt: skip  # noqa: B023


@formats
def test_a_run_that_fails_leaves_whole_frames(tmp_path, format):
    def states():
        yield random_state()
        yield random_state()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(states(), tmp_path, format=format)
    assert len(list(read_frames(tmp_path))) == 2


def test_interrupting_the_writing_leaves_whole_frames(tmp_path):
    """A process that is stopped somewhere in the middle, often within a file."""
    script = (
        "import sys, torch, taichi_phys as tp; from taichi_phys.io.states import write_frames\n"
        "z = torch.zeros(200_000, 3); m = torch.zeros(200_000, 3, 3)\n"
        "s = tp.State(x=z, v=z, C=m, F=m)\n"
        "write_frames((s for _ in range(200)), sys.argv[1], format='npz')\n"
    )
    folder = tmp_path / "frames"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        wait_for((folder / "frame_0003.npz").exists, process)
        interrupt(process)
        assert process.wait() != 0
    finally:
        process.kill()
    frames = read_frames(folder)
    assert len(frames) >= 3
    assert all(len(frame.x) == 200_000 for frame in frames)
    assert not leftovers(folder)
