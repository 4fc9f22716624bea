"""A session in a web browser: viser, optional extra `web`. The server answers this machine only."""

import contextlib
import io
import queue
import socket
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from renderers.camera import Camera
from renderers.viewer.eye import Eye
from renderers.viewer.panel import VIEWS, Panel
from renderers.viewer.scenery import Scenery
from renderers.viewer.session import Session
from taichi_phys.checks import whole_number


COMMAND = "pip install viser"
HOST = "127.0.0.1"
PORT = 8080
MAX_PORT = 65535
IDLE = 0.25  # s until it is looked again whether something is to be done
PAUSE = 0.002  # s while something plays
ROOM = 1.1  # around the scene


class NoWeb(RuntimeError):
    """The package that serves pages is not installed."""


class WebPage:
    """A session on a page at http://127.0.0.1, until it is closed; a context manager.

    session: belongs to the thread that calls `run`, which alone calls Taichi; port: the next free
    one if that is taken, any if 0; url: where the page is. Raises NoWeb, or ValueError by name, in
    one sentence.
    """

    def __init__(self, session: Session, *, port: int = PORT):
        viser = check_installed()
        self.session = session
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        with contextlib.redirect_stdout(io.StringIO()):  # a banner
            self._server = viser.ViserServer(
                host=HOST, port=_free_port(port), label=session.stage.title, verbose=False
            )
        # a page could ask for a tunnel that makes it public
        self._server.request_share_url = lambda *_, **__: None
        self.url = f"http://{HOST}:{self._server.get_port()}"
        self._ended, self._seen = False, -1
        try:
            self._server.scene.world_axes.visible = False
            self._server.gui.configure_theme(
                dark_mode=True, show_logo=False, show_share_button=False, control_width="medium"
            )
            self._panel = Panel(self._server, session, self._post, self._change_view)
            self._arrive()
            self._show()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WebPage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and its threads, and `run`."""
        if not self._ended:
            self._ended = True
            self._calls.put(None)
            with contextlib.redirect_stdout(io.StringIO()):  # "Server stopped"
                self._server.stop()

    def run(self) -> None:
        """Let the session go on as the browsers want it, until the page is closed."""
        while not self._ended:
            self._take(PAUSE if self.session.stage.playing else IDLE)
            self.session.tick()
            if self.session.changes != self._seen and not self._ended:
                self._show()

    def _post(self, call: Callable[..., Any], *values: Any) -> None:
        """Let the thread that runs the page call something."""
        self._calls.put(partial(call, *values))

    def _take(self, patience: float) -> None:
        """Do what the browsers ask for, all that has come."""
        with contextlib.suppress(queue.Empty):
            call = self._calls.get(timeout=patience)
            while call is not None:
                call()
                call = self._calls.get_nowait()

    def _show(self) -> None:
        session = self.session
        stage, now = session.stage, session.do(session.stage.snapshot, True)
        self._seen = session.changes
        with self._server.atomic():
            if stage is not self._stage:
                self._scenery.clear()
                self._arrive()
            if now is not None:
                self._scenery.show(now)
            self._panel.show(now, self._scenery)

    # Cameras

    def _arrive(self) -> None:
        """Show the session's stage for the first time."""
        self._stage = self.session.stage
        box = self._stage.snapshot(fast=True).box
        self._scenery = Scenery(self._server, box, self._drag)
        self._server.scene.set_up_direction(tuple(float(value) for value in self._stage.up))
        self._eyes: dict[int, Eye] = {}  # of the browsers
        first = self._eye()
        first.given = self._stage.start
        clients = self._server.get_clients().values()
        for camera in [self._server.initial_camera, *(client.camera for client in clients)]:
            self._scenery.look(camera, first)

    def _eye(self) -> Eye:
        eye = Eye(self._stage)
        eye.see(self._stage.snapshot(fast=True).box, 1 / ROOM)
        return eye

    def _change_view(self, client: Any, view: str) -> None:
        """A browser asked to see the whole scene, or what the next camera saw."""
        name = client.client_id
        if view == VIEWS[0] or name not in self._eyes:
            self._eyes[name] = self._eye()
        if view != VIEWS[0]:
            self._eyes[name].next(self._stage.views)
        self._scenery.look(client.camera, self._eyes[name])

    def _drag(self, phase: str, camera: Camera, pixel: np.ndarray) -> None:
        stage, do = self.session.stage, self.session.do
        if phase == "end":
            self._post(do, stage.release)
        else:
            self._post(do, stage.grab if phase == "start" else stage.drag, camera, pixel)


# The server


def check_installed() -> ModuleType:
    """The package viser. Raises NoWeb, in one sentence, where it is absent."""
    try:
        import viser
    except ImportError as error:
        raise NoWeb(f"the web page needs viser ({error}): {COMMAND}") from None
    return viser


def _free_port(port: int) -> int:
    """The first free port from `port` on; any free one for 0."""
    whole_number("port", port, f"0 to {MAX_PORT}", low=0, high=MAX_PORT)
    for number in range(port, min(port + 100, MAX_PORT + 1)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError as error:
                reason = error.strerror
                continue
            return probe.getsockname()[1]
    raise ValueError(f"port: {port} and those after it cannot be used ({reason})")
