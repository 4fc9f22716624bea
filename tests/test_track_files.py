"""Tracks of other tools: each of their formats, from a file written as they write it."""

import sys
import types

import numpy as np
import pytest
import torch

from inverse.clips.footage import keep_pictures
from inverse.tracking import Tracks, load_tracks, track_cotracker
from inverse.tracking.tapir import track_tapir
from inverse.wind import WindJob


RNG = np.random.default_rng(5)
FRAMES, POINTS, SIZE = 6, 4, (200, 100)
XY = RNG.uniform(5, 95, (FRAMES, POINTS, 2))
SEEN = RNG.random((FRAMES, POINTS)) < 0.7
SEEN[0] = True


def cotracker(path):
    arrays = {
        "pred_tracks": torch.tensor(XY - 0.5)[None], "pred_visibility": torch.tensor(SEEN)[None],
    }  # fmt: skip
    if path.suffix == ".pt":
        torch.save(arrays, path)
    else:
        np.savez(path, **{key: value.numpy() for key, value in arrays.items()})


def cotracker_with_a_last_axis(path):
    """CoTracker 1 and some notebooks: no batch, visibility (T, N, 1), not thresholded."""
    np.savez(path, tracks=XY - 0.5, visibility=np.where(SEEN, 0.9, 0.1)[..., None])


def tap_vid(path):
    """The benchmark's own: shares of the picture, (N, T)."""
    np.savez(path, points=np.swapaxes(XY, 0, 1) / SIZE, occluded=~SEEN.T)


def tapir(path):
    """TAPIR, BootsTAPIR and TAPNext: pixels, (N, T), what is not seen may be NaN."""
    xy = np.where(SEEN[..., None], XY, np.nan)
    np.savez(path, tracks=np.swapaxes(xy, 0, 1)[None], visibles=SEEN.T[None])


@pytest.mark.parametrize(
    ("write", "ending"),
    [
        (cotracker, ".npz"),
        (cotracker, ".pt"),
        (cotracker_with_a_last_axis, ".npz"),
        (tap_vid, ".npz"),
        (tapir, ".npz"),
    ],
)
def test_tracks_of_other_tools_are_read(tmp_path, write, ending):
    path = tmp_path / f"tracks{ending}"
    write(path)
    tracks = load_tracks(path, SIZE)
    np.testing.assert_array_equal(tracks.visible, SEEN)
    np.testing.assert_allclose(tracks.xy[SEEN], XY[SEEN], atol=1e-4)


def test_what_is_none_of_these_is_said(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, flow=XY)
    with pytest.raises(
        ValueError, match=r"a\.npz: has flow; expected xy .* CoTracker's .* TAP-Vid"
    ):
        load_tracks(path)
    tap_vid(path)
    with pytest.raises(ValueError, match="shares of the picture, whose size is not known"):
        load_tracks(path)
    (tmp_path / "b.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.pkl: a pickle can run programs"):
        load_tracks(tmp_path / "b.pkl")
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"c\.pt: not a readable pt file") as caught:
        load_tracks(tmp_path / "c.pt")
    assert "\n" not in str(caught.value)
    np.savez(path, pred_tracks=XY[:, :, 0], pred_visibility=SEEN)
    with pytest.raises(ValueError, match=r"a\.npz: positions have shape \(6, 4\), what is seen"):
        load_tracks(path)


ONLINE = """
import torch

class Model(torch.nn.Module):
    "Keeps to what the online predictor does: windows of twice its step, tracks of all so far."
    step = 3

    def forward(self, video_chunk, is_first_step=False, queries=None):
        assert video_chunk.dtype == torch.float32 and video_chunk.shape[2] == 3
        assert video_chunk.shape[1] <= 2 * self.step
        if is_first_step:
            self.queries, self.brightness = queries, []
            return None, None
        found = [float(frame.max()) for frame in video_chunk[0]]
        del self.brightness[len(self.brightness) - self.step:]
        self.brightness += found
        moved = torch.tensor(self.brightness) - self.brightness[0]
        xy = self.queries[:, None, :, 1:] + moved[None, :, None, None]
        return xy, torch.ones(xy.shape[:3], dtype=torch.bool)

def cotracker3_online(pretrained=True):
    return Model()
"""


