"""Pages of particles, splats and arrows, looked at in a real browser without a screen."""

import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import taichi_phys as tp
from renderers.lines import box_lines
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.viewer import web


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import view  # noqa: E402
import view_web  # noqa: E402
from test_viewer import SCENE, trace_run, wind_run  # noqa: E402, F401


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = """--headless=new --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader
    --enable-unsafe-swiftshader --disable-background-networking --disable-component-update
    --disable-sync --disable-extensions --disable-default-apps --no-first-run
    --no-default-browser-check --no-proxy-server --disable-dev-shm-usage --mute-audio
    --remote-debugging-port=0 --window-size=960,600""".split()
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # the page needs no network
PATIENCE = 60.0  # s, on a busy machine without a graphics card
BOX = ((-0.1, -0.05, 0.0), (0.1, 0.05, 0.1))
VIEW = slice(None), slice(315, 620)  # px of the page that neither the panel nor a warning hides
BLUE, RED = (40, 90, 250), (250, 40, 40)


@pytest.fixture(scope="module")
def viser():
    return pytest.importorskip("viser", reason="viser, of the extra web, is not installed")


@pytest.fixture(scope="module")
def browser(viser, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt install chromium)")
    with Browser(tmp_path_factory.mktemp("chromium")) as it:
        yield it


class Refused(RuntimeError):
    """What the browser answered to a command."""


