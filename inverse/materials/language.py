"""The material of an object by a vision-language model behind an OpenAI-compatible server."""

import base64
import contextlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from inverse.materials.substance import LAWS, LIMITS, Range, Substance
from inverse.runs.checkpoint import fingerprint_of
from inverse.runs.settings import write_json


KEY = "VLM_API_KEY"  # the environment variable with the server's key, if it wants one
PICTURE = 512  # px, longer side of the picture that is sent
TIMEOUT = 120.0  # s
TRIES = 2
END = "/chat/completions"
LONGEST_WAIT = 10.0  # s, that a busy server may ask for before the second try
MOST_BYTES = 1_000_000  # of an answer
THICKEST = 0.05  # m; thicker sheets are millimeters taken for meters
UNITS = {
    "pa": 1.0, "kpa": 1e3, "mpa": 1e6, "gpa": 1e9, "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6,
    "kg/m3": 1.0, "g/cm3": 1e3, "pas": 1.0, "kpas": 1e3, "": 1.0,
}  # fmt: skip
NEEDED = ("density", "E", "nu")
PROMPT = """The picture shows an object ({words}), outlined in yellow. Estimate its material for a
physics simulation. Answer with one JSON object and nothing else:
{{"material": short name, "law": "elastic", "elastoplastic" or "viscoplastic",
"density": [low, typical, high] in kg/m^3 of the whole object with its voids,
"E": [low, typical, high] Young's modulus in Pa, "nu": [low, typical, high] Poisson's ratio,
"thickness": [low, typical, high] in m if it is a sheet, else null,
"yield_stress": [low, typical, high] in Pa if the law is not elastic, else null,
"viscosity": [low, typical, high] in Pa s if the law is viscoplastic, else null}}
SI units only: paper has E of 3e9 and thickness of 1e-4. Ranges say how sure you are."""


class NoAnswer(ValueError):
    """The model gave no answer that can be used; the message says why."""


