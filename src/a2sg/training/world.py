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
START = "start ranks with torchrun, with srun, or with --devices alone"
"""How the environment variables of ranks come to be right."""
MOST_RANKS = 1_000_000
LAST_PORT = 65_535
LAST_JOB = 2**63 - 1
"""The largest number of a job that any version of SLURM could give."""


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
            InputError: if one of them is missing, or does not fit the others.
        """
        found = os.environ if environ is None else environ
        if environ is None and distributed():
            size = rank_count()
            local_size = _number(found, "LOCAL_WORLD_SIZE", 1, size, default=size)
            local = _number(found, "LOCAL_RANK", 0, local_size - 1, default=rank() % local_size)
            return cls(rank(), size, local, local_size)
        if "RANK" in found and "WORLD_SIZE" in found:
            return cls._of_torchrun(found)
        if _number(found, "SLURM_STEP_NUM_TASKS", 1, MOST_RANKS, default=1) > 1:
            return cls._of_slurm(found)
        return cls()

    @classmethod
    def _of_torchrun(cls, found: Mapping[str, str]) -> World:
        size = _number(found, "WORLD_SIZE", 1, MOST_RANKS)
        local_size = _number(found, "LOCAL_WORLD_SIZE", 1, size)
        return cls(
            _number(found, "RANK", 0, size - 1),
            size,
            _number(found, "LOCAL_RANK", 0, local_size - 1),
            local_size,
            _text(found, "MASTER_ADDR"),
            _number(found, "MASTER_PORT", 1, LAST_PORT),
        )

    @classmethod
    def _of_slurm(cls, found: Mapping[str, str]) -> World:
        size = _number(found, "SLURM_STEP_NUM_TASKS", 1, MOST_RANKS)
        nodes = _number(found, "SLURM_STEP_NUM_NODES", 1, size, default=1)
        local = _number(found, "SLURM_LOCALID", 0, size - 1)
        require(
            size % nodes == 0 and local < size // nodes,
            f"srun started {size} tasks on {nodes} machines, but not equally many on each: use "
            "--ntasks-per-node",
        )
        address = SLURMEnvironment.resolve_root_node_address(_text(found, "SLURM_STEP_NODELIST"))
        # The same on all ranks, different for each job.
        port = 15_000 + _number(found, "SLURM_JOB_ID", 0, LAST_JOB) % 10_000
        return cls(
            _number(found, "SLURM_PROCID", 0, size - 1),
            size,
            local,
            size // nodes,
            _text(found, "MASTER_ADDR", default=address),
            _number(found, "MASTER_PORT", 1, LAST_PORT, default=port),
        )

    @property
    def nodes(self) -> int:
        """How many machines there are."""
        return self.size // self.local_size


def _text(found: Mapping[str, str], name: str, default: str | None = None) -> str:
    """The value of an environment variable that says where the ranks are; it is not empty."""
    text = found.get(name, default)
    if text is None:
        raise InputError(
            f"the environment variables that say which rank this is are incomplete: {name} is missing; "
            f"{START}"
        )
    require(bool(text.strip()), f"the environment variable {name} is empty; {START}")
    return text


def _number(found: Mapping[str, str], name: str, least: int, most: int, default: int | None = None) -> int:
    """The value of an environment variable that is a whole number from `least`, at least 0, to `most`."""
    text = _text(found, name, None if default is None else str(default)).strip()
    number = int(text) if text.isdecimal() and len(text) <= len(str(LAST_JOB)) else -1
    require(
        least <= number <= most,
        f"the environment variable {name} must be {_range(least, most)}, not {text!r}; {START}",
    )
    return number


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"a whole number from {least} to {most}"


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
