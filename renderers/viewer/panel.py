"""The controls of a page: viser, optional extra `web`."""

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from renderers.overlay import strength_colors
from renderers.viewer.scenery import Scenery
from renderers.viewer.session import Session
from renderers.viewer.snapshot import Legend, Snapshot
from renderers.viewer.stage import Button, Choice, Control, Slider, Switch


STEPS = 500  # of a slider
LAST = 1e9  # in the order of the panel
HOTKEYS = {" ": "space", "Left": "arrowleft", "Right": "arrowright"}
MOVES = "wasdqe"  # keys by which a page moves its camera
TIME = {"Step back": "Left", "Step": "n", "Reset": "r", "Leave": "b"}  # button -> key
VIEWS = ("Whole scene", "Next camera")


class Panel:
    """Buttons of time and of views, the controls of the stage, and what it says.

    server: of viser; session: what is shown; post: hands a call to the thread of the session; view:
    called with a client and whether it shall see the whole scene or through the next camera.
    """

    def __init__(
        self, server: Any, session: Session, post: Callable[..., None],
        view: Callable[[Any, str], None],
    ):  # fmt: skip
        self._gui, self._session, self._post = server.gui, session, post
        self._caption = self._gui.add_markdown("")
        self._play = self._gui.add_button("Play")
        self._play.on_click(lambda _: post(session.press, " "))
        times = self._gui.add_button_group("", tuple(TIME))
        times.on_click(lambda event: post(session.press, TIME[event.target.value]))
        views = self._gui.add_button_group("", VIEWS)
        views.on_click(lambda event: post(view, event.client, event.target.value))
        self._legend = self._gui.add_html("", visible=False)
        self._side = self._gui.add_image(np.zeros((8, 8, 3)), visible=False, order=LAST)
        self._folder = self._gui.add_folder("")
        self._made: tuple = ()
        self._shown: dict[str, tuple[Any, Any]] = {}  # name -> handle, value that it shows
        self._kinds: dict[str, Any] = {}
        self._commands: list[Any] = []

    def show(self, now: Snapshot | None, scenery: Scenery) -> None:
        """Show what a snapshot says, None: only that it cannot be had."""
        self._scenery, stage = scenery, self._session.stage
        text = [] if now is None else [escape(line) for line in now.caption.splitlines()]
        text += [f"**{escape(stage.message)}**"] if stage.message else []
        self._caption.content = "<br/>".join(text)
        self._play.label = "Pause" if stage.playing else "Play"
        if now is not None:
            self._legend.visible = now.legend is not None
            if now.legend is not None:
                self._legend.content = _bar(now.legend)
            self._side.visible = now.side is not None
            if now.side is not None:
                self._side.image = now.side
        controls = stage.controls()
        if (stage, controls) != self._made:
            self._made = stage, controls
            self._remake(controls)
        for control in controls:
            if not isinstance(control, Button):
                self._follow(control)
        for kind in scenery.kinds():
            if kind not in self._kinds:
                self._kinds[kind] = self._gui.add_checkbox(f"show {kind}", True)
                self._kinds[kind].on_update(
                    lambda event, kind=kind: self._post(
                        self._scenery.set_visible, kind, event.target.value
                    )
                )

    def _remake(self, controls: list[Control]) -> None:
        """Make the controls of the stage, and its keys, anew."""
        self._folder.remove()
        self._folder, self._shown = self._gui.add_folder(self._session.stage.title), {}
        with self._folder:
            for control in controls:
                self._make(control)
        for command in self._commands:
            command.remove()
        self._commands = []
        for key, (text, _) in self._session.actions().items():
            if key not in MOVES:
                hotkey = HOTKEYS.get(key, key.upper())
                command = self._gui.add_command(text, hotkey=hotkey)
                command.on_trigger(lambda _, key=key: self._post(self._session.press, key))
                self._commands.append(command)

    def _make(self, control: Control) -> None:
        gui = self._gui
        if isinstance(control, Button):
            handle = gui.add_button(control.name)
            handle.on_click(lambda _: self._post(self._session.do, control.press))
            return
        value = _to_page(control)
        if isinstance(control, Slider):
            low, high = control.ends
            number, step = (int, 1) if control.whole else (float, (high - low) / STEPS)
            top = high if high > low else low + step
            handle = gui.add_slider(_label(control), number(low), number(top), step, value)
        elif isinstance(control, Choice):
            options = control.options if value in control.options else [value, *control.options]
            handle = gui.add_dropdown(control.name, tuple(options), initial_value=value)
        else:
            handle = gui.add_checkbox(control.name, value)
        self._shown[control.name] = handle, value

        @handle.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # not what `_follow` set
                self._post(self._take, control, event.target.value)

    def _take(self, control: Slider | Choice | Switch, value: Any) -> None:
        """A browser moved a control."""
        handle, before = self._shown[control.name]
        if value != before:
            self._shown[control.name] = handle, value
            value = control.value(value) if isinstance(control, Slider) else value
            self._session.do(control.set, value)

    def _follow(self, control: Slider | Choice | Switch) -> None:
        """Show the value that a control has now."""
        handle, before = self._shown[control.name]
        value = _to_page(control)
        if value != before:
            self._shown[control.name] = handle, value
            handle.value = value
        if isinstance(control, Slider) and control.log:
            handle.label = _label(control)


def _label(control: Slider) -> str:
    return f"{control.name}: {control.get():.3g}, log10" if control.log else control.name


def _to_page(control: Slider | Choice | Switch) -> Any:
    if isinstance(control, Slider):
        return int(control.place) if control.whole else control.place
    return control.get()


def _bar(legend: Legend) -> str:
    """A bar of the strength colors with its limits."""
    (low, high), name = legend
    steps = strength_colors(np.linspace(low, high, 12), (low, high))
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in steps.tolist())
    return (
        f'<div style="padding:0 1em;font-size:0.8em"><div>{escape(name)}</div>'
        f'<div style="height:0.8em;background:linear-gradient(to right,{stops})"></div>'
        '<div style="display:flex;justify-content:space-between">'
        f"<span>{low:.3g}</span><span>{high:.3g}</span></div></div>"
    )