@pytest.mark.parametrize("frames", [2, 6, 7, 9, 20])
@pytest.mark.parametrize("memory", [None, 0])
def test_the_online_model_gets_windows_that_overlap(tmp_path, frames, memory):
    (tmp_path / "hubconf.py").write_text(ONLINE)
    video = np.arange(10, 10 + frames, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    video = video.repeat(8, axis=1).repeat(9, axis=2)
    queries, done = np.array([[3.5, 4.5], [1.0, 2.0]]), []
    tracks = track_cotracker(
        keep_pictures(iter(video), frames, memory=memory), queries, repo_or_checkpoint=tmp_path,
        online=True, progress=lambda *at: done.append(at),
    )  # fmt: skip
    expected = queries + np.arange(frames)[:, None, None]
    np.testing.assert_allclose(tracks.xy, expected, atol=1e-5)
    assert tracks.visible.all() and isinstance(tracks, Tracks) and done[-1] == (frames, frames)


TAPIR = """
import torch

class TAPIR(torch.nn.Module):
    "Follows the brightness of frames to the right, and hides what is above the middle."

    def __init__(self, pyramid_level):
        super().__init__()
        assert pyramid_level == 1
        self.gain = torch.nn.Parameter(torch.zeros(1))

    def forward(self, video, query_points):
        assert video.dtype == torch.float32 and video.shape[0] == 1 and video.shape[4] == 3
        assert video.shape[2] % 8 == video.shape[3] % 8 == 0 and video.abs().max() <= 1
        t, y, x = query_points[0].T
        assert (t == 0).all()
        moved = (video[0].mean(dim=(1, 2, 3)) - video[0, 0].mean()) * self.gain * video.shape[3]
        xy = torch.stack([x[:, None] + moved, y[:, None].expand(-1, len(moved))], dim=-1)
        hidden = torch.where(y < video.shape[2] / 2, 9.0, -9.0)[:, None].expand(-1, len(moved))
        sure = torch.full_like(hidden, -9.0)[None]
        return {"tracks": xy[None], "occlusion": hidden[None], "expected_dist": sure}
"""


def test_tapir_sees_pictures_of_its_size_and_answers_in_the_clips(tmp_path, monkeypatch):
    names = "tapnet", "tapnet.torch", "tapnet.torch.tapir_model"
    package, folder, module = (types.ModuleType(name) for name in names)
    package.torch, folder.tapir_model = folder, module
    exec(TAPIR, module.__dict__)
    for name, one in zip(names, (package, folder, module), strict=True):
        monkeypatch.setitem(sys.modules, name, one)
    torch.save({"gain": torch.full((1,), 0.5)}, tmp_path / "weights.pt")
    video = np.arange(0, 150, 30, dtype=np.uint8)[:, None, None, None]
    video = video.repeat(60, axis=1).repeat(100, axis=2).repeat(3, axis=3)
    queries = np.array([[20.0, 50.0], [40.5, 10.25]])
    tracks = track_tapir(video, queries, checkpoint=tmp_path / "weights.pt")
    step = 30 / 127.5 * 0.5 * 100  # px of the clip
    expected = queries + np.arange(5)[:, None, None] * [step, 0]
    np.testing.assert_allclose(tracks.xy, expected, atol=1e-3)
    assert tracks.visible[:, 0].all() and tracks.visible[:, 1].tolist() == [True] + 4 * [False]
    with pytest.raises(ValueError, match="tapir .*other.pt: cannot be loaded"):
        torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
        track_tapir(video, queries, checkpoint=tmp_path / "other.pt")


def test_what_tapir_lacks_is_said(tmp_path, monkeypatch):
    video, queries = np.zeros((3, 8, 8, 3), np.uint8), np.ones((1, 2))
    with pytest.raises(ValueError, match=r"no such file: a\.pt; fetch https.*bootstapir.*--tapir"):
        track_tapir(video, queries, checkpoint="a.pt")
    (tmp_path / "a.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tapnet", None)
    with pytest.raises(ValueError, match=r"needs the package tapnet .*pip install 'tapnet"):
        track_tapir(video, queries, checkpoint=tmp_path / "a.pt")
    with pytest.raises(ValueError, match="tapir: none given, expected the checkpoint"):
        WindJob(video=("a.mp4",), box=(0, 0, 1, 1), tracker="tapir")
