"""Depth maps as depth cameras, networks and renderers write them."""

import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from inverse.perception import fill_depth, load_depth


SIZE = (60, 40)


def scene():
    """A mask and the depth (m) of a slanted object 2 m away before a wall at 4 m."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    mask = (abs(columns - 30) < 12) & (abs(rows - 20) < 10)
    return mask, np.where(mask, 2 + 0.01 * columns, 4.0)


def write_exr(path, depth, *, compression="zip16", kind="float", pixels="grayf32le"):
    """By ffmpeg, which has a writer of its own."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo"]
    command += ["-pix_fmt", pixels, "-s", f"{SIZE[0]}x{SIZE[1]}", "-i", "-"]
    command += ["-c:v", "exr", "-compression", compression, "-format", kind, str(path)]
    subprocess.run(command, input=depth.astype("<f4").tobytes(), check=True)


def write_color_exr(path, image):
    """An image (H, W, 3) of red, green and blue."""
    write_exr(path, np.moveaxis(image[..., [1, 2, 0]], 2, 0), pixels="gbrpf32le")


def write_colmap(path, depth):
    """As COLMAP's Mat::Write does: a header of text, then floats column by column."""
    head = f"{depth.shape[1]}&{depth.shape[0]}&1&".encode()
    path.write_bytes(head + depth.astype(np.float32).tobytes())


def write_pfm(path, depth):
    head = f"Pf\n{depth.shape[1]} {depth.shape[0]}\n-1.0\n".encode()
    path.write_bytes(head + depth[::-1].astype("<f4").tobytes())


WRITERS = {
    "millimeters.png": lambda p, d: cv2.imwrite(str(p), (1000 * d).round().astype(np.uint16)),
    "three_channels.png": lambda p, d: cv2.imwrite(
        str(p), np.repeat((1000 * d).round().astype(np.uint16)[..., None], 3, axis=2)
    ),
    "meters.npy": lambda p, d: np.save(p, d.astype(np.float32)),
    "millimeters.npy": lambda p, d: np.save(p, (1000 * d).round().astype(np.int32)),
    "half.npy": lambda p, d: np.save(p, d.astype(np.float16)),
    "batch.npy": lambda p, d: np.save(p, d[None, ..., None]),
    "frames.npy": lambda p, d: np.save(p, np.stack([d, d + 1, d + 2])),
    "points.npy": lambda p, d: np.save(p, np.stack([0 * d, 0 * d + 9, d], axis=-1)),
    "depth_pro.npz": lambda p, d: np.savez(p, depth=d, focallength_px=np.float32(50)),
    "one_array.npz": lambda p, d: np.savez(p, d),
    "float.tiff": lambda p, d: cv2.imwrite(str(p), d.astype(np.float32)),
    "pillow.tif": lambda p, d: Image.fromarray(d.astype(np.float32)).save(p),
    "float.pfm": write_pfm,
    "color.pfm": lambda p, d: cv2.imwrite(str(p), np.repeat(d[..., None], 3, 2).astype("f4")),
    "zip.exr": write_exr,
    "zips.exr": lambda p, d: write_exr(p, d, compression="zip1"),
    "rle.exr": lambda p, d: write_exr(p, d, compression="rle"),
    "plain.exr": lambda p, d: write_exr(p, d, compression="none", kind="half"),
    "geometric.bin": write_colmap,
}


@pytest.mark.parametrize("name", WRITERS)
def test_depth_is_read_from(name, tmp_path):
    mask, depth = scene()
    WRITERS[name](tmp_path / name, depth)
    notes = []
    found = load_depth(tmp_path / name, None, mask, notes=notes)
    np.testing.assert_allclose(found[mask], depth[mask], atol=2e-3)
    assert np.isnan(found[~mask]).all()
    assert len(notes) == (name in ("frames.npy", "points.npy"))


