"""One run on several devices: the batch is divided, and the gradients of its parts are added.

DDP reads the annotations of its hooks, so here they must not be strings.
"""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from a2sg.errors import require
from a2sg.training.config import RunConfig
from a2sg.training.world import PATIENCE, World


def require_divisible(config: RunConfig, ranks: int) -> None:
    """Raise `InputError` unless the ranks can share a batch evenly."""
    size = config.data.batch_size
    require(
        size % ranks == 0,
        f"data.batch_size counts all devices together, and {ranks} devices cannot share {size} evenly: "
        f"use {max(1, size // ranks) * ranks} or {(size // ranks + 1) * ranks}, or change --devices",
    )


def rule(config: RunConfig, ranks: int) -> str:
    """How several devices divide the recipe's batch, and its learning rate, in one line."""
    size, micro = config.data.batch_size, config.accumulate
    step = "" if micro == 1 else f", {micro} of them to a step"
    shared = f"{ranks} devices share each batch of {size}, {size // ranks} samples each{step}"
    return f"{shared}; the learning rate stays {config.optimizer.lr:g}"


def devices_of(world: World, device: torch.device, patience: float = PATIENCE) -> dict[str, Any]:
    """How Lightning's trainer uses the devices of a run."""
    if world.size == 1:
        return {}
    return {
        "devices": world.local_size,
        "num_nodes": world.nodes,
        "strategy": AddingStrategy(
            cluster_environment=_Started(world),
            process_group_backend="nccl" if device.type == "cuda" else "gloo",
            timeout=timedelta(seconds=patience),
            gradient_as_bucket_view=True,
        ),
        "use_distributed_sampler": False,
    }


class AddingStrategy(DDPStrategy):
    """DDP that adds gradients instead of averaging: a rank's loss is its part of the batch's loss."""

    def configure_ddp(self) -> None:
        super().configure_ddp()
        assert isinstance(self.model, DistributedDataParallel)
        self.model.register_comm_hook(None, add_gradients)


def add_gradients(_: object, bucket: dist.GradBucket) -> Future[Tensor]:
    """A communication hook of DDP: the sum of the ranks' gradients."""
    gradients = bucket.buffer()
    work = dist.all_reduce(gradients, async_op=True)
    return work.get_future().then(lambda _: gradients)


class _Started(ClusterEnvironment):
    """Tells Lightning that the ranks have been started already, and their numbers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.world.address

    @property
    def main_port(self) -> int:
        return self.world.port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self.world.size

    def set_world_size(self, size: int) -> None:
        pass  # the ranks are fixed

    def global_rank(self) -> int:
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.world.local_rank

    def node_rank(self) -> int:
        return self.world.rank // self.world.local_size
