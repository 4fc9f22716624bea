"""Gaussians in files: written and read back, packed by hand, damaged."""

import math
import os
import random
import struct

import numpy as np
import plyfile
import pytest
import torch

from renderers.splats.files import load_gaussians, save_gaussians
from renderers.splats.gaussians import SH_DEGREE_0, Gaussians
from taichi_phys.rotations import rotation_matrix


def some(n=40, degree=1, seed=0, **values):
    g = torch.Generator().manual_seed(seed)
    fields = dict(
        means=torch.randn(n, 3, generator=g),
        quats=3 * torch.randn(n, 4, generator=g),
        scales=torch.exp(3 * torch.randn(n, 3, generator=g) - 4),
        opacities=torch.rand(n, generator=g),
        sh=torch.randn(n, (degree + 1) ** 2, 3, generator=g),
    )
    return Gaussians(**fields | values)


def names_of(degree):
    rest = [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]
    return (
        ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
        + ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    )  # fmt: skip


def same(a, b):
    """Equal but for the rounding of logarithms and logits in float32."""
    for name in ("means", "quats", "sh"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    # Half a unit in the last place of a logarithm below 32 is 2^-20.
    torch.testing.assert_close(a.scales, b.scales, rtol=2**-19, atol=0)
    torch.testing.assert_close(a.opacities, b.opacities, rtol=2**-19, atol=2**-23)


# The standard file


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.filterwarnings("ignore:.*its colors have degree 4")
def test_what_is_saved_is_loaded(tmp_path, degree):
    gaussians = some(degree=degree)
    save_gaussians(tmp_path / "new" / "a.ply", gaussians)
    loaded = load_gaussians(str(tmp_path / "new" / "a.ply"))
    assert loaded.degree == degree
    assert {getattr(loaded, name).dtype for name in vars(loaded)} == {torch.float32}
    same(gaussians, loaded)


def test_bytes_of_a_file_packed_by_hand(tmp_path):
    """The order of the reference: channel after channel in f_rest, wxyz, logit and logarithm."""
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.5]]),
        quats=torch.tensor([[0.5, -0.5, 0.25, 2.0], [1.0, 0, 0, 0]]),
        scales=torch.tensor([[0.5, 0.125, 2.0], [1e-3, 1.0, 7.0]]),
        opacities=torch.tensor([0.25, 0.5]),
        sh=torch.arange(24.0).reshape(2, 4, 3),
    )
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 2\n"
    header += "".join(f"property float {name}\n" for name in names_of(1)) + "end_header\n"
    rows = [
        [1, 2, 3, 0, 0, 0, 0, 1, 2, 3, 6, 9, 4, 7, 10, 5, 8, 11, math.log(0.25 / 0.75)]
        + [math.log(0.5), math.log(0.125), math.log(2), 0.5, -0.5, 0.25, 2],
        [-4, 5, 6.5, 0, 0, 0, 12, 13, 14, 15, 18, 21, 16, 19, 22, 17, 20, 23, 0]
        + [math.log(float(torch.tensor(1e-3))), 0, math.log(7), 1, 0, 0, 0],
    ]
    body = b"".join(struct.pack("<26f", *row) for row in rows)
    save_gaussians(tmp_path / "a.ply", gaussians)
    assert (tmp_path / "a.ply").read_bytes() == header.encode() + body

    # The reference implementation writes with plyfile.
    records = np.frombuffer(body, [(name, "<f4") for name in names_of(1)])
    element = plyfile.PlyElement.describe(records, "vertex")
    plyfile.PlyData([element], byte_order="<").write(str(tmp_path / "b.ply"))
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    same(load_gaussians(tmp_path / "b.ply"), gaussians)


def test_loaded_and_saved_again(tmp_path):
    """Identical but for activations, whose float32 values do not tell all logits apart."""
    save_gaussians(tmp_path / "a.ply", some(2000, degree=2))
    save_gaussians(tmp_path / "b.ply", load_gaussians(tmp_path / "a.ply"))
    a, b = (plyfile.PlyData.read(str(tmp_path / f"{k}.ply"))["vertex"].data for k in "ab")
    assert a.dtype == b.dtype
    for name in names_of(2):
        if name.startswith("scale"):
            scales = load_gaussians(tmp_path / "a.ply").scales[:, int(name[-1])].numpy()
            assert np.array_equal(scales, np.exp(a[name], dtype="f8").astype("f4"))  # rounded once
            assert np.array_equal(b[name], np.log(scales, dtype="f8").astype("f4"))
            short = np.abs(a[name]) < 1  # half a unit of exp(a) is more than one of a there
            assert 10 < short.sum() < 1000
            assert np.array_equal(a[name][~short], b[name][~short])
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=2**-23)
        elif name != "opacity":
            assert np.array_equal(a[name], b[name]), name
    same(load_gaussians(tmp_path / "a.ply"), load_gaussians(tmp_path / "b.ply"))


