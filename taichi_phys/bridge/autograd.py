"""The one mechanism that turns Taichi kernels into a differentiable torch function."""

from collections.abc import Callable

import torch


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
    forward: Callable[..., tuple[torch.Tensor, ...]],
    backward: Callable[..., tuple[torch.Tensor | None, ...]],
) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A torch function with gradients from two plain functions that launch Taichi kernels.

    forward(*inputs) -> outputs; backward(inputs, outputs, output_gradients) -> one gradient, or
    None, per input. Both see detached, contiguous tensors and must not write to them. Memory is
    what forward saves: its inputs and outputs, so backward recomputes whatever lies between.
    """

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _KernelPair.apply(forward, backward, *inputs)

    return call
