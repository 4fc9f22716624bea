"""examples/wind_from_leaf.py as its users run it, shrunken to seconds."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from helpers import PATIENCE, wait_for

from inverse.runs.settings import write_json
from inverse.wind import WindConfig, WindJob
from inverse.wind.results.pictures import picture_metrics
from inverse.wind.results.truth import Truth, field_errors, load_truth, roughness
from inverse.wind.results.verdict import LEVELS


ROOT = Path(__file__).resolve().parent.parent
LEAF = ROOT / "assets" / "leaf"
SMALL = ["--frames", "6", "--iterations", "3", "--cells", "10", "--keypoints", "60"]
SMALL += ["--splat-iterations", "10"]
EXAMPLE = [sys.executable, str(ROOT / "examples" / "wind_from_leaf.py")]

sys.path.insert(0, str(ROOT / "examples"))
import wind_from_leaf  # noqa: E402


@pytest.fixture(scope="module")
def leaf_run(tmp_path_factory):
    """A finished small run on assets/leaf; the process already runs Taichi on two CPU threads."""
    out = tmp_path_factory.mktemp("leaf")
    assert run_in_process([*SMALL, "--out", str(out)]) == 0
    return out


def run_in_process(arguments):
    return subprocess.run([*EXAMPLE, *arguments], timeout=PATIENCE).returncode


def test_run_directory_is_complete(leaf_run):
    names = {path.name for path in leaf_run.iterdir()}
    wanted = {"config.json", "metrics.json", "forces.npz", "video.mp4", "report.html"}
    wanted |= {"cameras.json"}
    assert names == wanted | {"checkpoints"}
    forces = np.load(leaf_run / "forces.npz")
    n = len(forces["mass"])
    assert forces["t"].shape == (6,) and forces["gravity"].shape == (3,)
    assert forces["x"].shape == forces["f"].shape == (6, n, 3)
    np.testing.assert_allclose(np.diff(forces["t"]), 1 / 24)
    metrics = json.loads((leaf_run / "metrics.json").read_text())
    assert len(metrics["loss"]) == 5 and metrics["peak_memory_mb"] > 0
    lift = metrics["lift"]
    assert lift["converged"] and all(lift["fits"]) and min(lift["keypoints_seen_share"]) > 0.5
    assert max(lift["reprojection_px"]["median"]) < 1
    assert metrics["seconds"]["total"] > metrics["seconds"]["splats"] > 0
    assert 22 < metrics["psnr"] < 50 and 0.8 < metrics["ssim"] < 1
    assert metrics["psnr"] > metrics["psnr_of_first_frame_held"] + 3
    assert metrics["verdict"]["belief"] in LEVELS and metrics["verdict"]["until"] == 5
    assert len(metrics["seen_share"]) == 6 and metrics["seen_share"][0] > 0.9
    assert forces["std"].shape == (6, n, 3) and forces["net_std"].shape == (6, 3)
    assert forces["std"].min() > 0 and forces["net_std"].min() > 0 and forces["factor"] == 1
    confidence = metrics["confidence"]
    known = np.linalg.norm(confidence["net_std_m_s2"], axis=1)
    np.testing.assert_allclose(
        known * forces["mass"].sum(), np.linalg.norm(forces["net_std"], axis=1), rtol=1e-6
    )
    assert 0 < confidence["net_share"] < 2 and set(metrics["net_within_std"]) == {"one", "two"}
    for name in ("errors", "errors_all_frames", "errors_of_first_force_held"):
        assert set(metrics[name]) == {
            "direction_error_deg", "magnitude_error_percent", "vector_error_percent",
        }  # fmt: skip
    config = json.loads((leaf_run / "config.json").read_text())
    assert config["run"]["frames"] == 6 and config["solver"]["iterations"] == 3


def test_report_and_video_show_the_run(leaf_run):
    report = (leaf_run / "report.html").read_text("utf-8")
    assert "data:video/mp4;base64," in report and "The camera stands still." in report
    verdict = json.loads((leaf_run / "metrics.json").read_text())["verdict"]["sentence"]
    assert report.index(verdict) < report.index("The force that carries")
    begin, film = report.index("data:image/png"), report.index("data:video/mp4")
    for shown in ("m wide", "points on it are followed", "Assumptions", "The camera stands still."):
        assert begin - 3000 < report.index(shown) < film, shown
    assert "frames 1 to 2" in report and "all 6 frames" in report
    assert "picture (PSNR)" in report and "where the object is or may be" in report
    assert "gravity (0, 0, -9.81) m/s² that was assumed" in report and str(ROOT) not in report
    assert "http://" not in report.replace("http://www.w3.org", "") and "https://" not in report
    video = iio.imread(leaf_run / "video.mp4")
    assert len(video) == 6 and video.shape[2] > 3 * 384
    panels = video[:, -384:, :].astype(float)
    input_panel, motion = panels[:, :380, 5:380], panels[:, :380, 395:770]
    assert np.abs(input_panel - motion).mean() < 6  # the re-simulation looks like the clip


def test_pictures_are_compared_where_the_object_is():
    """A tenth of full scale is 20 dB; what lies outside does not count, nor empty frames."""
    video = np.full((3, 40, 40, 3), 100, np.uint8)
    covered = np.zeros((3, 40, 40), bool)
    covered[0, 10:30, 10:30] = covered[2, :20] = True
    pictures = video.copy()
    pictures[0, 10:30, 10:30] += 51
    pictures[0, :5] = 255
    pictures[2, :20] += 5
    found = picture_metrics(list(pictures), video, covered)
    np.testing.assert_allclose(found["psnr"], [20 * np.log10(5), np.nan, 20 * np.log10(51)])
    assert np.isnan(found["ssim"][1]) and found["ssim"][0] < 0.97 < found["ssim"][2] < 1


TRUTH = np.tile([0.0, 1.0, 2.0], (6, 1))


@pytest.mark.parametrize(
    "record, message",
    [
        ({"velocity": TRUTH}, "acceleration"),
        ({"acceleration": TRUTH[:5]}, r"has shape \(5, 3\), expected \(6, 3\)"),
        ({"acceleration": TRUTH[:, :2]}, r"has shape \(6, 2\)"),
        ({"acceleration": TRUTH * np.nan}, "not finite"),
        ({"acceleration": TRUTH * 0}, "no true force in the 2 frames that count"),
        ({"acceleration": np.array("x")}, "cannot be|could not|shape"),
    ],
)
def test_a_truth_that_is_of_no_use_is_a_warning(record, message, tmp_path):
    """And no reason to lose a run at its end."""
    path = tmp_path / "ground_truth.npz"
    np.savez(path, **record)
    with pytest.warns(UserWarning, match=f"ground_truth.*{message}.*not compared"):
        assert load_truth(path, 6) is None
    path.write_bytes(b"PK cut")
    with pytest.warns(UserWarning, match="damaged"):
        assert load_truth(path, 6) is None


def test_a_truth_is_used_as_far_as_the_clip_goes(tmp_path):
    path = tmp_path / "ground_truth.npz"
    assert load_truth(path, 6) is None
    np.savez(path, acceleration=TRUTH)
    np.testing.assert_array_equal(load_truth(path, 5).net, TRUTH[:5])
    with pytest.warns(UserWarning, match="no true force in the 0 frames"):
        assert load_truth(path, 4) is None


def test_a_field_is_compared_node_by_node_where_it_is_strong():
    rng = np.random.default_rng(0)
    x = np.tile(rng.uniform(size=(40, 3)), (8, 1, 1)) + np.arange(8)[:, None, None]
    field = np.zeros((8, 40, 3))
    field[:, :20] = [0, 3, 0]
    field[:, 20:] = [0.01, 0, 0]  # too weak to have a direction
    truth = Truth(net=field.mean(axis=1), nodes=x, external=field)
    assert field_errors(x, field, truth)["vector_error_percent"] < 1e-6
    turned = np.where(np.arange(40)[:, None] < 20, [3.0, 0, 0], 7.0)
    errors = field_errors(x, np.broadcast_to(turned, field.shape), truth)
    assert errors["direction_error_deg"] == pytest.approx(90)
    assert errors["magnitude_error_percent"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="no nodes"):
        field_errors(x, field, Truth(net=field.mean(axis=1)))


def test_a_truth_with_a_field_is_read_whole(tmp_path):
    path = tmp_path / "ground_truth.npz"
    nodes, external = np.ones((6, 4, 3)), np.tile(TRUTH[:, None], (1, 4, 1))
    np.savez(path, acceleration=0 * TRUTH, external_mean=TRUTH, nodes=nodes, external=external)
    truth = load_truth(path, 5)
    np.testing.assert_array_equal(truth.net, TRUTH[:5])
    assert truth.nodes.shape == truth.external.shape == (5, 4, 3)
    np.savez(path, external_mean=TRUTH, nodes=nodes, external=external[:, :2])
    with pytest.warns(UserWarning, match="nodes and external have shapes"):
        assert load_truth(path, 5) is None


def test_a_uniform_field_is_smooth_and_noise_is_rough():
    x = np.random.default_rng(0).uniform(size=(1, 50, 3))
    assert roughness(x, np.ones((1, 50, 3))) == 0
    noise = np.random.default_rng(1).standard_normal((1, 50, 3))
    assert roughness(x, noise) == pytest.approx(np.sqrt(2), rel=0.2)


def test_killed_and_resumed_without_the_truth_it_ends_the_same(leaf_run, tmp_path):
    """The same forces as with ground_truth.npz beside the video, and without a break."""
    clip, out, log = tmp_path / "clip", tmp_path / "out", tmp_path / "log"
    clip.mkdir()
    for name in ("video.mp4", "camera.json", "mask_000.png", "depth_000.png"):
        (clip / name).symlink_to(LEAF / name)
    arguments = [
        "--video", str(clip / "video.mp4"), "--camera", str(clip / "camera.json"),
        "--mask", str(clip / "mask_000.png"), "--depth", str(clip / "depth_000.png"),
        "--out", str(out), *SMALL,
    ]  # fmt: skip
    with open(log, "wb") as sink:
        process = subprocess.Popen([*EXAMPLE, *arguments], stdout=sink, stderr=sink)
        checkpoint = out / "checkpoints" / "force.pt"
        wait_for(checkpoint.exists, process, pause=0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert checkpoint.exists() and not (out / "forces.npz").exists(), log.read_text()
    assert run_in_process([*arguments, "--resume"]) == 0
    whole, resumed = np.load(leaf_run / "forces.npz"), np.load(out / "forces.npz")
    scale = np.abs(whole["f"]).max()
    np.testing.assert_allclose(resumed["f"], whole["f"], atol=1e-5 * scale)
    whole, resumed = (json.loads((run / "metrics.json").read_text()) for run in (leaf_run, out))
    assert "errors" in whole and "errors" not in resumed
    for name in ("psnr", "ssim", "psnr_of_first_frame_held"):
        assert resumed[name] == pytest.approx(whole[name], rel=1e-4)


def no_camera_key(tmp):
    record = json.loads((LEAF / "camera.json").read_text())
    del record["fy"]
    (tmp / "camera.json").write_text(json.dumps(record))
    return ["--camera", tmp / "camera.json"], "fy"


def empty_mask(tmp):
    iio.imwrite(tmp / "mask.png", np.zeros((384, 384), np.uint8))
    return ["--mask", tmp / "mask.png"], "empty"


def small_mask(tmp):
    iio.imwrite(tmp / "mask.png", np.full((100, 90), 255, np.uint8))
    return ["--mask", tmp / "mask.png"], "90x100"


def small_depth(tmp):
    iio.imwrite(tmp / "depth.png", np.full((100, 90), 9000, np.uint16))
    return ["--depth", tmp / "depth.png"], "90x100"


def depth_with_zeros(tmp):
    depth = iio.imread(LEAF / "depth_000.png").copy()
    depth[iio.imread(LEAF / "mask_000.png") > 0] = 0
    iio.imwrite(tmp / "depth.png", depth)
    return ["--depth", tmp / "depth.png"], "zero"


def depth_with_nan(tmp):
    depth = iio.imread(LEAF / "depth_000.png") / 4000.0
    depth[iio.imread(LEAF / "mask_000.png") > 0] = np.nan
    np.save(tmp / "depth.npy", depth)
    return ["--depth", tmp / "depth.npy"], "not finite"


def unreadable_video(tmp):
    (tmp / "video.mp4").write_bytes(b"not a video")
    return ["--video", tmp / "video.mp4"], "video"


def empty_video(tmp):
    (tmp / "video.mp4").write_bytes(b"")
    return ["--video", tmp / "video.mp4"], "video"


def few_tracks(tmp):
    xy = np.tile(np.linspace(100, 180, 6)[:, None] * [1, 1.2], (36, 1, 1))
    np.savez(tmp / "tracks.npz", xy=xy, visible=np.ones((36, 6), bool))
    return ["--tracks", tmp / "tracks.npz"], "at least 8"


def unwritable_out(tmp):
    (tmp / "file").write_text("in the way")
    return ["--out", tmp / "file" / "out"], "cannot be written"


def truncated_checkpoint(tmp):
    path = tmp / "out" / "checkpoints" / "force.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 cut")
    clip = {"video": (str(LEAF / "video.mp4"),), "camera": (str(LEAF / "camera.json"),)}
    clip |= {"mask": str(LEAF / "mask_000.png"), "depth": str(LEAF / "depth_000.png")}
    job = WindJob(**clip, frames=6, cells=10, keypoints=60, splat_iterations=10)
    write_json(tmp / "out" / "config.json", {"run": job, "solver": WindConfig(iterations=3)})
    return ["--resume", *SMALL], "damaged"


def other_settings(tmp):
    truncated_checkpoint(tmp)
    return ["--resume", *SMALL, "--cells", "12"], "cannot resume, because cells changed"


def flags(*arguments, message):
    return lambda tmp: (list(arguments), message)


BAD_INPUTS = {
    "missing camera key": no_camera_key,
    "empty mask": empty_mask,
    "mask of another size": small_mask,
    "depth of another size": small_depth,
    "no depth on the object": depth_with_zeros,
    "NaN in depth": depth_with_nan,
    "unreadable video": unreadable_video,
    "zero-length video": empty_video,
    "missing video": flags("--video", "nowhere.mp4", message="nowhere.mp4"),
    "few tracks": few_tracks,
    "unwritable out": unwritable_out,
    "truncated checkpoint": truncated_checkpoint,
    "other settings than those of the run": other_settings,
    "E": flags("--E", "0", message="E: got 0"),
    "nu": flags("--nu", "0.5", message="nu: got 0.5"),
    "density": flags("--density", "-1", message="density"),
    "thickness": flags("--thickness", "nan", message="thickness"),
    "iterations": flags("--iterations", "0", message="iterations"),
    "splat iterations": flags("--splat-iterations", "-1", message="splat_iterations: got -1"),
    "CoTracker that is not there": flags(
        "--tracker", "cotracker", "--cotracker", "nowhere", message="CoTracker"
    ),
}


@pytest.mark.parametrize("name", list(BAD_INPUTS))
def test_bad_input_is_one_sentence(name, tmp_path, capfd):
    extra, message = BAD_INPUTS[name](tmp_path)
    given = {
        "--video": LEAF / "video.mp4", "--camera": LEAF / "camera.json",
        "--mask": LEAF / "mask_000.png", "--depth": LEAF / "depth_000.png",
        "--out": tmp_path / "out",
    }  # fmt: skip
    arguments = [part for key, value in given.items() if key not in extra for part in (key, value)]
    code = wind_from_leaf.main([str(a) for a in [*arguments, *extra]])
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith("error: ") and message in error and "Traceback" not in error
    written = tmp_path / "out" / "forces.npz"
    assert not written.exists() and not list(tmp_path.rglob("*.part*"))


def test_unknown_material_and_flag_are_refused(capsys):
    for arguments in (["--material", "jam"], ["--thicknes", "1"], ["--wind", "3"]):
        with pytest.raises(SystemExit) as stopped:
            wind_from_leaf.main(arguments)
        assert stopped.value.code == 2
        assert "error:" in capsys.readouterr().err


def test_box_distance_and_fov_replace_the_files(tmp_path):
    """No mask, depth or camera: assumptions are made, and said."""
    arguments = ["--video", LEAF / "video.mp4", "--box", 50, 30, 200, 240, "--distance", 3.5]
    arguments += ["--fov", 40, "--out", tmp_path, *SMALL]
    assert run_in_process([str(a) for a in arguments]) == 0
    report = (tmp_path / "report.html").read_text("utf-8")
    assert "GrabCut" in report and "3.5 m away" in report and "40 degrees" in report