def test_loaded_gaussians_do_not_change_with_the_file(tmp_path):
    """plyfile maps the file into memory; only in this order can a tensor be a view of that."""
    save_gaussians(tmp_path / "a.ply", some(1))
    start, rest, end = names_of(1)[:3] + names_of(1)[6:9], names_of(1)[9:18], names_of(1)[18:]
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", order=[*start, *end, *rest])
    loaded = load_gaussians(tmp_path / "b.ply")
    with (tmp_path / "b.ply").open("r+b") as stream:
        stream.write(bytes((tmp_path / "b.ply").stat().st_size))
    same(loaded, some(1))


def test_extreme_opacities_and_scales(tmp_path):
    tiny, below = torch.finfo(torch.float32).tiny, 1 - 2**-24
    opacities = torch.tensor([0.0, 1.0, below, 2**-20, tiny])
    scales = torch.tensor([2e-38, 1e-20, 1.0, 1e20, 3e38])[:, None].repeat(1, 3)
    save_gaussians(tmp_path / "a.ply", some(5, opacities=opacities, scales=scales))
    logits = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]["opacity"]
    assert logits[:2].tolist() == [-40, 40] and np.abs(logits).max() == 40
    loaded = load_gaussians(tmp_path / "a.ply")
    assert loaded.opacities[1] == 1 and loaded.opacities[2] == below
    torch.testing.assert_close(loaded.opacities, opacities, rtol=1e-6, atol=5e-18)
    torch.testing.assert_close(loaded.scales, scales, rtol=1e-5, atol=0)


def test_no_gaussians(tmp_path):
    save_gaussians(tmp_path / "a.ply", some(0, degree=3))
    (tmp_path / "b.ply").write_bytes(compress(some(0, degree=3), colors=True))
    for name in ("a.ply", "b.ply"):
        loaded = load_gaussians(tmp_path / name)
        assert len(loaded) == 0 and loaded.degree == 3


def test_tensors_of_another_kind_are_saved(tmp_path):
    gaussians = some()
    other = {k: v.double().requires_grad_() for k, v in vars(gaussians).items()}
    save_gaussians(tmp_path / "a.ply", Gaussians(**other))
    save_gaussians(tmp_path / "b.ply", gaussians)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def rewrite(source, target, *, drop=(), types=(), values=(), order=None, **kind):
    """Copy a .ply with properties left out, of other types, of other values or in other order."""
    data = plyfile.PlyData.read(str(source))["vertex"].data
    names = [name for name in order or data.dtype.names if name not in drop]
    copy = np.zeros(len(data), [(name, dict(types).get(name, "f4")) for name in names])
    for name in names:
        copy[name] = dict(values).get(name, data[name] if name in data.dtype.names else 7)
    element = plyfile.PlyElement.describe(copy, "vertex")
    plyfile.PlyData([element], **kind).write(str(target))


@pytest.mark.parametrize(
    "change",
    [
        dict(byte_order=">"),
        dict(text=True),
        dict(drop=("nx", "ny", "nz")),
        dict(order=random.Random(0).sample([*names_of(2), "label", "f_dc_3"], 43)),
        dict(types={name: "f8" for name in names_of(2)}, byte_order=">"),
    ],
    ids=["big endian", "ascii", "no normals", "any order and more", "double"],
)
def test_other_standard_files(tmp_path, change):
    gaussians = some(degree=2)
    save_gaussians(tmp_path / "a.ply", gaussians)
    rewrite(tmp_path / "a.ply", tmp_path / "b", **change)
    same(load_gaussians(tmp_path / "b"), gaussians)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(drop=("opacity", "rot_2")), "lacks the float32 properties opacity, rot_2$"),
        (dict(drop=("x", "f_rest_4")), "got 8 properties f_rest_.*one of .0, 9, 24, 45, 72.$"),
        (dict(values={"y": math.nan, "f_rest_7": -math.inf}), "none of its 4 Gaussians can be dr"),
        (dict(types={"x": "f8"}, values={"x": 1e300}), "none of its 4 Gaussians can be drawn"),
        (dict(order=["x", "y", "z", "nx", "red"]), "a mesh or point cloud, not Gaussians"),
    ],
)  # fmt: skip
def test_standard_files_that_do_not_hold_gaussians(tmp_path, change, message):
    save_gaussians(tmp_path / "a.ply", some(4))
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", **change)
    with pytest.raises(ValueError, match=f"b.ply: .*{message}"):
        load_gaussians(tmp_path / "b.ply")