class Browser:
    """Chromium, driven through its DevTools protocol."""

    def __init__(self, folder: Path):
        self.folder, self._numbers, self.requested = folder, itertools.count(1), []
        self._log = (folder / "log.txt").open("wb")

    def __enter__(self):
        from websockets.sync.client import connect

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, NOWHERE, f"--user-data-dir={self.folder}", "about:blank"],
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        port = wait_for(lambda: port_in(self.folder / "DevToolsActivePort"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE) as answer:
            page = next(t for t in json.load(answer) if t["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE)
        self("Page.enable")
        self("Network.enable")
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self("Browser.close")
            self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._log.close()

    def __call__(self, method: str, **params) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                if "error" in message:
                    raise Refused(f"{method}: {message['error']}")
                return message["result"]

    def open(self, url: str) -> None:
        self.requested.clear()
        self("Page.navigate", url=url)
        wait_for(lambda: self.ask("document.querySelectorAll('canvas').length"))

    def ask(self, expression: str):
        """The value of JavaScript; None while the page changes."""
        with contextlib.suppress(Refused):
            result = self("Runtime.evaluate", expression=expression, returnByValue=True)
            return result["result"].get("value")

    def picture(self) -> np.ndarray:
        """(H, W, 3) of the page."""
        data = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def slide(self, share: float) -> None:
        """The mouse on the slider: pressed at its left end, let go at a share of its length."""
        x, y, width = self.ask(
            "(() => { const r = document.querySelector('[role=slider]').parentElement"
            ".getBoundingClientRect(); return [r.x, r.y + r.height / 2, r.width] })()"
        )
        self("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for part in (0.3, 0.7, 1.0):
            self("Input.dispatchMouseEvent", type="mouseMoved", x=x + part * share * width, y=y,
                 button="left", buttons=1)  # fmt: skip
        self("Input.dispatchMouseEvent", type="mouseReleased", x=x + share * width, y=y,
             button="left", clickCount=1)  # fmt: skip

    def click(self, text: str) -> None:
        """The mouse on the button with this text."""
        at = wait_for(lambda: self.ask(
            "(() => { const b = [...document.querySelectorAll('button')].find("
            f"b => b.innerText.trim() == {text!r}); if (!b) return null;"
            "const r = b.getBoundingClientRect(); return [r.x + r.width/2, r.y + r.height/2] })()"
        ))  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left",
                 clickCount=1)  # fmt: skip


def port_in(path: Path) -> int | None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(path.read_text().splitlines()[0])


def wait_for(look, seconds: float = PATIENCE):
    """What look() returns, once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if isinstance(found, np.ndarray) or found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def place_of(picture: np.ndarray, color, least: int = 60) -> np.ndarray | None:
    """(2,) px x, y: the middle of what has about the hue of a colour, if there is enough."""
    strong = np.argmax(color)
    others = [k for k in range(3) if k != strong]
    seen = picture[..., strong] > 1.5 * picture[..., others].max(axis=2)
    seen &= picture[..., strong] > 60
    rows, columns = np.nonzero(seen[VIEW])
    return np.array([columns.mean(), rows.mean()]) if len(rows) >= least else None


def moving(frames: int = 5) -> list[web.WebFrame]:
    """A red ball from left to right, and a blue arrow up from the right end."""
    arrow = np.array([[[0.08, 0, 0.01], [0.08, 0, 0.09]]])
    lines = box_lines(*BOX)
    result = []
    for i in range(frames):
        at = (-0.06 + 0.12 * i / (frames - 1), 0.0, 0.05)
        x, _ = tp.sample_sphere(at, 0.02, count=1500)
        result.append(web.WebFrame(
            x=x, colors=RED, arrows=arrow, arrow_colors=BLUE, lines=lines, caption=f"moment {i}",
        ))  # fmt: skip
    return result


def keep(picture: np.ndarray, name: str) -> None:
    """For somebody to look at, where WEB_PICTURES says."""
    if "WEB_PICTURES" in os.environ:
        path = Path(os.environ["WEB_PICTURES"]) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(path)


def test_the_slider_and_the_play_button_move_particles(browser):
    with web.serve(moving(), box=BOX, azimuth=0, elevation=10, radius=0.001, port=0) as page:
        browser.open(page.url)
        first = wait_for(lambda: shown(browser, RED))
        keep(first, "particles_first")
        arrow = place_of(first, BLUE, 20)
        assert arrow is not None
        assert "moment 0" in browser.ask("document.body.innerText")
        browser.slide(1.0)
        wait_for(lambda: page.frame == 4)
        start = place_of(first, RED)
        last = wait_for(lambda: moved(browser, RED, start, 100))
        keep(last, "particles_last")
        end = place_of(last, RED)
        assert end[0] - start[0] > 100 and abs(end[1] - start[1]) < 20
        assert end[0] < place_of(last, BLUE, 20)[0]  # the arrow, right of it, stays
        assert np.abs(place_of(last, BLUE, 20) - arrow).max() < 10
        aside = slice(190, None), slice(0, 230)  # px in which nothing moves
        assert np.abs(first - last)[aside].max() < 10
        assert "moment 4" in browser.ask("document.body.innerText")
        browser.click("Play")
        seen = set()
        wait_for(lambda: seen.add(page.frame) or len(seen) >= 4)
        browser.click("Pause")
        wait_for(lambda: not page._playing)
        assert all(own(url, page.url) for url in browser.requested), browser.requested


def own(url: str, page: str) -> bool:
    """Whether a request stays on this machine."""
    return url.startswith((page, page.replace("http", "ws"), "data:", "blob:", "about:"))


def shown(browser: Browser, color):
    """A picture in which a colour is seen, and which has come to rest."""
    return moved(browser, color, (-1e9, -1e9), 0)


def moved(browser: Browser, color, start, least: float):
    """A picture at rest in which a colour is at least so many px from where it was."""
    picture = browser.picture()
    at = place_of(picture, color)
    if at is None or np.abs(at - start).max() < least:
        return None
    again = browser.picture()
    return again if np.abs(again - picture)[VIEW].max() < 3 else None  # pages fade in


def some_splats(color=(0.05, 0.9, 0.05), count: int = 400, at=(0, 0, 0)) -> Gaussians:
    x, _ = tp.sample_sphere(at, 0.02, count=count)
    n = len(x)
    return Gaussians.from_colors(
        means=torch.tensor(x).float(), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), 0.002), opacities=torch.full((n,), 0.9),
        colors=torch.tensor(color).repeat(n, 1),
    )  # fmt: skip


GREEN = (20, 230, 20)


def test_splats_are_drawn_and_move(browser):
    frames = [
        web.WebFrame(splats=web.Splats.of(some_splats(at=(x, 0, 0.05)))) for x in (-0.06, 0.06)
    ]
    with web.serve(frames, box=BOX, azimuth=0, elevation=0, port=0) as page:
        browser.open(page.url)
        first = wait_for(lambda: shown(browser, GREEN))
        keep(first, "splats_first")
        page.show(1)
        last = wait_for(lambda: moved(browser, GREEN, place_of(first, GREEN), 100))
        keep(last, "splats_last")
        assert place_of(last, GREEN)[0] > place_of(first, GREEN)[0]


def test_closing_ends_threads_and_frees_the_port(viser):
    before = set(threading.enumerate())
    with web.serve(moving(3), box=BOX, port=0) as page:
        with urllib.request.urlopen(page.url, timeout=PATIENCE) as answer:
            assert answer.status == 200
        port = int(page.url.rsplit(":", 1)[1])
        with web.serve(moving(2), box=BOX, port=port) as other:
            assert other.url != page.url  # that port is taken
        assert page._server.request_share_url() is None  # no tunnel to the rest of the world
    page.close()  # once more
    assert web._free_port(port) == port
    wait_for(lambda: not {t for t in threading.enumerate() if not t.daemon} - before)


def test_only_this_machine_is_answered(viser):
    with web.serve(moving(2), box=BOX, port=0) as page:
        port = int(page.url.rsplit(":", 1)[1])
        listening = {
            line.split()[1] for name in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        }  # fmt: skip
        assert [a for a in listening if int(a.split(":")[1], 16) == port] == [
            f"0100007F:{port:04X}"
        ]


def test_a_frame_that_cannot_be_read_is_said(viser):
    class Broken(list):
        def __getitem__(self, index):
            if index == 1:
                raise ValueError("frame_0001.ply: damaged <b>")
            return super().__getitem__(index)

    with web.serve(Broken(moving(3)), box=BOX, port=0) as page:
        page.show(1)
        wait_for(lambda: page.frame == 1)
        assert "frame 1: frame_0001.ply: damaged &lt;b&gt;" in page._caption.content
        page.show(2)
        wait_for(lambda: page._caption.content == "moment 2")


@pytest.mark.parametrize(
    "change, named",
    [({"frames": []}, "frames"), ({"fps": 0}, "fps"), ({"box": (0, 1)}, "box"),
     ({"port": 70000}, "port"), ({"port": -1}, "port")],
)  # fmt: skip
def test_wrong_values_are_named(change, named, viser):
    options = {"frames": moving(2), "box": BOX, "port": 0} | change
    with pytest.raises(ValueError, match=f"^{named}: got"):
        web.serve(**options)


def test_without_viser_a_sentence_names_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(web.NoWeb, match="pip install"):
        web.serve(moving(2), box=BOX)
    assert view_web.share(tmp_path, None) == 2
    assert "pip install" in capsys.readouterr().err


def test_arrows_have_heads_and_colours():
    x, vectors = np.zeros((2, 3)), np.array([[0, 0, 2.0], [1.0, 0, 0]])
    made = web.arrows_of(x, vectors, 0.5, 2.0)
    np.testing.assert_allclose(made["arrows"][:, 1], [[0, 0, 0.5], [0.25, 0, 0]])
    assert made["arrow_colors"][0].sum() > made["arrow_colors"][1].sum()
    lines = web._with_heads(made["arrows"])
    assert lines.shape == (2 * web.PIECES, 2, 3)
    np.testing.assert_allclose(lines[1 : web.PIECES, 0], [[0, 0, 0.5]] * (web.PIECES - 1))
    assert (lines[1 : web.PIECES, 1, 2] < 0.5).all()
    assert np.isfinite(web._with_heads(np.zeros((1, 2, 3)))).all()


# What view.py shows


def opened(*words):
    with torch.no_grad():
        return view.open_stage(view.parse([str(word) for word in words]))


def test_a_scene_is_simulated(tmp_path):
    look = "[camera]\neye = [0.5, -2, 0.6]\ntarget = [0.5, 0.5, 0.5]\n"
    (tmp_path / "scene.toml").write_text(SCENE + look)
    with torch.no_grad():
        shown = view_web.of_stage(opened(tmp_path / "scene.toml"), 4)
    frames = shown["frames"]
    assert len(frames) == 5
    x = [frame.x for frame in frames]
    drop = 0.5 * 9.81 * (4 / 24) ** 2
    assert (x[0] - x[4])[:, 2].mean() == pytest.approx(drop, rel=0.05)
    assert frames[3].lines is frames[4].lines is not None and "t = 0.167 s" in frames[4].caption
    np.testing.assert_allclose(shown["eye"], (0.5, -2, 0.6))
    toward = np.subtract(shown["target"], shown["eye"])
    assert toward @ (0, 2.5, -0.1) / np.linalg.norm(toward) == pytest.approx(2.502, rel=1e-3)


def test_splats_stand_still_or_are_carried(tmp_path):
    save_gaussians(tmp_path / "some.ply", some_splats())
    shown = view_web.of_stage(opened(tmp_path / "some.ply"), 4)
    assert len(shown["frames"]) == 1
    assert len(shown["frames"][0].splats.means) == len(some_splats())
    stage = opened(tmp_path / "some.ply", "--live", "--particles", 200)
    stage.show = "splats"
    with torch.no_grad():
        shown = view_web.of_stage(stage, 2)
    first, last = shown["frames"][0].splats, shown["frames"][2].splats
    np.testing.assert_allclose(first.means, some_splats().means, atol=1e-5)
    assert (last.means - first.means)[:, 1].min() > 0.004  # y points down
    assert last.covariances.shape == (len(some_splats()), 3, 3)


def test_a_wind_run_has_arrows(wind_run):  # noqa: F811
    shown = view_web.of_stage(opened(wind_run), 0)
    frame = shown["frames"][1]
    assert len(shown["frames"]) == 5 and len(frame.x) == 60
    along = np.diff(frame.arrows, axis=1)[:, 0]
    assert len(along) == 60 and (along[:, 0] > 0).mean() > 0.9  # it was pushed that way
    assert shown["legend"][1].startswith("force")


def test_a_trace_run_goes_past_its_end(trace_run):  # noqa: F811
    shown = view_web.of_stage(opened(trace_run[0]), 0)
    first, last = shown["frames"][0], shown["frames"][len(shown["frames"]) - 1]
    assert "observed" in first.caption and "predicted" in last.caption
    assert not np.allclose(first.splats.means, last.splats.means)
    assert first.arrows.shape[1:] == (2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames of a falling ball, as simulate.py leaves them."""
    x, _ = tp.sample_sphere((0, 0, 1), 0.1, count=300)
    x = torch.tensor(x, dtype=torch.float64)
    zero, eye = torch.zeros_like(x), torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)

    def states():
        for i in range(6):
            t = i / 24
            down = torch.tensor([0, 0, 1.0], dtype=torch.float64)
            yield tp.State(
                x=x - 4.9 * t**2 * down, v=zero - 9.81 * t * down, C=0 * eye, F=eye,
                plastic=zero[:, 0], time=t,
            )  # fmt: skip

    out = tmp_path_factory.mktemp("ball")
    tp.write_frames(states(), out / "frames", fps=24)
    return out


def test_frames_of_a_simulation(folder):
    shown = view_web.of_folder(folder / "frames")
    assert shown["title"] == folder.name and shown["fps"] == 24 and len(shown["frames"]) == 6
    lower, upper = shown["box"]
    assert upper[2] > 1 and lower[2] == pytest.approx(0.9 - 4.9 * (5 / 24) ** 2, abs=0.02)
    assert 0.005 < shown["radius"] < 0.03
    assert (shown["frames"][5].colors != shown["frames"][0].colors).any()


def test_particles_that_left_the_grid_are_not_on_the_page(tmp_path):
    x = torch.rand(40, 3)
    gone = torch.arange(40) < 10
    eye = torch.eye(3).repeat(40, 1, 1)

    def states():
        for i in range(3):
            out = gone & (i > 0)
            yield tp.State(
                x=x + 100.0 * out[:, None], v=torch.ones(40, 3) + 100.0 * out[:, None],
                C=0 * eye, F=eye * ~out[:, None, None], plastic=torch.zeros(40), time=i / 24,
            )  # fmt: skip

    scalars = lambda state: {"removed": state.removed}  # noqa: E731
    tp.write_frames(states(), tmp_path / "frames", fps=24, scalars=scalars)
    shown = view_web.of_folder(tmp_path / "frames")
    assert [len(frame.x) for frame in shown["frames"]] == [40, 30, 30]
    assert [len(frame.colors) for frame in shown["frames"]] == [40, 30, 30]
    assert np.max(shown["box"]) <= 1 and shown["legend"][0][1] == pytest.approx(3**0.5)


def test_a_scene_out_of_which_particles_go(tmp_path):
    carried = """
[simulation]
outside = "remove"
[[collider]]
shape = "box"
center = [0.5, 0.5, 0.6]
half_size = [0.2, 0.2, 0.2]
contact = "sticky"
motion = {velocity = [6.0, 0.0, 0.0]}
"""
    leaky = SCENE.replace("dx = 0.05", 'dx = 0.05\ncontact = "open"')
    (tmp_path / "scene.toml").write_text(leaky + carried)
    with torch.no_grad():
        shown = view_web.of_stage(opened(tmp_path / "scene.toml"), 3)
    counts = [len(frame.x) for frame in shown["frames"]]
    assert counts[0] > counts[-1] and f"{counts[-1]} particles" in shown["frames"][-1].caption
    assert [len(frame.colors) for frame in shown["frames"]] == counts


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_and_leaves_no_process(end, folder, browser):
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'examples')!r}]; import view_web; "
        f"sys.exit(view_web.share({str(folder)!r}, None, port=0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.stderr.read()
        browser.open(line.split(": ", 1)[1].split(",")[0])
        wait_for(lambda: "t = 0.000 s" in (browser.ask("document.body.innerText") or ""))
        picture = wait_for(lambda: still(browser))
        keep(picture, "folder")
        assert np.ptp(picture[100:400, 320:620], axis=(0, 1)).max() > 80  # something is there
        process.send_signal(end)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and err.strip() == "stopped"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert not alive(lambda pid, group, words: group == process.pid)


def still(browser: Browser):
    """A picture that is the same twice."""
    first, again = browser.picture(), browser.picture()
    return again if np.abs(first - again).max() < 3 else None


def alive(wanted) -> list[int]:
    """Processes for which wanted(pid, group, words) holds."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            if fields[0] != "Z" and wanted(int(path.name), int(fields[2]), words):
                found.append(int(path.name))
    return found


def test_the_browser_leaves_no_process(viser, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt install chromium)")

    def ours(pid, group, words):
        return any(str(tmp_path) in word for word in words)

    with web.serve(moving(2), box=BOX, port=0) as page:
        with Browser(tmp_path) as it:
            it.open(page.url)
            assert alive(ours)
        wait_for(lambda: not alive(ours))
        wait_for(lambda: not page._server.get_clients())  # and the page goes on
        with urllib.request.urlopen(page.url, timeout=PATIENCE) as answer:
            assert answer.status == 200
