"""Reading and writing videos, and drawing on them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderers.overlay import draw_arrows, side_by_side
from renderers.video import read_video, write_video


LEAF = Path(__file__).parent.parent / "assets" / "leaf" / "video.mp4"


def ramp(frames=5, height=36, width=50):
    """Frames that differ from each other and in every channel and direction."""
    t, y, x = np.meshgrid(
        np.linspace(40, 200, frames),
        np.linspace(0, 255, height),
        np.linspace(0, 255, width),
        indexing="ij",
    )
    return np.stack([x, y, t], -1).astype(np.uint8)


def test_mp4_comes_back_with_its_colors(tmp_path):
    frames = ramp()
    write_video(tmp_path / "sub" / "a.mp4", frames, 12.5)
    video = read_video(tmp_path / "sub" / "a.mp4")
    assert video.fps == 12.5 and video.frames.shape == frames.shape
    assert video.frames.dtype == np.uint8
    assert np.abs(video.frames.astype(float) - frames).mean() < 4
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.mp4"]


def test_mp4_is_h264_for_browsers_with_even_sides(tmp_path):
    import imageio.v2 as imageio

    write_video(tmp_path / "a.mp4", iter(ramp(height=35, width=49)), 24)
    with imageio.get_reader(tmp_path / "a.mp4") as reader:
        meta = reader.get_meta_data()
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (50, 36)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "not playable before it is all there"


def test_reads_the_shipped_video_in_part():
    whole, part = read_video(LEAF), read_video(LEAF, start=3, max_frames=4, fps=10)
    assert len(whole) == 36 and whole.fps == 24
    assert len(part) == 4 and part.fps == 10
    assert np.array_equal(part.frames, whole.frames[3:7])


def test_uneven_frame_times_become_even(tmp_path):
    """A phone's video: a second of 20 frames, then one of 5. Times must stay true."""
    import imageio_ffmpeg

    write_video(tmp_path / "even.mp4", ramp(frames=41), 20)
    uneven = tmp_path / "uneven.mp4"
    keep = "select='lt(n,20)+not(mod(n,4))'"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "even.mp4")]
    subprocess.run([*command, "-vf", keep, "-fps_mode", "vfr", str(uneven)], check=True)
    video = read_video(uneven)
    brightness = video.frames[..., 2].mean((1, 2))  # linear in time
    t = np.arange(len(video)) / video.fps
    assert t[-1] == pytest.approx(2.0, abs=0.2)
    assert np.abs(brightness - (40 + 80 * t)).max() < 20


def test_reads_gif_and_folder_in_numerical_order(tmp_path):
    frames = ramp(frames=12)
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=50)
    gif = read_video(tmp_path / "a.gif")
    assert gif.fps == 20 and gif.frames.shape == frames.shape
    assert np.abs(gif.frames.astype(float) - frames).mean() < 12

    (tmp_path / "folder").mkdir()
    for i, image in enumerate(images):  # frame_10 sorts before frame_2 as text
        image.save(tmp_path / "folder" / f"frame_{i}.png")
    (tmp_path / "folder" / "notes.txt").write_text("not a frame")
    folder = read_video(tmp_path / "folder", fps=30)
    assert folder.fps == 30 and np.array_equal(folder.frames, frames)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("broken.mp4", b"this is no video" * 99, "cannot be read"),
        ("broken.gif", b"GIF89a", "cannot be read"),
        ("broken.avi", LEAF.read_bytes()[:3000], "cannot be read"),
        ("missing.mp4", None, "no such file"),
    ],
)
def test_unreadable_video_is_one_sentence(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_video(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_folder_errors(tmp_path):
    with pytest.raises(ValueError, match="holds no frame"):
        read_video(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="holds no frame from 1 on"):
        read_video(tmp_path, start=1)
    Image.new("RGB", (5, 4)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="differ in size"):
        read_video(tmp_path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_video(tmp_path / "a.mp4", ramp(), 24)
    before = (tmp_path / "a.mp4").read_bytes()

    def frames():
        yield ramp()[0]
        raise KeyError("the renderer failed")

    with pytest.raises(KeyError):
        write_video(tmp_path / "a.mp4", frames(), 24)
    with pytest.raises(ValueError, match="got a frame of shape"):
        write_video(tmp_path / "a.mp4", [ramp()[0], ramp(height=40)[0]], 24)
    with pytest.raises(ValueError, match="got no frames"):
        write_video(tmp_path / "a.mp4", [], 24)
    with pytest.raises(ValueError, match="cannot be written"):
        write_video(tmp_path / "a.mp4" / "b.mp4", ramp(), 24)
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_arrow_lies_where_it_should_and_strong_ones_are_bright():
    image = np.full((60, 100, 3), 128, np.uint8)
    starts = np.array([[20.0, 15.0], [20.0, 45.0], [np.nan, 3.0]])
    ends = starts + [60.0, 0.0]
    drawn = draw_arrows(image, starts, ends, np.array([1.0, 10.0, 5.0]), thickness=4)
    assert (image == 128).all()
    changed = (drawn != 128).any(-1)
    rows, columns = changed.nonzero()
    assert columns.min() >= 15 and 80 <= columns.max() < 87
    assert abs((rows + 0.5).mean() - 30) < 0.3 and not changed[27:33].any()
    assert drawn[44:46, 50].sum() > 1.3 * drawn[14:16, 50].sum()
    assert changed[:30, 66:74].sum() > changed[:30, 40:48].sum()  # the head is at the end

    twice = draw_arrows(image, starts, ends, np.array([1.0, 10.0, 5.0]), thickness=4, scale=2)
    assert twice.shape == (120, 200, 3)
    center = np.argwhere((twice != 128).any(-1)).mean(0) / 2 + 0.25
    assert np.allclose(center, np.argwhere(changed).mean(0) + 0.5, atol=0.7)


def test_arrows_far_outside_or_none_are_harmless():
    image = np.zeros((40, 50, 3), np.uint8)
    none = draw_arrows(image, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    assert not none.any()
    far = np.array([[-1e12, 5.0], [20.0, 20.0]])
    draw_arrows(image, far, -far, np.ones(2), legend="force (N)")
    with pytest.raises(ValueError, match=r"ends: got shape \(3, 2\)"):
        draw_arrows(image, np.zeros((2, 2)), np.zeros((3, 2)), np.zeros(2))


def test_legend_and_panels():
    image = np.full((200, 160, 3), 90, np.uint8)
    empty = np.zeros((0, 2))
    drawn = draw_arrows(image, empty, empty, np.zeros(0), limits=(0, 5), legend="force (N)")
    assert (drawn[:100] == 90).all() and (drawn[120:] != 90).any()

    left, right = np.full((200, 161, 3), 10, np.uint8), np.full((100, 80, 3), 200, np.uint8)
    row = side_by_side([left, right], ["a", "b"])
    assert row.shape[0] % 2 == 0 and row.shape[1] % 2 == 0
    assert (row == 10).all(-1).sum() >= left[..., 0].size
    assert (row == 200).all(-1).sum() >= 4 * right[..., 0].size  # brought to the same height
    with pytest.raises(ValueError, match="labels: got 1"):
        side_by_side([left, right], ["a"])
    with pytest.raises(ValueError, match=r"panels\[0\]"):
        side_by_side([left.astype(float)])
