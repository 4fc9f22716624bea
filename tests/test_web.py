"""A session on a page, looked at and handled in a real browser without a screen."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser, alive, picture_when, still
from helpers import PATIENCE, wait_for
from PIL import Image
from small_runs import wind_run  # noqa: F401
from stages import FPS, block, center

import taichi_phys as tp
from inverse.commands.view import main
from renderers.lines import box_lines
from renderers.orbit import look_at
from renderers.splats.gaussians import Gaussians
from renderers.viewer import web
from renderers.viewer.session import Session
from renderers.viewer.snapshot import Arrows, Lines, Points, Snapshot
from renderers.viewer.stage import Button, Choice, Recorded, Slider, Switch, bound
from renderers.viewer.web import WebPage


ROOT = Path(__file__).resolve().parent.parent
BOX = np.array([[-0.1, -0.05, 0.0], [0.1, 0.05, 0.1]])
VIEW = slice(None), slice(330, 760)  # px of the page that neither the panel nor a warning hides
BLUE, RED, GREEN = (40, 90, 250), (250, 40, 40), (20, 230, 20)


@pytest.fixture(scope="module")
def viser():
    return pytest.importorskip("viser", reason="viser, of the extra web, is not installed")


@pytest.fixture(scope="module")
def browser(viser, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt install chromium)")
    with Browser(tmp_path_factory.mktemp("chromium")) as it:
        yield it


class Moving(Recorded):
    """A red ball, or green splats, from left to right; an arrow that stays at the right end."""

    title, azimuth, elevation, last = "moving", 0.0, 10.0, 4

    def __init__(self, splats: bool = False):
        self.splats, self.whole, self.level, self.name, self.pressed = splats, True, 10.0, "a", 0
        self._lines = Lines.of((box_lines(*BOX), (120, 130, 150)))
        self._arrows = Arrows.of(np.array([[0.08, 0, 0.01]]), np.array([[0, 0, 1.0]]), 0.08, 10.0)
        self.views = [look_at((0, -0.5, 0.05), (0, 0, 0.05), width=64, height=48, fov=30)]

    def controls(self):
        press = lambda: setattr(self, "pressed", self.pressed + 1)  # noqa: E731
        return [
            Slider("frame", bound(self, "frame")[0], self.go, 0, self.last, whole=True),
            Slider("level", *bound(self, "level"), 1.0, 100.0, log=True),
            Switch("whole", *bound(self, "whole")), Choice("name", "ab", *bound(self, "name"), "o"),
            Button("press me", press),
        ]  # fmt: skip

    def snapshot(self, fast=False):
        x, _ = tp.sample_sphere((-0.06 + 0.03 * self.frame, 0.0, 0.05), 0.02, count=1500)
        red = np.tile(np.uint8(RED), (len(x), 1))
        points = Points(x=x, colors=red, radius=0.001)
        return Snapshot(
            box=BOX, points=None if self.splats else points, arrows=self._arrows,
            lines=self._lines, splats=splats_at(x) if self.splats else None,
            caption=f"moment {self.frame} <b>", legend=((0.0, 10.0), "strength"),
        )  # fmt: skip


def splats_at(x) -> dict:
    n = len(x)
    return Gaussians.from_colors(
        means=torch.tensor(x).float(), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), 0.002), opacities=torch.full((n,), 0.9),
        colors=torch.tensor(GREEN).repeat(n, 1) / 255,
    ).tensors()  # fmt: skip


def handled(stage, hand) -> None:
    """Show a stage, run the page here, where Taichi is, and call hand(page) beside it."""
    errors = []

    def work() -> None:
        try:
            hand(page)
        except BaseException as error:
            errors.append(error)
        finally:
            page.close()

    with torch.no_grad(), WebPage(Session(stage), port=0) as page:
        thread = threading.Thread(target=work)
        thread.start()
        page.run()
        thread.join()
    if errors:
        raise errors[0]


def text_of(browser: Browser) -> str:
    return browser.ask("document.body.innerText") or ""


def place_of(picture: np.ndarray, color, least: int = 60) -> np.ndarray | None:
    """(2,) px x, y: the middle of what has about the hue of a color, if there is enough."""
    strong = np.argmax(color)
    others = [k for k in range(3) if k != strong]
    seen = picture[..., strong] > 1.5 * picture[..., others].max(axis=2)
    seen &= picture[..., strong] > 60
    rows, columns = np.nonzero(seen[VIEW])
    return np.array([columns.mean(), rows.mean()]) if len(rows) >= least else None


def moved(browser: Browser, color, start=(-1e9, -1e9), least: float = 0):
    """A picture at rest in which a color is at least so many px from where it was."""
    picture = browser.picture()
    at = place_of(picture, color)
    if at is None or np.abs(at - start).max() < least:
        return None
    again = browser.picture()
    return again if np.abs(again - picture)[VIEW].max() < 3 else None  # pages fade in


def keep(picture: np.ndarray, name: str) -> None:
    """For somebody to look at, where WEB_PICTURES says."""
    if "WEB_PICTURES" in os.environ:
        path = Path(os.environ["WEB_PICTURES"]) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(path)


def own(url: str, page: str) -> bool:
    """Whether a request stays on this machine."""
    return url.startswith((page, page.replace("http", "ws"), "data:", "blob:", "about:"))


# What is seen


@pytest.mark.parametrize("splats, color", [(False, RED), (True, GREEN)])
def test_the_slider_and_the_play_button_move_what_is_seen(splats, color, browser):
    stage = Moving(splats)

    def hand(page):
        browser.open(page.url)
        first = picture_when(lambda: moved(browser, color))
        keep(first, f"first_{splats}")
        assert "moment 0 <b>" in text_of(browser)
        browser.slide(1.0)
        wait_for(lambda: stage.frame == 4)
        start = place_of(first, color)
        last = picture_when(lambda: moved(browser, color, start, 100))
        keep(last, f"last_{splats}")
        end = place_of(last, color)
        assert end[0] - start[0] > 100 and abs(end[1] - start[1]) < 20
        wait_for(lambda: "moment 4" in text_of(browser))
        browser.click("Play")
        seen = set()
        wait_for(lambda: seen.add(stage.frame) or len(seen) >= 4, pause=0.01)
        browser.click("Pause")
        wait_for(lambda: not stage.playing)
        assert all(own(url, page.url) for url in browser.requested), browser.requested

    handled(stage, hand)


# What can be done


def test_buttons_switches_choices_and_keys_reach_the_stage(browser):
    stage = Moving()

    def hand(page):
        browser.open(page.url)
        picture_when(lambda: moved(browser, RED))
        browser.click("press me")
        wait_for(lambda: stage.pressed == 1)
        for name, frame in (("Step", 1), ("Step", 2), ("Step back", 1), ("Reset", 0)):
            browser.click(name)
            wait_for(lambda frame=frame: stage.frame == frame)
        boxes = "[...document.querySelectorAll('input[type=checkbox]')]"
        browser.ask(f"{boxes}.at(-4).click()")  # before those for particles, arrows and lines
        wait_for(lambda: not stage.whole)
        browser.ask(f"{boxes}.at(-3).click()")
        wait_for(lambda: not page._scenery._handles["particles"].visible)
        browser.key("o", "KeyO", 79)
        wait_for(lambda: stage.name == "b")
        browser.key(" ", "Space", 32)
        wait_for(lambda: stage.playing)
        browser.key(" ", "Space", 32)
        wait_for(lambda: not stage.playing)
        browser.key("ArrowRight", "ArrowRight", 39)
        client = next(iter(page._server.get_clients().values()))
        browser.click("Next camera")
        there = page._scenery._units(stage.views[0].position)
        wait_for(lambda: np.abs(client.camera.position - there).max() < 1e-3)
        browser.click("Whole scene")
        wait_for(lambda: np.abs(client.camera.position - there).max() > 1)

    handled(stage, hand)


def test_the_page_shows_what_controls_are_set_to_and_sets_them(viser):
    stage = Moving()
    with WebPage(Session(stage), port=0) as page:
        shown = page._panel._shown
        controls = {c.name: c for c in stage.controls()}
        assert [shown[k][0].value for k in ("frame", "level", "whole", "name")] == [0, 1, True, "a"]
        page._panel._take(controls["level"], 2.0)  # log10
        page._panel._take(controls["name"], "b")
        assert stage.level == 100 and stage.name == "b"
        stage.level, stage.frame = 10.0, 3
        page._show()
        assert shown["level"][0].value == 1 and shown["frame"][0].value == 3
        assert "10," in shown["level"][0].label


def test_a_drag_pushes_the_body_in_its_direction(browser):
    stage = block()
    stage.seek(1)
    stage.reset()
    e = stage.playground

    def hand(page):
        browser.open(page.url)
        picture_when(lambda: still(browser))
        client = next(iter(page._server.get_clients().values()))
        seen = page._scenery._camera(client.camera)
        size = client.camera.image_height / seen.height
        before = center(stage)
        at = size * seen.project(before)[0]
        browser.press(at)
        for k in range(1, 9):
            browser.pull(at + (15 * k, -5 * k))
        arm = wait_for(lambda: pulled(seen, size, (120, -40)))
        assert np.abs(arm[0] - (120, -40)).max() < 3
        keep(picture_when(lambda: still(browser)), "push")
        for frame in (1, 2, 3):
            browser.key("n", "KeyN", 78)
            wait_for(lambda frame=frame: e.state.time > (frame - 0.5) / FPS)
        browser.let_go(at + (120, -40))
        wait_for(lambda: e.pull is None)
        shift = seen.project(center(stage))[0] - seen.project(before)[0]
        assert shift @ (3, -1) > 0.95 * np.linalg.norm(shift) * np.sqrt(10) > 1

    def pulled(seen, size, wanted):
        """How far the body is pulled, px, once that is about what is wanted."""
        if e.pull is None:
            return None
        (held, _), (target, _) = (seen.project(p) for p in (e.pull.held(e.state.x), e.pull.target))
        arm = size * (target - held)
        return [arm] if np.abs(arm - wanted).max() < 3 else None

    handled(stage, hand)


def test_a_successor_takes_the_page(wind_run, viser):  # noqa: F811
    from inverse.wind import WindRun
    from inverse.wind.stage import WindStage

    with torch.no_grad():
        stage = WindStage(WindRun.load(wind_run))
        session = Session(stage)
        with WebPage(session, port=0) as page:
            assert page._panel._side.visible and {"arrows", "particles"} <= set(
                page._scenery.kinds()
            )
            stage.blow("ball", count=200)
            session.tick()
            page._show()
            assert "gravity (m/s2)" in page._panel._shown and not page._panel._side.visible
            assert "body 0" in page._scenery._handles
            session.press("b")
            page._show()
            assert "frame" in page._panel._shown and "body 0" not in page._scenery._handles


# The server


def test_closing_ends_threads_and_frees_the_port(viser):
    before = set(threading.enumerate())
    with WebPage(Session(Moving()), port=0) as page:
        with urllib.request.urlopen(page.url, timeout=PATIENCE) as answer:
            assert answer.status == 200
        port = int(page.url.rsplit(":", 1)[1])
        with WebPage(Session(Moving()), port=port) as other:
            assert other.url != page.url  # that port is taken
        assert page._server.request_share_url() is None  # no tunnel to the rest of the world
    page.close()  # once more
    page.run()  # returns at once
    assert web._free_port(port) == port
    wait_for(lambda: not {t for t in threading.enumerate() if not t.daemon} - before)


def test_only_this_machine_is_answered(viser):
    with WebPage(Session(Moving()), port=0) as page:
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
    class Broken(Moving):
        def snapshot(self, fast=False):
            if self.frame == 1:
                raise ValueError("frame_0001.ply: damaged <b>")
            return super().snapshot(fast)

    session = Session(Broken())
    with WebPage(session, port=0) as page:
        session.press("n")
        page._show()
        assert "frame_0001.ply: damaged &lt;b&gt;" in page._panel._caption.content
        session.press("n")
        page._show()
        assert "moment 2" in page._panel._caption.content


@pytest.mark.parametrize("port", [70000, -1, True])
def test_wrong_ports_are_refused(port, viser):
    with pytest.raises(ValueError, match="^port: got"):
        WebPage(Session(Moving()), port=port)


def test_without_viser_a_sentence_names_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(web.NoWeb, match="pip install"):
        WebPage(Session(Moving()))
    assert main([str(tmp_path), "--web"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_the_program_ends_and_leaves_no_process(wind_run, browser):  # noqa: F811
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "view.py"), str(wind_run), "--web", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.stderr.read()
        browser.open(line.split(": ")[-1].split(",")[0])
        wait_for(lambda: "t = 0.000 s" in text_of(browser))
        keep(picture_when(lambda: still(browser)), "wind")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130 and err.strip() == "stopped"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert not alive(lambda pid, group, words: group == process.pid)


def test_the_browser_leaves_no_process(viser, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no chromium (Debian: apt install chromium)")

    def ours(pid, group, words):
        return any(str(tmp_path) in word for word in words)

    def hand(page):
        with Browser(tmp_path) as it:
            it.open(page.url)
            assert alive(ours)
        wait_for(lambda: not alive(ours))
        wait_for(lambda: not page._server.get_clients())  # and the page goes on
        with urllib.request.urlopen(page.url, timeout=PATIENCE) as answer:
            assert answer.status == 200

    handled(Moving(), hand)
