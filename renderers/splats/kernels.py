"""Taichi kernels, differentiated by Taichi, as differentiable torch functions."""

import taichi as ti
import torch


TAICHI_TYPE = {torch.float32: ti.f32, torch.float64: ti.f64}


class _Autodiff(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, shapes, constants, *inputs):
        inputs = tuple(t.detach().contiguous() for t in inputs)
        outputs = tuple(inputs[0].new_zeros(shape) for shape in shapes)
        kernel(*inputs, *constants, *outputs)
        ctx.kernel, ctx.constants = kernel, constants
        ctx.save_for_backward(*inputs, *outputs)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        needed = ctx.needs_input_grad[3:]
        saved = [t.detach() for t in ctx.saved_tensors]
        inputs, outputs = saved[: len(needed)], saved[len(needed) :]
        for tensor, wanted in zip(inputs, needed, strict=True):
            if wanted:
                tensor.requires_grad_().grad = torch.zeros_like(tensor)
        for tensor, grad in zip(outputs, grads, strict=True):
            # A copy: the reverse sweep writes to the gradients of what the kernel wrote.
            tensor.requires_grad_().grad = grad.clone(memory_format=torch.contiguous_format)
        ctx.kernel.grad(*inputs, *ctx.constants, *outputs)
        return None, None, None, *(tensor.grad for tensor in inputs)


def by_autodiff(
    kernel, *inputs: torch.Tensor, outputs: list[tuple[int, ...]], constants: tuple = ()
) -> tuple[torch.Tensor, ...]:
    """Launch kernel(*inputs, *constants, *outputs) on outputs of zeros with the given shapes.

    The gradient is Taichi's own: the kernel must be straight-line maths that writes each output
    once, without loops that carry values.
    """
    return _Autodiff.apply(kernel, outputs, constants, *inputs)
