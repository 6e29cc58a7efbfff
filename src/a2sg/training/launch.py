"""Starts the ranks of a command on this machine, as torchrun would, and ends them together."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from a2sg.allowance import share_of_cores
from a2sg.children import Child, passing_on
from a2sg.devices import find_device
from a2sg.errors import InputError, require
from a2sg.ranks import Lost
from a2sg.training.midway import read_time, signal_numbers
from a2sg.training.world import LOST, World

GRACE = 15.0
"""Seconds that ranks have to end by themselves after one has failed."""
POLL = 0.1


def add_options(parser: ArgumentParser) -> None:
    """Add the options of a command that can run on several devices."""
    group = parser.add_argument_group("devices, which share every batch")
    group.add_argument(
        "--devices", metavar="N|auto", help="how many on this machine; auto: all GPUs (default: 1)"
    )
    group.add_argument(
        "--nodes", metavar="N", help="how many machines, started by torchrun or srun (default: 1)"
    )
    group.add_argument(
        "--patience",
        default="10m",
        metavar="TIME",
        help="how long devices wait for each other (default: 10m)",
    )


def split_options(words: Sequence[str]) -> list[str]:
    """The words of a command without the options of `add_options`."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    add_options(parser)
    return parser.parse_known_args(words)[1]


def patience(options: Namespace) -> float:
    """Seconds that ranks wait for each other.

    Raises:
        InputError: if it is not a time.
    """
    seconds = read_time(options.patience)
    if seconds is None:
        raise InputError(f"--patience must be a time such as 90s, 10m or 2h, not {options.patience!r}")
    return seconds


def ranks_to_start(options: Namespace, device: str) -> int:
    """How many ranks a command must start; 1 if it does the work itself, even as one of several ranks.

    Args:
        options: of `add_options`.
        device: auto, cpu or cuda.

    Raises:
        InputError: for a value that is not a number, does not fit the ranks already started, or exceeds the
            devices of this machine.
    """
    world, cuda = World.here(), find_device(device).type == "cuda"
    nodes = world.nodes if options.nodes is None else read_number("--nodes", options.nodes)
    if options.devices is None or (options.devices == "auto" and world.size > 1):
        devices = world.local_size
    elif options.devices == "auto":
        devices = torch.cuda.device_count() if cuda else 1
    else:
        devices = read_number("--devices", options.devices)
    if world.size > 1:
        require(
            (devices, nodes) == (world.local_size, world.nodes),
            f"--devices {devices} --nodes {nodes} is not what was started: {world.local_size} ranks on each "
            f"of {world.nodes} machines",
        )
        return 1
    require(
        nodes == 1,
        f"--nodes {nodes} needs a2sg to be started on every machine: by srun, or by torchrun "
        f"--nnodes {nodes} --nproc-per-node {devices} … -m a2sg …",
    )
    if cuda:
        there = torch.cuda.device_count()
        require(devices <= there, f"--devices {devices} is more than the {there} GPUs of this machine")
    return devices


def launch(words: Sequence[str], ranks: int) -> int:
    """Run a command in several ranks; shows rank 0's output, and from another rank the error that ended them.

    Args:
        words: of the command, with its name.
        ranks: how many to start.

    Returns:
        The exit status.

    Raises:
        Lost: if a rank was killed, or hangs.
    """
    port = _free_port()
    with ExitStack() as stack:
        children: list[Child] = []
        with passing_on(children, signal_numbers()) as signals:
            for rank in range(ranks):
                child = Child(words, _variables(rank, ranks, port), heard=rank == 0)
                children.append(stack.enter_context(child))
            if signals:  # one that began just then may have missed it; leaving ends all
                return _stopped(children, signals)
            failed = _wait(children)
        if failed is None:
            return 0
        status = children[failed].status
        if signals and status is not None and (status > 0 or -status in _passed_on(signals)):
            return _stopped(children, signals, failed)
        if status is None or status == LOST:
            hanging = next((rank for rank, child in enumerate(children) if child.status is None), failed)
            raise Lost(f"rank {hanging} of {ranks} did not answer, and all were ended")
        if status < 0:
            name = signal.Signals(-status).name
            raise Lost(f"rank {failed} of {ranks} was ended by {name}, and the others with it")
        children[failed].repeat()
        return status


def _stopped(children: Sequence[Child], signals: Sequence[int], failed: int | None = None) -> int:
    """The exit status of a command that a signal ended; says so, unless a rank has said what happened.

    Args:
        children: its ranks.
        signals: that came, in order.
        failed: the first of the ranks to fail, if they have ended.
    """
    saved = [128 + number for number in _passed_on(signals)]
    status = 0 if failed is None else children[failed].status or 0
    if failed is not None and status > 0 and status not in (LOST, *saved):
        children[failed].repeat()  # an error of its own
    elif children[0].status not in saved:  # if it is, rank 0 has said that the run was saved
        name = signal.Signals(signals[0]).name
        print("a2sg: interrupted" if name == "SIGINT" else f"a2sg: ended by {name}", file=sys.stderr)
    return 128 + signals[0]


def _passed_on(signals: Sequence[int]) -> list[int]:
    """What the ranks receive for these signals."""
    return [signal.SIGTERM if number == signal.SIGINT else number for number in signals]


def _wait(children: Sequence[Child]) -> int | None:
    """Wait until all have ended, or one has failed and the others had time to end; returns the first to fail.

    A rank that only lost another does not count as failed, unless no other rank failed.
    """
    failed: list[int] = []
    deadline = float("inf")
    while any(child.status is None for child in children) and time.monotonic() < deadline:
        time.sleep(POLL)
        failed += [rank for rank, child in enumerate(children) if child.status and rank not in failed]
        if failed:
            deadline = min(deadline, time.monotonic() + GRACE)
    failed += [rank for rank, child in enumerate(children) if child.status and rank not in failed]
    own = [rank for rank in failed if children[rank].status != LOST]
    return next(iter([*own, *failed]), None)


def _variables(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Environment variables of a rank: torchrun's, and its share of the cores."""
    given = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    network = {"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")} if _has_loopback() else {}
    return {**{name: str(value) for name, value in given.items()}, **network, **threads(ranks)}


def threads(processes: int) -> dict[str, str]:
    """Environment variables of one of several processes: its share of the cores, unless set already."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share_of_cores(processes)))}


def _has_loopback() -> bool:
    """Whether this machine's loopback interface is lo; gloo then need not look up the machine's name."""
    return "lo" in {name for _, name in socket.if_nameindex()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def read_number(name: str, text: str) -> int:
    """A number of devices or machines.

    Raises:
        InputError: for anything else.
    """
    most = 10_000
    require(
        text.isdecimal() and 0 < int(text[:6]) <= most,
        f"{name} must be a whole number from 1 to {most}, not {text!r}",
    )
    return int(text)
