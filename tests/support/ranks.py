"""Runs a function in several processes of one distributed run (gloo, on the CPU)."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

needs_distributed = pytest.mark.skipif(not dist.is_available(), reason="torch.distributed is not built in")


def run_ranks(work: Callable[[int], Any], folder: Path, count: int) -> list[Any]:
    """Run `work(rank)` in `count` processes; returns what each gave, which must be what torch can save."""
    with pytest.MonkeyPatch.context() as patch:
        if "lo" in {name for _, name in socket.if_nameindex()}:
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        mp.spawn(_rank, (work, folder, count), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _rank(rank: int, work: Callable[[int], Any], folder: Path, count: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=count)
    torch.save(work(rank), folder / f"{rank}.pt")
    dist.barrier()
    os._exit(0)  # now and then, gloo of torch 2.6 waits for ever for its own threads to end