@pytest.mark.parametrize(
    "values, kept",
    [
        ({"y": [0, math.nan, 0, 0], "f_rest_7": [0, 0, 0, -math.inf]}, [0, 2]),
        ({f"rot_{i}": [1, 1, 0, 1] for i in range(4)}, [0, 1, 3]),
        ({"scale_1": [0, 99, math.inf, 0]}, [0, 3]),
        ({"opacity": [0, 0, math.nan, 0]}, [0, 1, 3]),
        ({f"scale_{i}": [-math.inf, 0, 0, 0] for i in range(3)}, [1, 2, 3]),
    ],
)
def test_rows_that_cannot_be_drawn_are_left_out_and_counted(tmp_path, values, kept):
    save_gaussians(tmp_path / "a.ply", some(4))
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", values=values)
    with pytest.warns(UserWarning, match=f"b.ply: left out {4 - len(kept)} of 4 Gaussians that"):
        loaded = load_gaussians(tmp_path / "b.ply")
    assert torch.equal(loaded.means[:, 0], some(4).means[kept, 0])


@pytest.mark.filterwarnings("error")
def test_infinite_logits_and_logarithms_are_numbers(tmp_path):
    """PlayCanvas' tools write an opacity of 1 as infinity; exp(-200) is 0 in float32."""
    save_gaussians(tmp_path / "a.ply", some(4))
    values = {"opacity": [math.inf, -math.inf, 0, 0], "scale_1": [-math.inf, -200, 0, 0]}
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", values=values)
    loaded = load_gaussians(tmp_path / "b.ply")
    assert loaded.opacities[:3].tolist() == [1, 0, 0.5]
    largest = some(4).scales[:2, [0, 2]].amax(dim=1)
    torch.testing.assert_close(loaded.scales[:2, 1], 1e-6 * largest, rtol=1e-3, atol=0)


def test_a_comment_may_have_any_character(tmp_path):
    save_gaussians(tmp_path / "a.ply", some(4))
    data = (tmp_path / "a.ply").read_bytes()
    text = "comment Größe in Metern\nelement vertex".encode()
    (tmp_path / "b.ply").write_bytes(data.replace(b"element vertex", text, 1))
    same(load_gaussians(tmp_path / "b.ply"), some(4))


def test_f_rest_with_a_gap(tmp_path):
    save_gaussians(tmp_path / "a.ply", some(4))
    text = (tmp_path / "a.ply").read_bytes().replace(b"float f_rest_8\n", b"float f_rest_9\n")
    (tmp_path / "a.ply").write_bytes(text)
    with pytest.raises(ValueError, match="a.ply: lacks the float32 properties f_rest_8$"):
        load_gaussians(tmp_path / "a.ply")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.ply"
    save_gaussians(path, some())
    before = path.read_bytes()
    large = Gaussians(**vars(some()) | {"means": torch.full((40, 3), 1e300, dtype=torch.float64)})
    with pytest.raises(ValueError, match="a.ply: means: got 120 values that are NaN or infinite"):
        save_gaussians(path, large)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ValueError, match="a.ply: cannot be written .No space left on device"):
        save_gaussians(path, some(seed=1))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ply"]
    with pytest.raises(ValueError, match="a.splat: expected a name ending in .ply"):
        save_gaussians(tmp_path / "a.splat", some())
    with pytest.raises(ValueError, match="cannot be written"):
        save_gaussians(path / "b.ply", some())


# SuperSplat's compressed file: an encoder that goes through the Gaussians one by one


def pack(values, bits):
    """Fractions 0 to 1 into one integer, the first in the highest bits."""
    word = 0
    for value, width in zip(values, bits, strict=True):
        word = word << width | math.floor(value * (2**width - 1) + 0.5)
    return word