def test_a_renderers_channel_z_is_found_among_colors(tmp_path):
    """ffmpeg writes R, G, B; renaming one channel in the header makes it a depth pass."""
    path, (mask, depth) = tmp_path / "pass.exr", scene()
    write_color_exr(path, np.stack([depth, 0 * depth, 0 * depth + 1], axis=-1))
    data = path.read_bytes()
    assert data.count(b"R\0\x02\0\0\0") == 1
    path.write_bytes(data.replace(b"R\0\x02\0\0\0", b"Z\0\x02\0\0\0"))
    np.testing.assert_allclose(load_depth(path, None, mask)[mask], depth[mask], rtol=1e-6)


def test_damaged_and_unreadable_exr_files_are_named(tmp_path):
    path, (mask, depth) = tmp_path / "d.exr", scene()
    write_exr(path, depth)
    data = path.read_bytes()
    for cut in (2, 6, 30, 250, len(data) - 20):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"d\.exr: (damaged|not an OpenEXR)"):
            load_depth(path, None, mask)
    place = data.index(b"compression\0compression\0") + 28
    assert data[place] == 3  # ZIP
    path.write_bytes(data[:place] + b"\4" + data[place + 1 :])
    with pytest.raises(ValueError, match="compression is PIZ, expected ZIP"):
        load_depth(path, None, mask)
    path.write_bytes(data[:4] + b"\2\2\0\0" + data[8:])
    with pytest.raises(ValueError, match="tiles"):
        load_depth(path, None, mask)


@pytest.mark.parametrize("scale, unit", [(1000.0, 1e3), (256.0, 256.0), (100.0, 1e2)])
def test_a_scale_that_is_given_holds_for_all_numbers(scale, unit, tmp_path):
    mask, depth = scene()
    np.save(tmp_path / "d.npy", unit * depth)
    found = load_depth(tmp_path / "d.npy", 5000.0, mask, scale=scale)
    np.testing.assert_allclose(found[mask], depth[mask], rtol=1e-9)
    cv2.imwrite(str(tmp_path / "d.png"), (unit * depth).round().astype(np.uint16))
    found = load_depth(tmp_path / "d.png", 5000.0, mask, scale=scale)
    np.testing.assert_allclose(found[mask], depth[mask], atol=0.51 / unit)


def test_inverse_depth_is_read_if_said_and_hinted_at_if_not(tmp_path):
    mask, depth = scene()
    np.save(tmp_path / "d.npy", 1 / depth)
    found = load_depth(tmp_path / "d.npy", None, mask, inverse=True)
    np.testing.assert_allclose(found[mask], depth[mask], rtol=1e-9)
    notes = []
    load_depth(tmp_path / "d.npy", None, mask, notes=notes)
    assert len(notes) == 1 and "give --inverse-depth" in notes[0]


def test_a_map_of_a_networks_size_is_resized_without_the_wall_behind(tmp_path):
    columns, rows = np.meshgrid(np.arange(640) + 0.5, np.arange(360) + 0.5)
    mask = np.hypot(columns - 300, rows - 170) < 90
    depth = np.where(mask, 2 + 1e-3 * columns, 6.0)
    # 518 wide as networks are, of a height that is a multiple of 14: nearly the proportions.
    small = cv2.resize(depth, (518, 294), interpolation=cv2.INTER_AREA)
    np.save(tmp_path / "d.npy", small)
    notes = []
    found = load_depth(tmp_path / "d.npy", None, mask, notes=notes)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0
    np.testing.assert_allclose(found[inner], depth[inner], atol=0.02)
    assert notes == ["The depth map of 518x294 was resized to the 640x360 of the video."]
    assert (np.abs(found[mask] - depth[mask]) < 0.1).mean() > 0.98
    np.save(tmp_path / "d.npy", cv2.resize(depth, (384, 384)))
    with pytest.raises(ValueError, match="384x384, expected 640x360, .* or its proportions"):
        load_depth(tmp_path / "d.npy", None, mask)


