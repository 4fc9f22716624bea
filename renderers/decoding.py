"""Pictures of a film with the times at which they are shown, one after the other, through ffmpeg.

Pictures are upright (rotation in the metadata is applied), have square pixels, and have the colors
of an ordinary screen (HDR is mapped to BT.709). Each has the time stamp of the file: nothing is
repeated or left out to make a rate even.
"""

import collections
import dataclasses
import functools
import queue
import re
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO, cast

import numpy as np


HDR = {"arib-std-b67": "HLG", "smpte2084": "PQ"}  # transfer functions, as ffmpeg names them
TONEMAP = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv"
)
DEINTERLACE = "bwdif=mode=send_frame:deint=interlaced"
LOG_LINES = 40  # of ffmpeg's words, kept for the case that it fails
# Words of ffmpeg, and what they mean. The first that is found is told.
MEANINGS = (
    ("matches no streams", "it holds no moving picture, only sound or data"),
    ("moov atom not found", "the file is cut off or not closed: its index is missing; copy or "
                            "export it again"),
    ("Invalid data found", "it is no film that ffmpeg knows, or its beginning is damaged"),
    ("Decoder not found", "ffmpeg has no decoder for it; convert it to H.264"),
    ("does not contain any stream", "it holds no moving picture"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One picture of a film.

    image: (H, W, 3) uint8 RGB, or (H, W) uint8 gray; time: when it is shown, s; size: (width,
    height) px of the film's pictures; scan: "P" for progressive, "T" or "B" for interlaced ones;
    transfer: how brightness is coded, in ffmpeg's words; square: whether the file's pixels are;
    coding: "I" for a picture that its file holds by itself, "P" for one that is made from earlier
    ones, "B" also from later ones.
    """

    image: np.ndarray
    time: float
    size: tuple[int, int]
    scan: str
    transfer: str
    square: bool
    coding: str = "I"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmFacts:
    """What the head of a file says: its duration, s, its frames per second, the rate at which they
    were captured where that differs (slow motion), the unit of its time stamps, s; None where it
    does not say."""

    duration: float | None = None
    fps: float | None = None
    capture_fps: float | None = None
    tick: float | None = None


class Film:
    """A film that is being decoded: iterate over its pictures, once, then close it.

    longest: px, to which the longer side is reduced; gray: whether colors are left out;
    deinterlace: whether lines that were taken later are made from those around them; hdr: whether
    brightness is coded for HDR. Iterating raises ValueError where nothing can be decoded.
    """

    def __init__(
        self,
        path: Path,
        *,
        longest: int | None = None,
        gray: bool = False,
        deinterlace: bool = False,
        hdr: bool = False,
    ):
        self.path = path
        self.log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self.facts = FilmFacts()
        self.damaged = False
        self.notes: list[str] = []
        self._records: queue.Queue[dict | None] = queue.Queue()
        filters = [DEINTERLACE] if deinterlace else []
        filters += ["showinfo=checksum=0", _scale(longest)]
        filters += [TONEMAP] if hdr and "zscale" in filter_names() else []
        filters += ["format=gray" if gray else "format=rgb24"]  # 8 bits, also of 10 bit material
        command = [
            _ffmpeg(), "-hide_banner", "-nostdin", "-i", str(path), "-map", "0:V:0", "-an", "-sn",
            "-vf", ",".join(filters), *_no_repeats(),
            "-c:v", "pgm" if gray else "ppm", "-f", "image2pipe", "-",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End ffmpeg, whether or not all pictures were read."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            cast(IO[bytes], pipe).close()

    def __iter__(self) -> Generator[Picture, None, None]:
        pipe, last, count = cast(IO[bytes], self._process.stdout), -np.inf, 0
        while True:
            image = _read_picture(pipe)
            if image is None:
                break
            record = self._records.get(timeout=60)
            if record is None:
                break
            time = record["time"]
            if not np.isfinite(time) or time <= last:  # no time stamp, or one that goes back
                step = 1 / self.facts.fps if self.facts.fps else 1 / 25
                time = last + step if np.isfinite(last) else 0.0
            last, count = time, count + 1
            yield Picture(image=image, **{**record, "time": time})
        pipe.close()  # where a picture was cut off ffmpeg may still be writing
        self._process.wait()
        self._reader.join()
        if count == 0:
            raise ValueError(f"video {self.path}: cannot be read ({self.reason()})")

    def reason(self) -> str:
        """Why nothing can be decoded, in words."""
        text = "\n".join(self.log)
        for words, meaning in MEANINGS:
            if words in text:
                return meaning
        lines = [line for line in self.log if line.strip()]
        return lines[-1].strip() if lines else "ffmpeg gives no picture"

    def _listen(self) -> None:
        """Sort what ffmpeg says into records of pictures, facts of the file, and the rest."""
        record: dict | None = None
        for raw in cast(IO[bytes], self._process.stderr):
            line = raw.decode(errors="replace").rstrip()
            if "Parsed_showinfo" in line:
                text = line.partition("] ")[2]
                if "pts_time:" in text:
                    record = _record(text, self.facts.tick)
                elif text.startswith("color_range:") and record is not None:
                    record["transfer"] = _word("color_trc", text) or "unknown"
                    self._records.put(record)
                    record = None
                elif text.startswith("config in"):
                    ticks = re.search(r"time_base: (\d+)/(\d+)", text)
                    if ticks and int(ticks[2]):
                        self._know(tick=int(ticks[1]) / int(ticks[2]))
                continue
            self._learn(line)
            self.log.append(line)
        if record is not None:
            self._records.put(record)
        self._records.put(None)

    def _learn(self, line: str) -> None:
        if re.search(
            r"partial file|[Tt]runcat|error while decoding|Error submitting|corrupt", line
        ):
            self.damaged = True
        if found := re.search(r"Duration: (\d+):(\d+):([\d.]+)", line):
            hours, minutes, seconds = map(float, found.groups())
            self._know(duration=3600 * hours + 60 * minutes + seconds)
        if "Video:" in line and self.facts.fps is None:
            if found := re.search(r"([\d.]+)(k?) fps", line):
                self._know(fps=float(found[1]) * (1000 if found[2] else 1) or None)
        if found := re.search(r"com\.(?:android|apple\S*)\.capture\S*fps\s*: *([\d.]+)", line):
            self._know(capture_fps=float(found[1]) or None)

    def _know(self, **facts: float | None) -> None:
        self.facts = dataclasses.replace(self.facts, **facts)


@functools.cache
def filter_names() -> frozenset[str]:
    """The names of the filters that ffmpeg has."""
    command = [_ffmpeg(), "-hide_banner", "-filters"]
    done = subprocess.run(command, capture_output=True, check=False)
    return frozenset(re.findall(r"^ \S+ (\w+) ", done.stdout.decode(errors="replace"), re.M))


@functools.cache
def _no_repeats() -> tuple[str, str]:
    """The option that makes ffmpeg give each picture once; its name changed in version 5.1."""
    done = subprocess.run([_ffmpeg(), "-version"], capture_output=True, check=False)
    found = re.search(r"version n?(\d+)\.(\d+)", done.stdout.decode(errors="replace"))
    old = found is not None and (int(found[1]), int(found[2])) < (5, 1)
    return ("-vsync", "0") if old else ("-fps_mode", "passthrough")


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def _scale(longest: int | None) -> str:
    """The filter that makes pixels square, and pictures no larger than that."""
    limit = "1" if longest is None else rf"min(1\,{longest}/max(iw*max(sar\,1)\,ih))"
    wide = r"iw*if(sar\,sar\,1)"
    # Even the least picture has a pixel.
    width, height = (rf"max(1\,round({side}*{limit}))" for side in (wide, "ih"))
    flags = "" if longest is None else ":flags=area"
    return f"scale=w={width}:h={height}{flags},setsar=1"


def _record(text: str, tick: float | None) -> dict:
    size = re.search(r"\bs:(\d+)x(\d+)", text)
    stamp = _word("pts", text)  # pts_time is rounded to six digits
    sar = re.search(r"\bsar:(\d+)/(\d+)", text)
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    square = sar is None or sar[1] in ("0", sar[2])
    if sar is not None and not square:
        width = max(1, round(width * int(sar[1]) / int(sar[2])))
    return {
        "time": float("nan") if tick is None or stamp in ("", "NOPTS") else float(stamp) * tick,
        "size": (width, height),
        "scan": _word("i", text) or "P",
        "transfer": "unknown",
        "square": square,
        "coding": _word("type", text) or "I",
    }


def _word(key: str, text: str) -> str:
    found = re.search(rf"\b{key}:\s*(\S+)", text)
    return found[1] if found else ""


def _read_picture(pipe: IO[bytes]) -> np.ndarray | None:
    """The next .ppm or .pgm of a stream; None at its end, also where that cuts a picture off."""
    kind = pipe.readline().strip()
    if kind not in (b"P5", b"P6"):
        return None
    sides = pipe.readline().split()
    pipe.readline()
    width, height = int(sides[0]), int(sides[1])
    shape = (height, width) if kind == b"P5" else (height, width, 3)
    data = pipe.read(int(np.prod(shape)))
    if len(data) < np.prod(shape):
        return None
    return np.frombuffer(data, np.uint8).reshape(shape)
