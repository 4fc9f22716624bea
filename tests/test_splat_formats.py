"""Files of Gaussians that other programs write, packed here by hand."""

import gzip
import io
import json
import math
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from test_splat_files import names_of, rewrite, same, some

from renderers.splats.files import ANTIALIASED, load_gaussians, load_splats, save_gaussians
from renderers.splats.gaussians import SH_DEGREE_0, Gaussians
from taichi_phys.rotations import rotation_matrix


def scene(degree=0, count=300):
    """Gaussians within the ranges that bytes can hold."""
    g = some(count, degree=degree)
    generator = torch.Generator().manual_seed(1)
    rgb = torch.rand(count, 3, generator=generator)
    sh = (0.4 * g.sh).clamp(-0.9, 0.9)
    sh[:, 0] = (rgb - 0.5) / SH_DEGREE_0
    scales = torch.exp(-1 - 6 * torch.rand(count, 3, generator=generator))
    return Gaussians(means=g.means, quats=g.quats, scales=scales, opacities=g.opacities, sh=sh)


def numbers(gaussians):
    values = {name: value.double().numpy() for name, value in vars(gaussians).items()}
    values["quats"] /= np.linalg.norm(values["quats"], axis=1, keepdims=True)
    return values


def close(loaded, true, *, means, log_scales, turn, opacities, first, rest):
    """The largest errors that a format's steps allow; turn: of the entries of rotations."""
    assert len(loaded) == len(true) and loaded.degree == true.degree
    assert (loaded.means - true.means).abs().max() <= means
    assert (loaded.scales.log() - true.scales.log()).abs().max() <= log_scales
    turned = rotation_matrix(loaded.quats) - rotation_matrix(true.quats)
    assert turned.abs().max() <= turn
    assert (loaded.opacities - true.opacities).abs().max() <= opacities
    assert (loaded.sh[:, 0] - true.sh[:, 0]).abs().max() <= first
    assert true.degree == 0 or (loaded.sh[:, 1:] - true.sh[:, 1:]).abs().max() <= rest


# .spz


def spz_quat(quat, version):
    w, x, y, z = quat
    xyzw = np.array([x, y, z, w])
    if version == 2:
        xyz = xyzw[:3] * np.sign(w) * 127.5 + 127.5
        return bytes(np.round(xyz).astype(np.uint8))
    largest = int(np.abs(xyzw).argmax())
    xyzw = xyzw * np.sign(xyzw[largest])
    word = largest
    for value in np.delete(xyzw, largest):
        size = int(511 * abs(value) * math.sqrt(2) + 0.5)
        word = word << 10 | (value < 0) << 9 | size
    return struct.pack("<I", word)


def spz_bytes(gaussians, version, flags=0):
    g, n = numbers(gaussians), len(gaussians)
    fixed = np.round(g["means"] * 4096).astype(np.int32)
    streams = [
        b"".join(struct.pack("<i", value)[:3] for value in fixed.flat),
        bytes(np.round(255 * g["opacities"]).astype(np.uint8)),
        bytes((g["sh"][:, 0] * 0.15 * 255 + 127.5).round().clip(0, 255).astype(np.uint8)),
        bytes(((np.log(g["scales"]) + 10) * 16).round().astype(np.uint8)),
        b"".join(spz_quat(quat, version) for quat in g["quats"]),
        bytes((g["sh"][:, 1:] * 128 + 128).round().clip(0, 255).astype(np.uint8)),
    ]
    head = struct.pack("<4s2I4B", b"NGSP", version, n, gaussians.degree, 12, flags, 0)
    if version < 4:
        return gzip.compress(head + b"".join(streams))
    zstandard = pytest.importorskip("zstandard")
    packed = [zstandard.ZstdCompressor().compress(stream) for stream in streams]
    extension = b"12345678"  # is skipped
    at = 32 + len(extension)
    table = b"".join(
        struct.pack("<2Q", len(p), len(s)) for p, s in zip(packed, streams, strict=True)
    )
    head = head[:15] + bytes([len(streams)]) + struct.pack("<I", at) + bytes(12)
    return head + extension + table + b"".join(packed)