def pack_quat(quat):
    quat = quat / np.linalg.norm(quat)
    largest = int(np.abs(quat).argmax())
    rest = np.delete(quat * np.sign(quat[largest]), largest)
    return largest << 30 | pack(rest * math.sqrt(0.5) + 0.5, (10, 10, 10))


def compress(gaussians, *, colors):
    """The bytes of a compressed .ply; with colors the chunks hold the ranges of the colours."""
    g = {name: value.double().numpy() for name, value in vars(gaussians).items()}
    n, rest = len(gaussians), 3 * (gaussians.sh.shape[1] - 1)
    logs, rgb = np.log(g["scales"]), 0.5 + SH_DEGREE_0 * g["sh"][:, 0]
    chunks, vertices = [], []
    for start in range(0, n, 256):
        part = slice(start, start + 256)
        limits = [(a[part].min(0), a[part].max(0)) for a in (g["means"], logs, rgb)]
        limits = np.array(limits, np.float32)
        chunks.append(struct.pack("<18f" if colors else "<12f", *limits.flat[: 12 + 6 * colors]))
        if not colors:
            limits[2] = [[0] * 3, [1] * 3]
        for i in range(start, min(start + 256, n)):
            position, scale, color = (
                ((value[i] - low) / (high - low)).clip(0, 1)
                for value, (low, high) in zip((g["means"], logs, rgb), limits, strict=True)
            )
            vertices.append(
                struct.pack(
                    "<4I",
                    pack(position, (11, 10, 11)),
                    pack_quat(g["quats"][i]),
                    pack(scale, (11, 10, 11)),
                    pack([*color, g["opacities"][i]], (8, 8, 8, 8)),
                )
            )
    axes = [*"xyz", *(f"scale_{k}" for k in "xyz"), *(["r", "g", "b"] if colors else [])]
    limits = [
        f"{end}_{name}"
        for k in range(0, len(axes), 3)
        for end in ("min", "max")
        for name in axes[k : k + 3]
    ]
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks)}"]
    lines += [f"property float {name}" for name in limits] + [f"element vertex {n}"]
    lines += [f"property uint packed_{k}" for k in ("position", "rotation", "scale", "color")]
    tail = b""
    if rest:
        lines += [f"element sh {n}"] + [f"property uchar f_rest_{i}" for i in range(rest)]
        levels = np.trunc((g["sh"][:, 1:].transpose(0, 2, 1).reshape(n, rest) / 8 + 0.5) * 256)
        tail = levels.clip(0, 255).astype(np.uint8).tobytes()
    header = "\n".join([*lines, "end_header\n"]).encode()
    return header + b"".join(chunks) + b"".join(vertices) + tail


