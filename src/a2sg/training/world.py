"""The place of a process among the ranks of a run: alone, or started by torchrun, srun or `a2sg`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment

from a2sg.devices import find_device
from a2sg.errors import InputError, require
from a2sg.ranks import Lost, distributed, rank, rank_count

LOST = 3
"""Exit status of a command that lost one of its ranks; its run can be resumed."""
LOST_MARKS = ("gloo", "nccl", "pair closure", "timed out waiting", "closed by peer", "connection reset")
"""Parts of torch's messages when a rank does not answer; not all of these errors have their own type."""
BACKENDS = "cpu:gloo,cuda:nccl"
"""For ranks with GPUs: some numbers, such as those of metrics, are added up on the host."""
PATIENCE = 600.0
"""Seconds that a rank waits for the others."""


@dataclass(frozen=True)
class World:
    """The ranks of a run, and which of them this process is.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        local_rank: of this process on its machine, from 0; also the number of its GPU.
        local_size: how many there are on each machine.
        address: of rank 0.
        port: of rank 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> World:
        """The world of this process: from ranks already connected, or from torchrun's or SLURM's variables.

        Raises:
            InputError: if they are not numbers.
        """
        if environ is None and distributed():
            local = int(os.environ.get("LOCAL_RANK", rank()))
            return cls(rank(), rank_count(), local, int(os.environ.get("LOCAL_WORLD_SIZE", rank_count())))
        found = os.environ if environ is None else environ
        try:
            if "RANK" in found and "WORLD_SIZE" in found:
                return cls._of_torchrun(found)
            if int(found.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
                return cls._of_slurm(found)
        except (KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the environment variables that say which rank this is are incomplete ({error}): start "
                "ranks with torchrun, with srun, or with --devices alone"
            ) from error
        return cls()

    @classmethod
    def _of_torchrun(cls, found: Mapping[str, str]) -> World:
        return cls(
            int(found["RANK"]),
            int(found["WORLD_SIZE"]),
            int(found["LOCAL_RANK"]),
            int(found["LOCAL_WORLD_SIZE"]),
            found["MASTER_ADDR"],
            int(found["MASTER_PORT"]),
        )

    @classmethod
    def _of_slurm(cls, found: Mapping[str, str]) -> World:
        size, nodes = int(found["SLURM_STEP_NUM_TASKS"]), int(found.get("SLURM_STEP_NUM_NODES", "1"))
        require(
            size % nodes == 0,
            f"srun started {size} tasks on {nodes} machines: start equally many on each (--ntasks-per-node)",
        )
        address = SLURMEnvironment.resolve_root_node_address(found["SLURM_STEP_NODELIST"])
        port = 15_000 + int(found["SLURM_JOB_ID"]) % 10_000  # the same on all ranks, different for each job
        return cls(
            int(found["SLURM_PROCID"]),
            size,
            int(found["SLURM_LOCALID"]),
            size // nodes,
            found.get("MASTER_ADDR", address),
            int(found.get("MASTER_PORT", port)),
        )

    @property
    def nodes(self) -> int:
        """How many machines there are."""
        return self.size // self.local_size


def find_place(device: str, world: World) -> torch.device:
    """The device that `device` (auto, cpu, cuda) means for one of the ranks.

    Raises:
        InputError: for another name, or if there are fewer GPUs than ranks.
    """
    found = find_device(device)
    if found.type == "cpu" or world.size == 1:
        return found
    there = torch.cuda.device_count()
    require(
        world.local_rank < there,
        f"rank {world.rank} needs GPU {world.local_rank}, but sees {there}: start as many ranks on a machine "
        "as it has GPUs, and let each see all of them (srun --gpus-per-node, not --gpus-per-task)",
    )
    return torch.device("cuda", world.local_rank)


@contextmanager
def joined(world: World, device: torch.device, patience: float = PATIENCE) -> Iterator[None]:
    """Connect the ranks inside this context, unless they are connected; only rank 0 writes to stdout.

    Args:
        world: the rank of this process; does nothing if it is alone.
        device: of this rank.
        patience: seconds that it waits for the others.

    Raises:
        InputError: if it does not find the others, or they are connected for other devices.
        Lost: if another one has ended, or has not answered for that long.
    """
    if world.size == 1 or distributed():
        if distributed():
            _require_backends(device)
        yield
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            BACKENDS if cuda else "gloo",
            init_method=f"tcp://{world.address}:{world.port}",
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=patience),
        )
    except (RuntimeError, OSError) as error:  # torch's own are RuntimeErrors
        raise InputError(
            f"rank {world.rank} of {world.size} did not find the others through {world.address}:{world.port}:"
            f" did all start, and can they reach it? ({type(error).__name__})"
        ) from error
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            redirect_stdout(sys.stdout if world.rank == 0 else nowhere),
        ):
            yield
    except RuntimeError as error:
        if not _is_of_ranks(error):
            raise
        raise Lost(
            f"rank {world.rank} of {world.size} has lost another one, which has ended or hangs"
        ) from error
    finally:
        with suppress(RuntimeError):  # the group may be in any state
            dist.destroy_process_group()


def _require_backends(device: torch.device) -> None:
    """Require that ranks which are connected already can send what is on the host and on the device."""
    there = {pair.partition(":")[0] for pair in dist.get_backend_config().split(",")}
    require(
        {"cpu", device.type} <= there,
        f"the ranks are connected for {' and '.join(sorted(there))} only: connect them with "
        f"torch.distributed.init_process_group({BACKENDS!r})",
    )


def _is_of_ranks(error: BaseException | None) -> bool:
    """Whether torch raised the error, or one of its causes, because another rank did not answer."""
    if error is None:
        return False
    told = isinstance(error, dist.DistError) or any(mark in str(error).lower() for mark in LOST_MARKS)
    return told or _is_of_ranks(error.__cause__ or error.__context__)
