"""Launches of kernels with less of what Taichi does in Python for every array of every launch.

That takes 10 us for each array on a laptop and took 45 us on the machine of an H100, where many
kernels run for less. `launch` takes 3 us for each; `bind` looks at arrays once for many launches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from taichi_phys.language import ti


Array = np.ndarray | torch.Tensor

_compiled: dict[tuple, tuple] = {}


def launch(kernel: Callable[..., None], *arguments: Any) -> None:
    """kernel(*arguments), each of which is a number or an array.

    Arrays are contiguous and on the device of the kernel. kernel.grad takes the gradients that
    tensors have.
    """
    if ti.__name__ != "taichi":  # other languages have inner parts of their own
        kernel(*arguments)
        return
    kinds, compiled, data = _look_up(kernel, arguments)
    context = compiled.make_launch_context()
    for i, (value, kind) in enumerate(zip(arguments, kinds, strict=True)):
        if isinstance(value, Array):
            context.set_arg_external_array_with_shape((i,), *_place(value, kind))
        elif id(kind) in ti.types.primitive_types.real_type_ids:
            context.set_arg_float((i,), float(value))
        else:
            context.set_arg_int((i,), int(value))
    ti.lang.impl.get_runtime().prog.launch_kernel(data, context)


def bind(kernel: Callable[..., None], arrays: Sequence[Array]) -> Callable[..., None]:
    """A function of whole numbers that launches kernel(*arrays, *numbers).

    Whoever binds the arrays keeps them until the last launch has ended.
    """
    if ti.__name__ != "taichi":
        return lambda *numbers: kernel(*arrays, *numbers)
    count = len(_primal(kernel).arguments) - len(arrays)
    kinds, compiled, data = _look_up(kernel, (*arrays, *[0] * count))
    given = [((i,), *_place(a, kinds[i])) for i, a in enumerate(arrays)]
    program = ti.lang.impl.get_runtime().prog

    def again(*numbers: int) -> None:
        context = compiled.make_launch_context()
        for array in given:
            context.set_arg_external_array_with_shape(*array)
        for i, number in enumerate(numbers, len(given)):
            context.set_arg_int((i,), number)
        program.launch_kernel(data, context)

    return again


def _primal(kernel: Any) -> Any:
    """Taichi's record of a kernel."""
    return getattr(kernel, "_primal", kernel)


def _look_up(kernel: Callable[..., None], arguments: Sequence[Any]) -> tuple:
    """The kinds of the arguments and the compiled kernel, in two parts."""
    primal = _primal(kernel)
    key = (primal, *(isinstance(a, torch.Tensor) and a.requires_grad for a in arguments))
    if key not in _compiled:
        compiled = primal.compiled_kernels[primal.ensure_compiled(*arguments)]
        program = ti.lang.impl.get_runtime().prog
        data = program.compile_kernel(program.config(), program.get_device_caps(), compiled)
        _compiled[key] = [argument.annotation for argument in primal.arguments], compiled, data
    return _compiled[key]


def _place(array: Array, kind: Any) -> tuple[int, int, tuple[int, ...], int]:
    """Address and bytes of an array, its shape without that of its elements, and its gradient's."""
    shape = tuple(array.shape[: kind.ndim])
    if isinstance(array, np.ndarray):
        assert array.flags.c_contiguous
        return array.ctypes.data, array.nbytes, shape, 0
    assert array.is_contiguous()
    grad = 0 if array.grad is None else array.grad.data_ptr()
    return array.data_ptr(), array.nbytes, shape, grad
