"""Files for ParaView: points, vertices, arrays and times, read back by hand."""

import base64
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

import taichi_phys as tp


TYPES = {"Float32": "<f4", "Float64": "<f8", "Int64": "<i8", "UInt8": "u1", "Int32": "<i4"}


def states(n=7, frames=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    return [
        tp.State(x=draw(n, 3), v=draw(n, 3), C=draw(n, 3, 3), F=draw(n, 3, 3),
                 plastic=draw(n), time=0.1 * i)
        for i in range(frames)
    ]  # fmt: skip


def numbers(element):
    raw = base64.b64decode(element.text)
    assert int(np.frombuffer(raw[:8], "<u8")[0]) == len(raw) - 8
    flat = np.frombuffer(raw[8:], TYPES[element.get("type")])
    return flat.reshape(-1, int(element.get("NumberOfComponents", 1)))


def contents(path):
    piece = ET.parse(path).getroot().find("PolyData/Piece")
    n = int(piece.get("NumberOfPoints"))
    arrays = {a.get("Name"): numbers(a) for a in piece.iter("DataArray")}
    assert int(piece.get("NumberOfVerts")) == n
    assert arrays["connectivity"].ravel().tolist() == list(range(n))
    assert arrays["offsets"].ravel().tolist() == list(range(1, n + 1))
    return arrays


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_written_with_all_arrays_and_times(tmp_path, dtype):
    made = states(dtype=dtype)
    assert tp.write_vtk(iter(made), tmp_path / "out") == 3
    sets = list(ET.parse(tmp_path / "out" / "frames.pvd").getroot().iter("DataSet"))
    assert [float(s.get("timestep")) for s in sets] == [s.time for s in made]
    for state, entry in zip(made, sets, strict=True):
        path = tmp_path / "out" / entry.get("file")
        arrays = contents(path)
        for name, key in (("Points", "x"), ("v", "v"), ("F", "F"), ("plastic", "plastic")):
            expected = getattr(state, key).numpy().reshape(7, -1)
            assert arrays[name].dtype == expected.dtype and (arrays[name] == expected).all()
        time = ET.parse(path).getroot().find("PolyData/FieldData/DataArray")
        assert numbers(time).item() == state.time


def test_frames_of_a_folder_become_vtk(tmp_path):
    made = states()
    tp.write_frames(made, tmp_path / "ply", scalars=lambda s: {"heat": s.plastic})
    assert tp.write_vtk(tp.read_frames(tmp_path / "ply"), tmp_path / "vtk") == 3
    arrays = contents(tmp_path / "vtk" / "frame_0002.vtp")
    np.testing.assert_array_equal(arrays["heat"].ravel(), made[2].plastic.numpy())
    np.testing.assert_array_equal(arrays["v"], made[2].v.numpy())


def test_bad_frames_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"^frames: got int"):
        tp.write_vtk([1], tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^folder: .*is a file"):
        tp.write_vtk(states(), tmp_path / "file")
