"""A report as one HTML file that contains its figures, tables, plots and videos.

    Report("Wind in a leaf").summary("...").figures({"direction error": (7.9, "deg")}) \\
        .plot(plot_lines(t, {"x": gx}, "time (s)", "force (N)"), "Net force.").write("report.html")
"""

import base64
import contextlib
import dataclasses
import html
import io
import math
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

import taichi_phys
from inverse.runs.plots import INK
from taichi_phys.io.files import atomic_path


if TYPE_CHECKING:
    from matplotlib.figure import Figure


PACKAGES = ("taichi", "torch", "numpy")
WIDE = 4  # columns; on phones, each row of a table with more becomes a list
NOTICES = ("good", "care", "bad")
MEDIA = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif"}


class Report:
    """An HTML report whose sections stand in the order of the calls that add them.

    Every such call returns the report, so that calls can be chained. All text is escaped. Absolute
    paths in tables and in the command are shortened, because reports are sent to others.
    """

    def __init__(self, title: str):
        self.title = title
        self._sections: list[str] = []

    def summary(self, text: str) -> "Report":
        """Add the result in a sentence or two."""
        return self._add(f'<p class="summary">{_text(text)}</p>')

    def notice(self, text: str, kind: str = "good") -> "Report":
        """Add a sentence to be read first; kind: "good", "care" or "bad", which sets its color."""
        if kind not in NOTICES:
            raise ValueError(f"notice: got kind {kind!r}, expected one of {', '.join(NOTICES)}")
        return self._add(f'<p class="notice {kind}">{_text(text)}</p>')

    def heading(self, text: str) -> "Report":
        """Add the heading of a new part."""
        return self._add(f"<h2>{_text(text)}</h2>")

    def text(self, text: str) -> "Report":
        """Add a paragraph."""
        return self._add(f"<p>{_text(text)}</p>")

    def figures(self, values: Mapping[str, object]) -> "Report":
        """Add key figures as cards; values: name -> value, (value, unit) or (value, unit, note)."""
        cards = []
        for name, value in values.items():
            value, unit, note = (*(value if isinstance(value, tuple) else (value,)), "", "")[:3]
            cards.append(
                f'<div class="card"><div class="name">{_text(name)}</div>'
                f'<div class="value">{_text(value)} <small>{_text(unit)}</small></div>'
                + (f'<div class="note">{_text(note)}</div>' if note else "")
                + "</div>"
            )
        return self._add(f'<div class="cards">{"".join(cards)}</div>')

    def table(
        self,
        caption: str,
        rows: Mapping[str, object] | Iterable[Sequence[object]],
        header: Sequence[str] | None = None,
    ) -> "Report":
        """Add a table.

        rows: name -> value, or sequences of cells, as many as `header` has if it is given. Raises
        ValueError if the rows and the header differ in length.
        """
        rows = [tuple(row) for row in (rows.items() if isinstance(rows, Mapping) else rows)]
        widths = {len(row) for row in rows} | ({len(header)} if header is not None else set())
        if len(widths) > 1:
            raise ValueError(
                f"table {caption!r}: rows and header differ in length, got {sorted(widths)}, "
                "expected one length"
            )
        names = header or ("",) * len(rows[0] if rows else ())
        head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header or ())
        body = "".join(
            f"<tr>{''.join(_cell(cell, name) for cell, name in zip(row, names, strict=True))}</tr>"
            for row in rows
        )
        kind = ' class="wide"' if header and len(header) > WIDE else ""
        return self._add(
            f'<figure class="table"><figcaption>{_text(caption)}</figcaption>'
            f'<div class="scroll"><table{kind}>'
            + (f"<thead><tr>{head}</tr></thead>" if head else "")
            + f"<tbody>{body}</tbody></table></div></figure>"
        )

    def settings(self, config: object, caption: str = "Settings") -> "Report":
        """Add all settings, from a dataclass or a mapping, as a folded table."""
        return self._folded(caption, dict(_flat(config)))

    def assumptions(self, items: Iterable[str]) -> "Report":
        """Add a list of what was assumed, in a colored box."""
        items = "".join(f"<li>{_text(item)}</li>" for item in items)
        return self._add(f'<div class="assumptions"><h3>Assumptions</h3><ul>{items}</ul></div>')

    def plot(self, figure: "Figure", caption: str) -> "Report":
        """Add a matplotlib figure as inline SVG; the color INK becomes the page's text color."""
        return self._add(_framed(_svg(figure, caption), caption, "plot"))

    def image(self, path: str | Path, caption: str) -> "Report":
        """Add a PNG, JPEG or GIF file. Raises ValueError for other kinds and unreadable files."""
        return self._add(_framed(f'<img alt="{_text(caption)}" src="{_data_uri(path)}">', caption))

    def picture(self, pixels: np.ndarray, caption: str) -> "Report":
        """Add a picture; pixels: (H, W, 3) uint8."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        return self._add(_framed(f'<img alt="{_text(caption)}" src="{source}">', caption))

    def video(self, path: str | Path, caption: str) -> "Report":
        """Add an .mp4 file, which plays in a loop. Raises ValueError if it cannot be read."""
        attributes = 'controls loop muted autoplay playsinline preload="auto"'
        tag = f'<video {attributes} src="{_data_uri(path)}"></video>'
        return self._add(_framed(tag, caption, "wide"))

    def environment(
        self, seed: int | None = None, command: Sequence[str] | None = None, **more: object
    ) -> "Report":
        """Add a folded table of how the result was made: command, seed, versions, machine.

        command: by default the command line of this process; more: further rows, name -> value.
        """
        rows: dict[str, object] = {
            "command": command_line(sys.argv if command is None else command)
        }
        if seed is not None:
            rows["seed"] = seed
        return self._folded("How this was made", rows | environment() | more)

    def write(self, path: str | Path) -> Path:
        """Write the file, whole or not at all. Raises ValueError if it cannot be written."""
        path = Path(path)
        body = "\n".join(self._sections)
        page = PAGE.format(title=_text(self.title), style=STYLE, body=body)
        with atomic_path(path) as partial:
            partial.write_text(page, encoding="utf-8")
        return path

    def _add(self, section: str) -> "Report":
        self._sections.append(section)
        return self

    def _folded(self, caption: str, rows: Mapping[str, object]) -> "Report":
        body = "".join(f"<tr>{_cell(k)}{_cell(_exact(v))}</tr>" for k, v in rows.items())
        return self._add(
            f"<details><summary>{_text(caption)}</summary>"
            f'<div class="scroll"><table class="settings"><tbody>{body}</tbody></table></div>'
            "</details>"
        )


def _flat(config: Any, prefix: str = "") -> Iterable[tuple[str, object]]:
    """Names and values of a dataclass or mapping; names of nested ones are joined by dots."""
    if dataclasses.is_dataclass(config):
        names = [field.name for field in dataclasses.fields(config)]
        config = {name: getattr(config, name) for name in names}
    for name, value in config.items():
        if _nested(value):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(_nested(item) for item in value):
            yield from _flat({str(i): item for i, item in enumerate(value)}, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _nested(value: object) -> bool:
    return isinstance(value, Mapping) or dataclasses.is_dataclass(value)


def environment() -> dict[str, str]:
    """Versions of the project, Python and the packages that matter, and the system."""
    versions = {"python": platform.python_version(), "taichi-phys": taichi_phys.__version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions | {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": str(os.cpu_count()),
    }


def command_line(arguments: Sequence[str]) -> str:
    """A command as typed, without the absolute paths of this machine."""
    words = ["python"] if str(next(iter(arguments), "")).endswith(".py") else []
    for argument in arguments:
        flag, equals, value = str(argument).rpartition("=")
        word = flag + equals + shorten(value)
        words.append(f'"{word}"' if re.search(r"\s", word) or not word else word)
    return " ".join(words)


def shorten(value: str | PurePath) -> str:
    """Shorten an absolute path: relative to the working directory, or else its last name.

    Other values are returned unchanged.
    """
    text = str(value)
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        with contextlib.suppress(ValueError):
            return str(PurePath(text).relative_to(Path.cwd()))
        return (PureWindowsPath(text) if "\\" in text else PurePosixPath(text)).name or text
    return text


def _text(value: object) -> str:
    """Escaped text of a value; floating-point numbers to four digits."""
    if value is None or (isinstance(value, list | tuple) and not value):
        text = "\N{EN DASH}"
    elif isinstance(value, bool | np.bool_):
        text = "yes" if value else "no"
    elif isinstance(value, float | np.floating):
        text = f"{value:.4g}" if math.isfinite(value) else "not finite"
    elif isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    else:
        text = str(value)
    return html.escape(text)


def _exact(value: object) -> object:
    """The value with its floating-point numbers, also in lists, as text of ten digits."""
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return f"{value:.10g}" if isinstance(value, float) else value


def _shortened(value: object) -> object:
    """The value with its absolute paths, also in lists, shortened."""
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return shorten(value) if isinstance(value, str | PurePath) else value


def _cell(value: object, column: str = "") -> str:
    """A cell; column: its header, which phones show beside it in wide tables."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    kind = ' class="number"' if number else ""
    name = f' data-column="{_text(column)}"' if column else ""
    return f"<td{kind}{name}>{_text(_shortened(value))}</td>"


