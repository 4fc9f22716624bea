"""A vision-language model behind a server on this machine, well behaved and not."""

import base64
import json

import cv2
import numpy as np
import pytest
from seer import Server

from inverse.materials.language import NoAnswer, Range, ask_material


GOOD = {
    "material": "dried oak leaf", "law": "elastic", "density": [200, 400, 700],
    "E": [1e7, 5e7, 2e8], "nu": [0.2, 0.3, 0.4], "thickness": [1e-4, 2e-4, 3e-4],
    "yield_stress": None,
}  # fmt: skip
IMAGE = np.full((60, 80, 3), 90, np.uint8)
MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:60] = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("VLM_API_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    one = Server()
    yield one
    one.close()


def ask(server, *answers, **options):
    server.answers = list(answers)
    return ask_material(IMAGE, MASK, "the leaf", server.url, "seer", **options)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"Sure! {{not this}} Here it is:\n```json\n{json.dumps(GOOD)}\n```\nHope it helps {{}}.",
        [{"type": "text", "text": json.dumps(GOOD)}],
        json.dumps(
            GOOD | {"E": ["10 MPa", "0.05 GPa", "2e5 kPa"], "thickness": ["100 µm", 2e-4, "0.3 mm"],
                    "density": ["0.2 g/cm³", "400 kg/m^3", 700]}
        ),
    ],
)  # fmt: skip
def test_answers_become_ranges(server, text):
    found = ask(server, text)
    assert found.name == "dried oak leaf" and found.law == "elastic"
    for name in ("density", "E", "nu", "thickness"):
        low, typical, high = GOOD[name]
        got = getattr(found, name)
        assert (got.low, got.typical, got.high) == pytest.approx((low, typical, high))
        assert "seer" in found.sources[name]
    assert found.yield_stress is None and len(server.asked) == 1
    assert "by seer, a guess from the picture" in found.sentence()


def test_the_question_holds_picture_and_words_and_no_key_of_anything_else(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    ask(server, json.dumps(GOOD))
    path, question = server.asked[0]
    assert path == "/v1/chat/completions" and question["model"] == "seer"
    text, picture = question["messages"][0]["content"]
    assert "(the leaf)" in text["text"] and "SI units" in text["text"]
    data = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert max(shown.shape) <= 512 and (shown == [0, 210, 255]).all(axis=2).any()
    assert "Authorization" not in server.headers[0] and "secret" not in str(server.headers)
    monkeypatch.setenv("VLM_API_KEY", "mine")
    ask(server, json.dumps(GOOD))
    assert server.headers[1]["Authorization"] == "Bearer mine"


@pytest.mark.parametrize(
    "value, expected",
    [(500, (500, 500, 500)), ([100, 900], (100, 300, 900)), ([400, 600], (400, 500, 600)),
     ({"low": 1, "typical": 2, "high": 3}, (1, 2, 3))],
)  # fmt: skip
def test_other_forms_of_a_range_are_understood(server, value, expected):
    found = ask(server, json.dumps(GOOD | {"density": value})).density
    assert found == Range(low=expected[0], typical=pytest.approx(expected[1]), high=expected[2])


WRONG = {
    "no json": ("I cannot tell.", "holds no JSON object"),
    "cut": ('{"density": [1, 2', "holds no JSON object"),
    "gigapascals": (json.dumps(GOOD | {"E": [1, 3, 5]}), "E: got 1.0, expected numbers from 10"),
    "millimeters": (json.dumps(GOOD | {"thickness": [0.1, 0.2, 0.3]}), "at most 0.05 m"),
    "falling": (json.dumps(GOOD | {"E": [3e7, 2e7, 1e7]}), "a low, a typical and a high"),
    "missing": (json.dumps({"density": 3}), "E is missing"),
    "law": (json.dumps(GOOD | {"law": "jam"}), "law is 'jam'"),
    "no yield": (json.dumps(GOOD | {"law": "elastoplastic"}), "yield_stress: none given"),
    "words": (json.dumps(GOOD | {"E": "stiff"}), "E is 'stiff'"),
    "truth": (json.dumps(GOOD | {"E": True}), "E is True"),
    "nu": (json.dumps(GOOD | {"nu": [0.3, 0.5, 0.6]}), "nu: got 0.5"),
    "not a number": (json.dumps(GOOD | {"E": float("nan")}), "E: got nan"),
    "four": (json.dumps(GOOD | {"E": [1e3, 1e3, 1e3, 1e3]}), "E has 4 values"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_sent_back_once_with_the_reason(server, name):
    answer, reason = WRONG[name]
    found = ask(server, answer, json.dumps(GOOD))
    assert found.E.typical == 5e7
    first, second = (question["messages"] for _, question in server.asked)
    assert len(first) == 1 and len(second) == 3 and second[1]["content"] == answer
    assert reason in second[2]["content"]
    with pytest.raises(NoAnswer, match=f"vlm http.*no usable answer .*{reason}"):
        ask(server, answer)
    assert len(server.asked) == 4


FAILURES = {
    "busy": ((429, {"Retry-After": "0"}), "says 429 Too Many"),
    "broken": ((500, {}), "says 500"),
    "locked": ((401, {}), "says 401 .*VLM_API_KEY"),
    "elsewhere": ((302, {"Location": "http://127.0.0.1:9/v1"}), "says 302"),
    "page": (b"<html>hello</html>", "not that of chat completions"),
    "other": (b'{"answer": 42}', "not that of chat completions"),
    "slow": ("slow", "no answer within 0.2 s"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_servers_that_fail_are_asked_twice(server, name):
    failure, reason = FAILURES[name]
    timeout = {"timeout": 0.2} if name == "slow" else {}
    with pytest.raises(NoAnswer, match=reason):
        ask(server, failure, **timeout)
    if name != "slow":  # a server that was left may not have read the question
        assert len(server.asked) == 2
        assert ask(server, failure, json.dumps(GOOD)).law == "elastic"


def test_a_closed_server_and_no_server_are_told_apart():
    one = Server()
    one.close()
    with pytest.raises(NoAnswer, match="cannot be reached"):
        ask_material(IMAGE, MASK, "leaf", one.url, "seer")
    for url in ("127.0.0.1:8000", "file:///etc/hosts", "ftp://a/b", ""):
        with pytest.raises(ValueError, match="vlm: got .*expected the address of a server"):
            ask_material(IMAGE, MASK, "leaf", url, "seer")


def test_answers_are_kept_and_asked_for_again_when_the_question_changes(server, tmp_path):
    cache = tmp_path / "run" / "vlm.json"
    first = ask(server, json.dumps(GOOD), cache=cache)
    again = ask(server, (500, {}), cache=cache)
    assert again == first and len(server.asked) == 1
    server.answers = [json.dumps(GOOD | {"E": 1e6})]
    assert ask_material(IMAGE, MASK, "cup", server.url, "seer", cache=cache).E.typical == 1e6
    cache.write_text("cut")
    assert ask(server, json.dumps(GOOD), cache=cache) == first