def ask_material(
    image: np.ndarray,
    mask: np.ndarray,
    words: str,
    url: str,
    model: str,
    *,
    cache: Path | None = None,
    timeout: float = TIMEOUT,
) -> Substance:
    """Ask a vision-language model what an object is made of.

    image: (H, W, 3) uint8 RGB; mask: (H, W) bool, of the object; words: what it is; url: of the
    server, such as http://127.0.0.1:8000/v1; model: its name there; cache: a JSON file in which
    the answer to the same question is looked up and kept; timeout: of an answer, s. The key, if the
    server wants one, is that of the environment variable VLM_API_KEY. Raises NoAnswer if two tries
    give no values that a material can have, and ValueError for a url that is none.
    """
    target = _target(url)
    picture = _picture(image, mask)
    stamp = fingerprint_of((url, model, words, PROMPT), [picture])
    known = _cached(cache, stamp)
    if known is not None:
        return _substance(known, words, model)
    content: list[dict[str, Any]] = [
        {"type": "text", "text": PROMPT.format(words=words or "not named")},
        {"type": "image_url", "image_url": {"url": _data_url(picture), "detail": "low"}},
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    reason, wait = "", 0.0
    for _ in range(TRIES):
        time.sleep(wait)
        wait, text = 0.0, ""
        try:
            text = _post(target, {"model": model, "messages": messages, "temperature": 0}, timeout)
            record = _first_object(text)
            substance = _substance(record, words, model)
        except _Refused as error:
            reason, wait = str(error), error.wait
            continue
        except ValueError as error:
            reason = str(error)
            messages = [
                messages[0],
                {"role": "assistant", "content": text},
                {"role": "user", "content": f"That cannot be used: {reason}. Answer again."},
            ]
            continue
        if cache is not None:
            with contextlib.suppress(OSError, ValueError):  # it only saves time
                cache.parent.mkdir(parents=True, exist_ok=True)
                write_json(cache, {"stamp": stamp, "model": model, "answer": record})
        return substance
    raise NoAnswer(f"vlm {url}: no usable answer ({reason})")


class _Refused(Exception):
    """The server did not answer; wait: s, before it may be asked again."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is for the server that was named, and for no other."""

    def redirect_request(self, *arguments: Any) -> None:
        """Follow none."""


def _target(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(
            f"vlm: got {url!r}, expected the address of a server, such as http://127.0.0.1:8000/v1"
        )
    url = url.rstrip("/")
    return url if url.endswith(END) else url + END


def _post(target: str, question: Mapping[str, Any], timeout: float) -> str:
    """The text of the answer. Raises _Refused where there is none."""
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    request = urllib.request.Request(target, json.dumps(question).encode(), headers)
    try:
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=timeout) as answer:
            data = answer.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        asked = error.headers.get("Retry-After", "")
        wait = min(float(asked), LONGEST_WAIT) if asked.isdigit() else 0.0
        hint = f"; its key goes into {KEY}" if error.code in (401, 403) else ""
        raise _Refused(f"the server says {error.code} {error.reason}{hint}", wait) from None
    except TimeoutError:
        raise _Refused(f"no answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise _Refused(f"no answer within {timeout:g} s") from None
        raise _Refused(f"the server cannot be reached: {reason}") from None
    try:
        message = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise _Refused("the server's answer is not that of chat completions") from None
    if isinstance(message, list):  # parts
        message = "".join(part.get("text", "") for part in message if isinstance(part, dict))
    return str(message or "")


def _first_object(text: str) -> dict[str, Any]:
    """The first JSON object in a text that may talk around it."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"\{", text):
        try:
            record, _ = decoder.raw_decode(text, start.start())
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    raise ValueError("it holds no JSON object")


def _substance(record: Mapping[str, Any], words: str, model: str) -> Substance:
    """Raises ValueError for an answer with values that no material has."""
    law = str(record.get("law") or "elastic").lower()
    if law not in LAWS:
        raise ValueError(f"law is {law!r}, expected {', '.join(LAWS)}")
    ranges: dict[str, Any] = {}
    for name in LIMITS:
        value = record.get(name)
        if value is None:
            if name in NEEDED:
                raise ValueError(f"{name} is missing")
            continue
        ranges[name] = _range(name, value)
    thickness = ranges.get("thickness")
    if thickness is not None and thickness.high > THICKEST:
        raise ValueError(
            f"thickness reaches {thickness.high:g} m, expected at most {THICKEST} m for a sheet, "
            "in meters, and null for a solid"
        )
    name = str(record.get("material") or words or "unknown material")[:60]
    origin = f"by {model}, a guess from the picture"
    sources = {key: f"vision-language model {model}" for key in ranges}
    return Substance(name=name, law=law, sources=sources, origin=origin, **ranges)


def _range(name: str, value: Any) -> Range:
    """A range from [low, typical, high], [low, high], a number, or a record of these names."""
    if isinstance(value, Mapping):
        value = [value[key] for key in ("low", "typical", "high") if key in value]
    values = [_number(name, one) for one in (value if isinstance(value, list) else [value])]
    if len(values) == 1:
        values *= 3
    if len(values) == 2:
        low, high = values
        middle = (low * high) ** 0.5 if low > 0 and high > 4 * low else 0.5 * (low + high)
        values = [low, middle, high]
    if len(values) != 3:
        raise ValueError(f"{name} has {len(values)} values, expected low, typical, high")
    return Range(low=values[0], typical=values[1], high=values[2])


def _number(name: str, value: Any) -> float:
    """A number, or a text of a number and its unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*([-+0-9.eE]+)\s*(.*?)\s*", value) if isinstance(value, str) else None
    unit = re.sub(r"[\s·*^]", "", match.group(2).lower()) if match else ""
    unit = unit.replace("³", "3").replace("µ", "u").replace("μ", "u")
    try:
        assert match is not None
        return float(match.group(1)) * UNITS[unit]
    except (AssertionError, KeyError, ValueError):
        raise ValueError(f"{name} is {value!r}, expected a number in SI units") from None


def _picture(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (h, w, 3) uint8 that is sent: around the object, with its outline."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = max(rows[-1] - rows[0], columns[-1] - columns[0]) // 2 + 16
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    part = (slice(top, rows[-1] + margin), slice(left, columns[-1] + margin))
    image, mask = image[part].copy(), mask[part].astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, (255, 210, 0), 1)
    scale = min(1.0, PICTURE / max(image.shape[:2]))
    size = (max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0])))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _data_url(picture: np.ndarray) -> str:
    _, data = cv2.imencode(".png", picture[..., ::-1])
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def _cached(cache: Path | None, stamp: str) -> Mapping[str, Any] | None:
    try:
        record = json.loads(cache.read_text(encoding="utf-8")) if cache is not None else {}
        return record["answer"] if record.get("stamp") == stamp else None
    except (OSError, ValueError, LookupError, AttributeError):
        return None
