"""Differentiable torch functions made of Taichi kernels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from taichi_phys.language import ti
from taichi_phys.launching import launch


TAICHI_TYPE = {torch.float32: ti.f32, torch.float64: ti.f64}

Tensors = tuple[torch.Tensor, ...]
Gradients = tuple[torch.Tensor | None, ...]


class _KernelPair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, forward, backward, *inputs):
        inputs = tuple(t.detach().contiguous() for t in inputs)
        outputs = forward(*inputs)
        ctx.backward_kernels = backward
        ctx.input_count = len(inputs)
        ctx.save_for_backward(*inputs, *outputs)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        tensors = tuple(t.detach() for t in ctx.saved_tensors)
        inputs, outputs = tensors[: ctx.input_count], tensors[ctx.input_count :]
        grads = tuple(
            torch.zeros_like(t) if g is None else g.detach().contiguous()
            for g, t in zip(grads, outputs, strict=True)
        )
        return None, None, *ctx.backward_kernels(inputs, outputs, grads)


def differentiable(
    forward: Callable[..., Tensors], backward: Callable[[Tensors, Tensors, Tensors], Gradients]
) -> Callable[..., Tensors]:
    """A differentiable torch function made of two plain functions that launch Taichi kernels.

    forward(*inputs) -> outputs; backward(inputs, outputs, output_gradients) -> one gradient, or
    None, per input. Both functions receive detached, contiguous tensors and must not write to
    their inputs. Only the inputs and outputs are kept for backward, which has to compute
    intermediate values again.
    """

    def call(*inputs: torch.Tensor) -> Tensors:
        return _KernelPair.apply(forward, backward, *inputs)

    return call


def by_autodiff(
    kernel: Callable[..., None],
    *inputs: torch.Tensor,
    outputs: Sequence[tuple[int, ...]],
    constants: Sequence[Any] = (),
) -> Tensors:
    """The outputs of kernel(*inputs, *constants, *outputs), differentiated by Taichi itself.

    outputs: shapes of the output tensors, which are zero before the launch. Gradients reach the
    inputs that require them. The kernel must be straight-line mathematics that writes each output
    once, without loops that carry values from one iteration to the next.
    """
    wanted = [t.requires_grad for t in inputs]

    def forward(*inputs: torch.Tensor) -> Tensors:
        results = tuple(inputs[0].new_zeros(shape) for shape in outputs)
        launch(kernel, *inputs, *constants, *results)
        return results

    def backward(inputs: Tensors, results: Tensors, grads: Tensors) -> Gradients:
        for tensor, want in zip(inputs, wanted, strict=True):
            if want:
                tensor.requires_grad_().grad = torch.zeros_like(tensor)
        for tensor, grad in zip(results, grads, strict=True):
            # A copy, since Taichi's reverse sweep overwrites the gradients of the outputs.
            tensor.requires_grad_().grad = grad.clone()
        launch(kernel.grad, *inputs, *constants, *results)  # type: ignore[attr-defined]
        return tuple(tensor.grad for tensor in inputs)

    return differentiable(forward, backward)(*inputs)