@pytest.mark.parametrize("colors", [True, False], ids=["colour ranges", "colours 0 to 1"])
@pytest.mark.parametrize("degree", range(4))
def test_compressed_file(tmp_path, degree, colors):
    """Three chunks, the last one not full; all within half a step of the quantisation."""
    gaussians = some(600, degree=degree, seed=degree)
    gaussians.means[:] += 10 * torch.arange(600.0)[:, None] // 256  # chunks far apart
    gaussians.sh[:, 0] = (
        torch.rand(600, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    ) / SH_DEGREE_0
    gaussians.sh[:, 1:] *= 2  # some beyond the +-4 that the format holds
    (tmp_path / "a.compressed.ply").write_bytes(compress(gaussians, colors=colors))
    loaded = load_gaussians(tmp_path / "a.compressed.ply")
    assert loaded.degree == degree
    steps = torch.tensor([2047, 1023, 2047])
    for k in range(0, 600, 256):
        part = slice(k, k + 256)
        for of in (lambda g: g.means, lambda g: g.scales.log()):
            true, found = of(gaussians)[part], of(loaded)[part]
            half = 0.5 * (true.amax(0) - true.amin(0)) / steps
            assert ((found - true).abs() <= 1.01 * half + 1e-5).all()
    half = 0.5 * math.sqrt(2) / 1023  # of one of three components; turns are twice as large
    turns = rotation_matrix(loaded.quats) - rotation_matrix(gaussians.quats)
    assert turns.abs().max() < 2 * math.sqrt(6) * half
    torch.testing.assert_close(loaded.quats.norm(dim=1), torch.ones(600))
    for of in (lambda g: g.opacities, Gaussians.colors):
        assert (of(loaded) - of(gaussians)).abs().max() < 0.501 / 255
    true = gaussians.sh[:, 1:].clamp(-4, 4)
    half = torch.where(true.abs() > 4 - 1 / 32, 1 / 32, 1 / 64)  # the outer bins are read at +-4
    assert ((loaded.sh[:, 1:] - true).abs() <= half + 1e-6).all()


def test_compressed_words_by_hand(tmp_path):
    """One quaternion for each largest component, and one longer than a quaternion can be."""
    middle = 512 << 20 | 256 << 10 | 1023
    data = compress(some(5), colors=False)
    head = data.index(b"end_header\n") + len(b"end_header\n")
    limits = [1, 2, 3, 3, 6, 11, -1, -2, -3, 1, 2, 3]
    quats = [k << 30 | middle for k in range(4)] + [2**30 - 1]
    vertices = [(2047 << 21, q, 1023 << 11 | 2047, 255 << 16 | k) for k, q in enumerate(quats)]
    levels = bytes([0, 255, 128, 1, *range(60, 101)])
    body = struct.pack("<12f", *limits) + b"".join(struct.pack("<4I", *v) for v in vertices)
    (tmp_path / "a.ply").write_bytes(data[:head] + body + levels)
    g = load_gaussians(tmp_path / "a.ply")
    assert torch.equal(g.means, torch.tensor([[3.0, 2.0, 3.0]]).repeat(5, 1))
    expected = torch.tensor([-1.0, 2.0, 3.0]).exp().repeat(5, 1)
    torch.testing.assert_close(g.scales, expected)
    torch.testing.assert_close(g.opacities, torch.arange(5) / 255)
    torch.testing.assert_close(0.5 + SH_DEGREE_0 * g.sh[:, 0], torch.eye(3)[1].repeat(5, 1))
    a, b, c = ((k / 1023 - 0.5) * math.sqrt(2) for k in (512, 256, 1023))
    m = math.sqrt(1 - a * a - b * b - c * c)
    expected = [[m, a, b, c], [a, m, b, c], [a, b, m, c], [a, b, c, m]]
    expected.append([0] + 3 * [math.sqrt(0.5)])
    torch.testing.assert_close(g.quats, torch.tensor(expected))
    # Channel after channel: bytes 0, 3, 6 of a Gaussian are the first coefficient of r, g, b.
    torch.testing.assert_close(g.sh[0, 1], torch.tensor([-4.0, -4 + 1.5 / 32, -4 + 62.5 / 32]))
    torch.testing.assert_close(g.sh[0, 2], torch.tensor([4.0, -4 + 60.5 / 32, -4 + 63.5 / 32]))


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"float max_scale_y", b"float other", "lacks the float32 properties max_scale_y$"),
        (b"uint packed_scale", b"float packed_scale", "lacks the uint32 properties packed_scale$"),
        (b"float max_g", b"float other", "lacks the float32 properties max_g$"),
        (b"element chunk", b"element block", "got 0 chunks, expected 2 for 300 Gaussians"),
        (b"uchar f_rest_3", b"uchar other", "got 8 properties f_rest"),
        (b"element vertex 300", b"element vertex 512", "damaged or incomplete"),
    ],
)
def test_damaged_compressed_files(tmp_path, old, new, message):
    data = compress(some(300), colors=True)
    assert data.count(old) == 1
    (tmp_path / "a.ply").write_bytes(data.replace(old, new))
    with pytest.raises(ValueError, match=f"a.ply: .*{message}"):
        load_gaussians(tmp_path / "a.ply")


def test_compressed_file_with_nan_or_too_few_chunks(tmp_path):
    data = compress(some(300), colors=False)
    head = data.index(b"end_header\n") + len(b"end_header\n")
    (tmp_path / "a.ply").write_bytes(data[:head] + struct.pack("<f", math.nan) + data[head + 4 :])
    with pytest.warns(UserWarning, match="left out 256 of 300 Gaussians"):
        assert len(load_gaussians(tmp_path / "a.ply")) == 44
    for name, count, message in [
        (b"element chunk 2", b"element chunk 1", "got 1 chunks, expected 2 for 300"),
        (b"element sh 300", b"element sh 299", "got 299 rows of sh, expected 300"),
    ]:
        (tmp_path / "a.ply").write_bytes(data.replace(name, count))
        with pytest.raises(ValueError, match=f"a.ply: {message}"):
            load_gaussians(tmp_path / "a.ply")


