"""Several processes that train one model, started by torchrun."""

import os
import signal

import torch


_owns_gpu = False


def own_gpu() -> None:
    """Let this process of torchrun see one GPU, its own, if there are enough for all.

    Taichi takes the first GPU that it sees. To be called before CUDA is asked anything.
    """
    global _owns_gpu
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    processes, count = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if 1 < processes <= count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[rank]
        _owns_gpu = True


class Ranks:
    """Rank and number of the processes of a training; one alone by default.

    All hold the same model and draw the same random numbers; each renders its share of a batch,
    and gradients are summed, so that all take the same step.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @classmethod
    def from_environment(cls, device: torch.device) -> "Ranks":
        """The processes that torchrun started, over nccl if each has its own GPU, else gloo."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        # When one process dies, torchrun ends the others at once: they should say so first.
        signal.signal(signal.SIGTERM, _told_to_stop)
        if not torch.distributed.is_initialized():
            nccl = device.type == "cuda" and _owns_gpu
            torch.distributed.init_process_group("nccl" if nccl else "gloo")
        return cls(torch.distributed.get_rank(), size)

    def sum_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace every gradient by its sum over the processes: one message for all."""
        if self.size == 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is None:  # of a network that this process did not ask
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        torch.distributed.all_reduce(flat)
        for parameter, part in zip(
            parameters, flat.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad.copy_(part.view_as(parameter))

    def agree(self, value: float) -> float:
        """The first process' value, in all of them."""
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