@pytest.mark.parametrize("hole", [0.0, -1.0, np.nan, np.inf])
def test_holes_are_filled_and_said(hole, tmp_path):
    mask, depth = scene()
    holed = depth.copy()
    holed[15:22, 25:33] = hole
    holed[0, 0] = hole
    np.save(tmp_path / "d.npy", holed)
    notes = []
    found = load_depth(tmp_path / "d.npy", None, mask, notes=notes)
    np.testing.assert_allclose(found[mask], depth[mask], rtol=1e-6)
    assert notes == [
        f"56 of {mask.sum()} pixels of the object have no depth in {tmp_path / 'd.npy'}; they were "
        "filled from those around them."
    ]
    holed[:, 20:40] = hole
    np.save(tmp_path / "d.npy", holed)
    with pytest.raises(ValueError, match="380 of 437 pixels inside the mask are zero.*row 11"):
        load_depth(tmp_path / "d.npy", None, mask)


def test_what_is_filled_beyond_the_known_pixels_is_as_deep_as_the_nearest():
    mask, depth = scene()
    known = np.where(np.arange(SIZE[0]) < 30, depth, np.nan)
    filled = fill_depth(known, mask)
    assert np.allclose(filled[mask & (np.arange(SIZE[0]) >= 30)], depth[20, 29])
    with pytest.raises(ValueError, match="none is known"):
        fill_depth(np.full(mask.shape, np.nan), mask)


def colored(depth):
    return cv2.applyColorMap((40 * depth).astype(np.uint8), cv2.COLORMAP_JET)


REFUSED = {
    "gray.png": (lambda p, d: cv2.imwrite(str(p), (40 * d).astype(np.uint8)), "of 8 bits"),
    "gray.jpg": (lambda p, d: cv2.imwrite(str(p), (40 * d).astype(np.uint8)), "of 8 bits"),
    "jet.png": (lambda p, d: cv2.imwrite(str(p), colored(d)), "colored picture"),
    "jet16.png": (
        lambda p, d: cv2.imwrite(str(p), 257 * colored(d).astype(np.uint16)), "colored picture",
    ),
    "stretched.png": (
        lambda p, d: cv2.imwrite(
            str(p), (65535 * (d - d.min()) / np.ptp(d)).round().astype(np.uint16)
        ),
        "fill 0 to 65535.*relative depth",
    ),
    "millimeters.npy": (lambda p, d: np.save(p, 1000 * d), r"2.3e\+03 m away.*--depth-scale"),
    "meters.png": (lambda p, d: cv2.imwrite(str(p), d.astype(np.uint16)), "0.002 m away"),
    "behind.npy": (lambda p, d: np.save(p, -d), "negative.*turn their signs"),
    "two.npz": (lambda p, d: np.savez(p, a=d, b=d), "named 'depth' or only one, got a, b"),
    "cut.npz": (lambda p, d: p.write_bytes(b"PK cut"), "not a readable npz"),
    "cut.bin": (lambda p, d: p.write_bytes(b"60&40&1&" + bytes(40)), "COLMAP"),
    "other.bin": (lambda p, d: p.write_bytes(bytes(100)), "COLMAP"),
    "text.npy": (lambda p, d: np.save(p, np.full(d.shape, "x")), "type <U1, expected numbers"),
    "text.pfm": (lambda p, d: p.write_text("Pf"), "not a readable image"),
    "line.npy": (lambda p, d: np.save(p, d[0]), r"shape is 60, expected \(height, width\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_depth_is_refused_in_a_sentence(name, tmp_path):
    writer, message = REFUSED[name]
    mask, depth = scene()
    writer(tmp_path / name, depth)
    with pytest.raises(ValueError, match=f"depth .*{name}: .*{message}"):
        load_depth(tmp_path / name, None, mask)


def test_a_scale_that_was_given_is_believed(tmp_path):
    """Far mountains, and a map that really fills 16 bits."""
    mask, depth = scene()
    np.save(tmp_path / "d.npy", 1000 * depth)
    assert load_depth(tmp_path / "d.npy", None, mask, scale=1.0)[20, 30] == pytest.approx(2300)
    full = (16384 * depth).astype(np.uint16)
    full[0, :2] = 0, 65535
    cv2.imwrite(str(tmp_path / "d.png"), full)
    assert load_depth(tmp_path / "d.png", 16384.0, mask)[20, 30] == pytest.approx(2.3, abs=1e-3)
