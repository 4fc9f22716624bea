"""Taichi reads the sources of kernels quickly, and says as before where an error is."""

import inspect

import pytest

from taichi_phys import sources
from taichi_phys.language import ti


@ti.func
def wrong(x):
    return x + nowhere  # noqa: F821


@ti.kernel
def calls(x: ti.f32) -> ti.f32:
    return wrong(x)


@ti.data_oriented
class Doubled:
    def __init__(self):
        self.factor = 2

    @ti.func
    def of(self, x):
        return self.factor * x

    @ti.kernel
    def run(self, x: ti.i32) -> ti.i32:
        return self.of(x)


def test_an_error_names_its_line_and_its_place():
    with pytest.raises(ti.TaichiCompilationError) as error:
        calls(1.0)
    number = inspect.getsourcelines(wrong)[1]
    text = str(error.value)
    assert f'{__file__}", line {number + 2}, in wrong:' in text
    line = "    return x + nowhere  # noqa: F821"
    assert f"{line}\n{' ' * 15}{'^' * 7}\n" in text


def test_functions_of_a_class_get_their_object():
    assert Doubled().run(21) == 42


def test_a_source_is_looked_up_once():
    look_up = ti.lang.kernel_impl.getsourcelines
    assert look_up(wrong.func.func) is look_up(wrong.func.func)


def test_importlib_has_no_source_to_search_for(monkeypatch):
    """And what has one is described as ever."""
    searched = []
    describe = inspect.getframeinfo
    monkeypatch.setattr(inspect, "getframeinfo", lambda *a: searched.append(a) or describe(*a))
    with sources.quick_import():
        code = compile("inspect.getframeinfo(inspect.currentframe())", "<frozen x>", "eval")
        frozen = eval(code)
        assert (frozen.filename, frozen.code_context) == ("<frozen x>", None) and not searched
        own = inspect.getframeinfo(inspect.currentframe())
    assert "inspect.getframeinfo" in own.code_context[0] and len(searched) == 1
