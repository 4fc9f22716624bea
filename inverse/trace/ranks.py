"""Several processes, started by torchrun, that train one model together."""

import os
import signal

import torch


_owns_gpu = False


def own_gpu() -> None:
    """Give this process of torchrun a GPU of its own, if there is one for each process.

    It then sees no other GPU, because Taichi takes the first one that it sees. Call this before
    anything else uses CUDA.
    """
    global _owns_gpu
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    processes, count = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if 1 < processes <= count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[rank]
        _owns_gpu = True


class Ranks:
    """The rank of this process in a training and the number of processes, by default one.

    All processes hold the same model and draw the same random numbers. Each renders its share of a
    batch, and the gradients are summed, so that all processes take the same step.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @classmethod
    def from_environment(cls, device: torch.device) -> "Ranks":
        """Connect the processes of torchrun: by nccl if each has its own GPU, else by gloo."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        # When one process dies, torchrun ends the others at once: they report it first.
        signal.signal(signal.SIGTERM, _told_to_stop)
        if not torch.distributed.is_initialized():
            nccl = device.type == "cuda" and _owns_gpu
            torch.distributed.init_process_group("nccl" if nccl else "gloo")
        return cls(torch.distributed.get_rank(), size)

    def sum_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace every gradient by its sum over the processes, in one message for all of them.

        A parameter for which no process has a gradient keeps none, as in a single process: Adam
        counts the steps of each parameter, and a gradient of zeros would count as a step.
        """
        if self.size == 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        asked = grads[0].new_tensor([p.grad is not None for p in parameters])
        flat = torch.cat([*(grad.flatten() for grad in grads), asked])
        torch.distributed.all_reduce(flat)
        sizes = [p.numel() for p in parameters]
        *parts, asked = flat.split([*sizes, len(parameters)])
        for parameter, part, count in zip(parameters, parts, asked.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).clone() if count else None

    def agree(self, value: float) -> float:
        """The value of the first process, in all processes."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        if torch.distributed.get_backend() == "nccl":
            shared = shared.cuda()
        torch.distributed.broadcast(shared, src=0)
        return float(shared)


def _told_to_stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # the checkpoint is about to be written
    raise RuntimeError("told to stop")