# .splat, and what is no file of Gaussians


def test_splat_file(tmp_path):
    rows = [
        struct.pack("<6f8B", 1, 2, 3, 0.5, 0.25, 4, 255, 0, 51, 102, 255, 128, 64, 0),
        struct.pack("<6f8B", -1, 0, 9, 1e-3, 1, 1, 0, 255, 0, 255, 128, 192, 128, 128),
    ]
    (tmp_path / "a.splat").write_bytes(b"".join(rows))
    g = load_gaussians(tmp_path / "a.splat")
    assert torch.equal(g.means, torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 9.0]]))
    assert torch.equal(g.scales, torch.tensor([[0.5, 0.25, 4.0], [1e-3, 1.0, 1.0]]))
    torch.testing.assert_close(g.opacities, torch.tensor([0.4, 1.0]))
    torch.testing.assert_close(g.colors(), torch.tensor([[1.0, 0, 0.2], [0, 1.0, 0]]))
    assert torch.equal(g.quats, torch.tensor([[127 / 128, 0, -0.5, -1.0], [0, 0.5, 0, 0]]))
    assert g.degree == 0 and g.means.dtype == torch.float32

    for data, message in [
        (b"", "got 0 bytes, expected a positive multiple of 32"),
        (rows[0][:-1], "got 31 bytes, expected a positive multiple of 32"),
        (struct.pack("<3f", 0, 0, math.inf) + rows[0][12:], "none of its 1 Gaussians can be drawn"),
        (rows[0][:12] + bytes(12) + rows[0][24:], "none of its 1 Gaussians can be drawn"),
    ]:
        (tmp_path / "b.splat").write_bytes(data)
        with pytest.raises(ValueError, match=f"b.splat: {message}"):
            load_gaussians(tmp_path / "b.splat")
    (tmp_path / "b.splat").write_bytes(rows[0] + bytes(32) + rows[1][:28] + bytes([128] * 4))
    with pytest.warns(UserWarning, match="b.splat: left out 2 of 3 Gaussians"):
        assert torch.equal(load_gaussians(tmp_path / "b.splat").means, g.means[:1])


def test_other_files(tmp_path):
    for name, data, message in [
        ("a.ply", b"", "got neither the start of a PLY, .spz or .sog file nor a name ending in"),
        ("a.spz", bytes(64), "got neither the start of a PLY, .spz"),
        ("a.ply", b"ply\nformat ascii 1.0\nend_header\n", "got elements none, expected vertex"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            load_gaussians(tmp_path / name)
    with pytest.raises(ValueError, match="none.ply: cannot be read .No such file"):
        load_gaussians(tmp_path / "none.ply")
    with pytest.raises(ValueError, match="cannot be read .Is a directory"):
        load_gaussians(tmp_path)
    save_gaussians(tmp_path / "a.ply", some())  # its content decides, not its name
    (tmp_path / "a.splat").write_bytes((tmp_path / "a.ply").read_bytes())
    same(load_gaussians(tmp_path / "a.splat"), some())


@pytest.mark.parametrize("kind", ["binary", "ascii", "compressed"])
@pytest.mark.filterwarnings("error")
def test_damage_of_any_kind_is_one_sentence(tmp_path, kind):
    """Cut anywhere, or with bytes of the header exchanged: read, or refused with the path."""
    path = tmp_path / "a.ply"
    save_gaussians(path, some(3))
    if kind == "ascii":
        rewrite(path, path, text=True)
    data = compress(some(3), colors=True) if kind == "compressed" else path.read_bytes()
    rng = random.Random(0)
    head = data.index(b"end_header")
    last = 30 if kind == "ascii" else 1  # a number cut short is still a number
    damaged = [data[:end] for end in range(3, len(data) - last, 7)]
    counts = [b"4", b"-1", b"1e3", b"9" * 13, b"9" * 30]
    damaged += [data.replace(b"vertex 3", b"vertex " + count) for count in counts]
    certain = len(damaged)
    for _ in range(300):
        copy = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            copy[rng.randrange(3, head)] = rng.choice([rng.randrange(256), *b" \n0123456789"])
        damaged.append(bytes(copy))
    for k, text in enumerate(damaged):
        path.write_bytes(text)
        try:
            load_gaussians(path)
            assert k >= certain, text
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