@pytest.mark.parametrize("degree", [0, 2, 4])
@pytest.mark.parametrize("version", [2, 3, 4])
def test_spz(tmp_path, version, degree):
    gaussians = scene(degree)
    (tmp_path / "a.spz").write_bytes(spz_bytes(gaussians, version, flags=version == 3))
    loaded = load_splats(tmp_path / "a.spz")
    close(
        loaded.gaussians, gaussians, means=0.51 / 4096, log_scales=0.51 / 16,
        turn=0.2 if version == 2 else 0.01, opacities=0.51 / 255, first=0.51 / 255 / 0.15,
        rest=0.51 / 128,
    )  # fmt: skip
    assert loaded.antialiased == (version == 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("version", [3, 4])
def test_damaged_spz_is_one_sentence(tmp_path, version):
    data = spz_bytes(scene(1, 20), version)
    path = tmp_path / "a.spz"
    for cut in [*range(4, len(data) - 1, 7)]:
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"a\.spz: ") as caught:
            load_gaussians(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(gzip.compress(struct.pack("<4s2I4B", b"NGSP", 9, 1, 0, 12, 0, 0)))
    with pytest.raises(ValueError, match=r"got \.spz version 9 of degree 0, expected version 2, 3"):
        load_gaussians(path)


# .ksplat


def ksplat_bytes(gaussians, level):
    """Two sections; in the compressed levels each has one full bucket and one that is not."""
    g, n, degree = numbers(gaussians), len(gaussians), gaussians.degree
    sections, bodies = [], []
    for rows in (np.arange(n // 2), np.arange(n // 2, n)):
        capacity, block = 100, 5.0
        full, left = divmod(len(rows), capacity)
        sizes = [capacity] * full + [left] * (left > 0)
        position, shape, rest = (("<f4",) * 3, ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))[level]
        groups = np.split(rows, np.cumsum(sizes)[:-1])
        centers = np.array([g["means"][group].mean(axis=0) for group in groups], np.float32)
        means = g["means"][rows]
        if level:
            means = means - np.repeat(centers, sizes, axis=0)
            means = np.round(means / (block / 2) * 32767 + 32767).clip(0, 65535)
        parts = [means.astype(position), g["scales"][rows].astype(shape)]
        parts.append(g["quats"][rows].astype(shape))
        rgba = np.column_stack([g["sh"][rows, 0] * SH_DEGREE_0 + 0.5, g["opacities"][rows]])
        parts.append(np.round(255 * rgba).astype(np.uint8))
        start = 1
        for band in range(1, degree + 1):
            values = g["sh"][rows, start : start + 2 * band + 1].transpose(0, 2, 1)
            values = values.reshape(len(rows), -1)
            if level == 2:
                values = np.round((values + 1.5) / 3 * 255)
            parts.append(values.astype(rest))
            start += 2 * band + 1
        records = b"".join(b"".join(part[i].tobytes() for part in parts) for i in range(len(rows)))
        partial = [left] * (left > 0) if level else []
        storage = struct.pack(f"<{len(partial)}I", *partial)
        storage += centers.tobytes() if level else b""
        header = bytearray(1024)
        struct.pack_into("<4I", header, 0, len(rows), len(rows), capacity, len(sizes))
        struct.pack_into("<fH", header, 16, block, 12 if level else 0)
        struct.pack_into("<I", header, 24, 32767)
        struct.pack_into("<2IH", header, 32, full, len(partial), degree)
        sections.append(bytes(header))
        bodies.append(storage + records)
    main = bytearray(4096)
    struct.pack_into("<2B", main, 0, 0, 1)
    struct.pack_into("<4I", main, 4, 2, 2, n, n)
    struct.pack_into("<H", main, 20, level)
    struct.pack_into("<2f", main, 36, -1.5, 1.5)
    return bytes(main) + b"".join(sections) + b"".join(bodies)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_ksplat(tmp_path, level, degree):
    gaussians = scene(degree)
    gaussians.means.clamp_(-1.2, 1.2)
    (tmp_path / "a.ksplat").write_bytes(ksplat_bytes(gaussians, level))
    close(
        load_gaussians(tmp_path / "a.ksplat"), gaussians,
        means=1e-6 if not level else 0.51 * 2.5 / 32767 + 1e-6,
        log_scales=1e-6 if not level else 1e-3, turn=1e-5 if not level else 5e-3,
        opacities=0.51 / 255, first=0.51 / 255 / SH_DEGREE_0,
        rest=(1e-6, 1e-3, 0.51 * 3 / 255)[level],
    )  # fmt: skip


def test_damaged_ksplat_is_one_sentence(tmp_path):
    data = ksplat_bytes(scene(1, 20), 1)
    for cut in (1, 30, 4096, 5000, 6140, 6150, len(data) - 1):
        (tmp_path / "a.ksplat").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"a\.ksplat: a damaged or incomplete"):
            load_gaussians(tmp_path / "a.ksplat")
    (tmp_path / "a.ksplat").write_bytes(b"\1" + data[1:])
    with pytest.raises(ValueError, match=r"a\.ksplat: got \.ksplat version 1\.1"):
        load_gaussians(tmp_path / "a.ksplat")


# SOG


def webp(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "webp", lossless=True, exact=True)
    return stream.getvalue()


def texture(rows):
    """Rows (n, 4) as a picture of 20 pixels in width."""
    height = -(-len(rows) // 20)
    pixels = np.zeros((height * 20, 4), np.uint8)
    pixels[: len(rows)] = rows
    return webp(pixels.reshape(height, 20, 4))


def nearest(codebook, values):
    return np.abs(values[..., None] - codebook).argmin(axis=-1)


def sog_files(gaussians, version):
    g, n = numbers(gaussians), len(gaussians)
    stretched = np.sign(g["means"]) * np.log1p(np.abs(g["means"]))
    low, high = stretched.min(axis=0), stretched.max(axis=0)
    word = np.round((stretched - low) / (high - low) * 65535).astype(int)
    opaque = np.full((n, 1), 255)
    quats = []
    for quat in g["quats"]:
        largest = int(np.abs(quat).argmax())
        rest = np.delete(quat * np.sign(quat[largest]), largest) * math.sqrt(2)
        quats.append([*np.round((rest + 1) / 2 * 255), 252 + largest])
    logs, first = np.log(g["scales"]), g["sh"][:, 0]
    meta = {"means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["l.webp", "u.webp"]}}
    meta["quats"] = {"files": ["q.webp"]}
    files = {
        "l.webp": texture(np.column_stack([word & 255, opaque])),
        "u.webp": texture(np.column_stack([word >> 8, opaque])),
        "q.webp": texture(np.array(quats)),
    }
    if version == 2:
        books = [np.linspace(values.min(), values.max(), 256) for values in (logs, first)]
        scale, color = (nearest(*pair) for pair in zip(books, (logs, first), strict=True))
        alpha = np.round(255 * g["opacities"])
        limits = [{"codebook": book.tolist()} for book in books]
        meta |= {"version": 2, "count": n, "model": "antialiased"}
    else:
        four = np.column_stack([first, np.log(g["opacities"] / (1 - g["opacities"]))])
        ends = [(values.min(axis=0), values.max(axis=0)) for values in (logs, four)]
        scale = np.round((logs - ends[0][0]) / (ends[0][1] - ends[0][0]) * 255)
        color = np.round((four - ends[1][0]) / (ends[1][1] - ends[1][0]) * 255)
        color, alpha = color[:, :3], color[:, 3]
        limits = [{"mins": a.tolist(), "maxs": b.tolist()} for a, b in ends]
        meta["means"]["shape"] = [n, 3]
    meta["scales"] = limits[0] | {"files": ["s.webp"]}
    meta["sh0"] = limits[1] | {"files": ["c.webp"]}
    files["s.webp"] = texture(np.column_stack([scale, opaque]))
    files["c.webp"] = texture(np.column_stack([color, alpha]))
    if gaussians.degree:
        rest = g["sh"][:, 1:]  # every Gaussian has an entry of its own in the palette
        count = rest.shape[1]
        book = np.linspace(rest.min(), rest.max(), 256)
        rows = -(-n // 64)
        palette = np.zeros((rows * 64, count, 4), np.uint8)
        palette[:n, :, :3], palette[..., 3] = nearest(book, rest), 255
        label = np.arange(n)
        files["p.webp"] = webp(palette.reshape(rows, 64 * count, 4))
        files["b.webp"] = texture(np.column_stack([label & 255, label >> 8, 0 * label, opaque]))
        meta["shN"] = {"count": n, "bands": gaussians.degree, "files": ["p.webp", "b.webp"]}
        ends = {"mins": float(book[0]), "maxs": float(book[-1])}
        meta["shN"] |= {"codebook": book.tolist()} if version == 2 else ends
    files["meta.json"] = json.dumps(meta).encode()
    return files


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("loose", [False, True], ids=["archive", "folder"])
def test_sog(tmp_path, version, degree, loose):
    gaussians = scene(degree)
    gaussians.opacities.clamp_(0.02, 0.98)
    files = sog_files(gaussians, version)
    path = tmp_path / ("meta.json" if loose else "a.sog")
    if loose:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    loaded = load_splats(path)
    close(
        loaded.gaussians, gaussians, means=1e-3, log_scales=0.02, turn=0.02, opacities=0.01,
        first=0.02, rest=0.01,
    )  # fmt: skip
    assert loaded.antialiased == (version == 2)


def test_damaged_sog_is_one_sentence(tmp_path):
    files = sog_files(scene(1, 30), 2)
    path = tmp_path / "meta.json"
    for name in files:
        for other, data in files.items():
            (tmp_path / other).write_bytes(data if other != name else data[:12])
        with pytest.raises(ValueError, match=r"meta\.json: a damaged or incomplete SOG file"):
            load_gaussians(path)


# .ply of other programs


@pytest.mark.filterwarnings("error")
def test_flat_gaussians_of_2dgs(tmp_path):
    save_gaussians(tmp_path / "a.ply", some(6))
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", drop=("scale_2",))
    flat = load_gaussians(tmp_path / "b.ply")
    torch.testing.assert_close(flat.scales[:, :2], some(6).scales[:, :2], rtol=1e-5, atol=0)
    assert (flat.scales[:, 2] < 2e-6 * flat.scales[:, :2].amax(dim=1)).all()


def test_colors_in_bytes_of_nerfstudio(tmp_path):
    save_gaussians(tmp_path / "a.ply", some(6, degree=0))
    order = [name for name in names_of(0) if not name.startswith("f_dc")]
    rgb = {"red": [0, 51, 102, 153, 204, 255], "green": 255, "blue": 0}
    rewrite(
        tmp_path / "a.ply", tmp_path / "b.ply", order=[*order, *rgb], values=rgb,
        types={name: "u1" for name in rgb},
    )  # fmt: skip
    colors = load_gaussians(tmp_path / "b.ply").colors()
    expected = torch.tensor([[k / 5, 1.0, 0.0] for k in range(6)])
    torch.testing.assert_close(colors, expected, atol=1e-6, rtol=0)


def test_the_filter_of_mip_splatting_widens_and_dims(tmp_path):
    """At the same total light: opacity times the product of the scales stays."""
    gaussians = some(6, degree=0)
    save_gaussians(tmp_path / "a.ply", gaussians)
    order = [*names_of(0), "filter_3D"]
    rewrite(tmp_path / "a.ply", tmp_path / "b.ply", order=order, values={"filter_3D": 0.03})
    loaded = load_gaussians(tmp_path / "b.ply")
    wide = (gaussians.scales**2 + 0.03**2).sqrt()
    torch.testing.assert_close(loaded.scales, wide, rtol=1e-4, atol=0)
    light = [g.opacities * g.scales.prod(dim=1) for g in (gaussians, loaded)]
    torch.testing.assert_close(light[1], light[0], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(
    ("comment", "told"),
    [(ANTIALIASED, True), ("antialiased 1", True), ("antialiased 0", False), ("made by x", False)],
)
def test_a_comment_tells_of_antialiasing(tmp_path, comment, told):
    """Brush writes the first one, PostShot the second."""
    save_gaussians(tmp_path / "a.ply", some(4), comments=[comment])
    loaded = load_splats(tmp_path / "a.ply")
    same(loaded.gaussians, some(4))
    assert loaded.antialiased == told


def test_a_high_degree_is_clamped_on_request(tmp_path):
    with pytest.warns(UserWarning, match="colors have degree 4, which most other programs do not"):
        save_gaussians(tmp_path / "a.ply", some(4, degree=4))
    save_gaussians(tmp_path / "b.ply", some(4, degree=4), degree=3)
    loaded = load_gaussians(tmp_path / "b.ply")
    assert loaded.degree == 3 and torch.equal(loaded.sh, some(4, degree=4).sh[:, :16])
    assert (tmp_path / "b.ply").read_bytes().count(b"property float f_rest_") == 45
    save_gaussians(tmp_path / "c.ply", some(4, degree=1), degree=3)
    assert load_gaussians(tmp_path / "c.ply").degree == 1
