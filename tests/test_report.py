"""Reports are one file, escaped, with no network and no path of the machine that made them."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import taichi_phys
from inverse.runs.plots import INK, plot_components, plot_lines
from inverse.runs.report import Report, command_line, environment, shorten


LEAF = Path(__file__).parent.parent / "assets" / "leaf"
VOID = {"meta", "img", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words, self._open = [], [], [], []
        self.feed(html)
        assert not self._open, self._open
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] != "style":
            self.words.append(data)


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.01


@dataclasses.dataclass(frozen=True)
class Config:
    video: Path = LEAF / "video.mp4"
    E: float = 123456.0
    mask: Path | None = None
    resume: bool = False
    inner: Inner = Inner()


def full_report():
    t = np.linspace(0, 1, 12)
    g = np.stack([np.sin(t), np.cos(t), t], -1)
    return (
        Report("Leaf <script>alert(1)</script> {body}")
        .summary("Down & left: 5 < 6.")
        .figures({"direction error": (7.94321, "deg", "baseline 61"), "frames": 36})
        .assumptions(["density is <given>"])
        .heading("Force")
        .text('A "quoted" paragraph.')
        .plot(plot_components(t, g, "time (s)", "g (m/s²)", reference=g + 0.1), "Net force")
        .plot(plot_lines(t, {"a": t}, "time (s)", "c<d (%)"), 'Errors "quoted"')
        .table("Errors", [("this run", 7.94, np.float32(9.8765432))], header=("", "deg", "%"))
        .video(LEAF / "video.mp4", "The input")
        .image(LEAF / "mask_000.png", "The mask")
        .settings(Config())
        .environment(seed=3, command=[str(LEAF.parent / "run.py"), f"--out={LEAF}/o"], note="x")
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "sub" / "report.html"
    assert full_report().write(path) == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_text_is_escaped_and_tags_are_closed(html):
    page = Page(html)
    assert "script" not in page.tags
    for text in (
        "Leaf <script>alert(1)</script> {body}", "Down & left: 5 < 6.", "density is <given>",
        "7.943", "deg", "baseline 61", "36", 'A "quoted" paragraph.', "9.877", "c<d", "123456",
    ):  # fmt: skip
        assert text in page.text
    assert len(re.findall("<svg ", html)) == 2


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    loading = [value for _, name, value in page.attributes if name in ("src", "href", "data")]
    assert len(loading) >= 2
    assert all(value.startswith(("data:", "#")) for value in loading)
    assert any(value.startswith("data:video/mp4;base64,") for value in loading)
    assert "@import" not in html and "<link" not in html
    assert not re.search(r"url\((?!#)", html)
    policy = [value for _, name, value in page.attributes if name == "content"]
    assert any("default-src 'none'" in value for value in policy)


def test_no_path_of_this_machine(html):
    page = Page(html)
    assert str(LEAF.parent) not in html and str(Path.home()) + "/" not in html
    assert "video.mp4" in page.text and "run.py" in page.text


def test_lists_of_paths_are_shortened_and_empty_ones_are_a_dash(tmp_path):
    bodies = [{"name": "ring", "mesh": LEAF / "ring.stl"}, {"name": "ball", "mesh": None}]
    settings = {"video": (LEAF / "a.mp4", str(LEAF / "b.mp4")), "deep": [[LEAF / "c.png"]],
                "camera": (), "bodies": bodies, "rates": (0.123456789,)}  # fmt: skip
    report = Report("r").settings(settings).table("t", [[("/x/y.npz",), []]], ("a", "b"))
    html = report.write(tmp_path / "r.html").read_text("utf-8")
    assert "/x/" not in html and str(LEAF.parent.parent) not in html
    cells = re.findall("<td[^>]*>(.*?)</td>", html)
    values = dict(zip(cells[::2], cells[1::2], strict=True))
    short = [str(shorten(LEAF / name)) for name in ("a.mp4", "b.mp4", "c.png", "ring.stl")]
    assert values["video"] == ", ".join(short[:2]) and values["deep"] == short[2]
    assert values["camera"] == values["bodies.1.mesh"] == values["y.npz"] == "\N{EN DASH}"
    assert values["bodies.0.mesh"] == short[3] and values["rates"] == "0.123456789"


def test_tables_that_are_wide_name_the_columns_in_their_cells(tmp_path):
    """Phones show them row by row. Captions do not scroll with a table."""
    report = Report("r").table("wide", [range(5)], "abc<e").table("narrow", [range(4)], "abcd")
    html = report.write(tmp_path / "r.html").read_text("utf-8")
    columns = [value for _, name, value in Page(html).attributes if name == "data-column"]
    assert columns == [*"abc<e", *"abcd"]
    assert html.count('<table class="wide">') == 1
    assert '<figcaption>wide</figcaption><div class="scroll"><table' in html


def test_settings_versions_and_seed_are_shown(html):
    text = Page(html).text
    for word in ("inner.rate", "0.01", "seed", "taichi", "torch", "numpy", "python", "note"):
        assert word in text
    assert environment()["numpy"] == np.__version__
    assert environment()["taichi-phys"] == taichi_phys.__version__


def test_plots_follow_the_text_colour_and_are_reproducible(html, tmp_path):
    assert INK not in html and "currentColor" in html
    again = full_report().write(tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == html


def test_ids_in_the_page_are_unique(html):
    ids = [value for _, name, value in Page(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_failed_write_keeps_the_old_report(tmp_path):
    path = Report("old").write(tmp_path / "report.html")
    with pytest.raises(ValueError, match="report.*cannot be written"):
        Report("new").write(path / "report.html")
    assert "old" in path.read_text() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.table("t", [(1, 2)], header=("a",)), "differ in length"),
        (lambda r: r.video("missing.mp4", ""), "missing.mp4: cannot be read"),
        (lambda r: r.image("a.tiff", ""), "got a name that ends in '.tiff'"),
        (lambda r: plot_lines([0, 1], {"a": [1, 2, 3]}, "", ""), "series 'a'"),
        (lambda r: plot_components([0, 1], np.zeros((2, 2)), "", ""), "recovered: got"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Report("r"))


def test_command_line_is_as_typed_but_for_paths():
    command = ["/a/b/run.py", "--out=/c/d e", "--box", "1", "", r"C:\data\v.mp4", "x=1"]
    assert command_line(command) == 'python run.py "--out=d e" --box 1 "" v.mp4 x=1'
    assert shorten("/") == "/" and shorten("m/s") == "m/s"
    assert shorten(Path.cwd() / "assets" / "leaf") == str(Path("assets/leaf"))


def test_a_reference_without_partner_and_missing_values_are_drawn():
    t = np.arange(4.0)
    figure = plot_lines(
        t, {"a": [1, np.nan, 2, 3]}, "t", "y", reference={"a": t, "held": t}, zero=True, marks=True
    )
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["a", "a", "held"]
    assert axes.get_ylim()[0] == 0
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["a", "truth", "held"]