def _framed(content: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}">{content}<figcaption>{_text(caption)}</figcaption></figure>'


def _data_uri(path: str | Path) -> str:
    path = Path(path)
    kind = MEDIA.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{path}: got a name that ends in {path.suffix!r}, expected one of {', '.join(MEDIA)}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _svg(figure: "Figure", caption: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Text stays text (small, and searchable); a fixed salt makes the same figure the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": caption}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # every figure of the page has the same ids
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_text(caption)}" ', 1)
    return svg.replace(INK, "currentColor")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root { --ink: #1c2330; --soft: #5b6575; --line: #d9dee6; --paper: #fff; --plate: #f4f6f9;
  --accent: #0a6ebd; --warn: #fff6df; --warn-line: #d9a520;
  --good: #e4f4ea; --good-line: #2a9d62; --bad: #fdeae6; --bad-line: #c8402a;
  --shade: #1c233048; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #a0aaba; --line: #343c49;
  --paper: #14181f; --plate: #1e242e; --accent: #6cb6ff; --warn: #2e2814; --warn-line: #b98b1c;
  --good: #15291e; --good-line: #2a9d62; --bad: #331b16; --bad-line: #d3553f;
  --shade: #a0aaba58; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
.summary { font-size: 1.1rem; color: var(--soft); margin: 0 0 1.25rem; max-width: 46rem; }
.notice { font-size: 1.1rem; font-weight: 600; border-left: 4px solid; border-radius: .3rem;
  padding: .7rem 1rem; margin: .75rem 0; max-width: 46rem; }
.notice.good { background: var(--good); border-color: var(--good-line); }
.notice.care { background: var(--warn); border-color: var(--warn-line); }
.notice.bad { background: var(--bad); border-color: var(--bad-line); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1rem 0; }
.card { background: var(--plate); border-radius: .6rem; padding: .7rem .9rem; }
.card .name, .card .note { font-size: .85rem; color: var(--soft); }
.card .value { font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.card small { font-size: .9rem; font-weight: 400; color: var(--soft); }
/* shadows at the sides where the table goes on; at its ends, layers in the color of the paper
   scroll along and cover them */
.scroll { overflow-x: auto; background:
  linear-gradient(90deg, var(--paper) 1rem, transparent 2rem) 0 0 / 2rem 100% local no-repeat,
  linear-gradient(270deg, var(--paper) 1rem, transparent 2rem) 100% 0 / 2rem 100% local no-repeat,
  linear-gradient(90deg, var(--shade), transparent) 0 0 / .8rem 100% no-repeat,
  linear-gradient(270deg, var(--shade), transparent) 100% 0 / .8rem 100% no-repeat; }
details .scroll { margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word; }
th { color: var(--soft); font-weight: 600; }
.settings td { overflow-wrap: anywhere; min-width: 7rem; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: .6rem;
  padding: .5rem .9rem; }
details > summary { cursor: pointer; font-weight: 600; color: var(--accent); }
.assumptions { background: var(--warn); border-left: 4px solid var(--warn-line);
  border-radius: .3rem; padding: .7rem 1rem; margin: 1rem 0; }
.assumptions ul { margin: 0; padding-left: 1.2rem; }
figure { margin: 1.25rem 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 44rem; }
figure img, figure video { display: block; max-width: 100%; height: auto; border-radius: .4rem; }
figure.wide video { width: 100%; }
figcaption { font-size: .9rem; color: var(--soft); margin-top: .35rem; max-width: 44rem; }
figure.table figcaption { color: var(--ink); font-weight: 600; margin: 0 0 .35rem; }
@media (max-width: 30rem) {
  table { font-size: .8rem; }
  th, td { padding: .25rem .5rem .25rem 0; }
  details { padding: .5rem .6rem; }
  .settings td:first-child { width: 45%; }
  .wide thead { display: none; }
  .wide, .wide tbody, .wide tr { display: block; }
  .wide tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
  .wide td { display: flex; justify-content: space-between; gap: 1rem; border: 0;
    padding: .1rem 0; text-align: right; }
  .wide td::before { content: attr(data-column); color: var(--soft); text-align: left;
    white-space: nowrap; }
  .wide td:first-child { font-size: .92rem; font-weight: 600; }
}
@media (min-width: 56rem) { figure.plot { display: inline-block; vertical-align: top;
  width: calc(50% - 1rem); margin-right: .75rem; } }
@media print { details > * { display: block; } }
"""
