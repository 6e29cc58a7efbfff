"""Which rank a process is, as torchrun, SLURM or nobody says."""

from contextlib import nullcontext

import pytest
import torch

from a2sg.errors import InputError
from a2sg.training.world import World, find_place, joined
from gpus import pretend_gpus

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "6",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "host1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "1234567",
}


def drop(variables, name):
    return {key: value for key, value in variables.items() if key != name}


@pytest.mark.parametrize(
    ("variables", "world"),
    [
        ({}, World()),
        (TORCHRUN, World(5, 6, 1, 2, "host1", 29500)),
        (SLURM, World(5, 6, 1, 2, "gpu07", 19567)),
        ({**SLURM, "MASTER_ADDR": "here", "MASTER_PORT": "7"}, World(5, 6, 1, 2, "here", 7)),
        ({**SLURM, **TORCHRUN, "RANK": "4", "LOCAL_RANK": "0"}, World(4, 6, 0, 2, "host1", 29500)),
        # A batch script that has tasks, but is no step of them: srun has not started it.
        ({"SLURM_NTASKS": "6", "SLURM_PROCID": "0"}, World()),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, World()),
    ],
    ids=["alone", "torchrun", "slurm", "slurm told where", "torchrun within slurm", "sbatch", "one task"],
)
def test_the_environment_says_which_rank_it_is(variables, world):
    assert World.here(variables) == world


def test_machines():
    assert World.here(TORCHRUN).nodes == 3


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "incomplete: LOCAL_WORLD_SIZE is missing; start ranks with torch"),
        (drop(TORCHRUN, "MASTER_ADDR"), "incomplete: MASTER_ADDR is missing"),
        (drop(SLURM, "SLURM_JOB_ID"), "incomplete: SLURM_JOB_ID is missing"),
        (
            {**TORCHRUN, "RANK": "first"},
            "RANK must be a whole number from 0 to 5, not 'first'; start ranks w",
        ),
        ({**TORCHRUN, "RANK": "6"}, "variable RANK must be a whole number from 0 to 5, not '6'"),
        ({**TORCHRUN, "RANK": "-1"}, "variable RANK must be a whole number from 0 to 5, not '-1'"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "variable WORLD_SIZE must be a whole number from 1 to 1000000"),
        ({**TORCHRUN, "WORLD_SIZE": "9" * 5000}, "variable WORLD_SIZE must be a whole number from 1"),
        (
            {**TORCHRUN, "LOCAL_WORLD_SIZE": "0"},
            "LOCAL_WORLD_SIZE must be a whole number from 1 to 6, not '0'",
        ),
        (
            {**TORCHRUN, "LOCAL_WORLD_SIZE": "7"},
            "LOCAL_WORLD_SIZE must be a whole number from 1 to 6, not '7'",
        ),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "LOCAL_RANK must be a whole number from 0 to 1, not '2'"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "1"}, "variable LOCAL_RANK must be 0, not '1'"),
        ({**TORCHRUN, "MASTER_ADDR": " "}, "the environment variable MASTER_ADDR is empty"),
        (
            {**TORCHRUN, "MASTER_PORT": "65536"},
            "MASTER_PORT must be a whole number from 1 to 65535, not '65536'",
        ),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "0"}, "SLURM_STEP_NUM_TASKS must be a whole number from 1 to"),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "all"}, "SLURM_STEP_NUM_TASKS must be a whole .* not 'all'"),
        ({**SLURM, "SLURM_STEP_NUM_NODES": "0"}, "SLURM_STEP_NUM_NODES must be a whole number from 1 to 6"),
        ({**SLURM, "SLURM_PROCID": "6"}, "SLURM_PROCID must be a whole number from 0 to 5, not '6'"),
        ({**SLURM, "SLURM_LOCALID": "-1"}, "SLURM_LOCALID must be a whole number from 0 to 5, not '-1'"),
        ({**SLURM, "SLURM_JOB_ID": "mine"}, "SLURM_JOB_ID must be a whole number from 0 to"),
        ({**SLURM, "SLURM_STEP_NODELIST": ""}, "the environment variable SLURM_STEP_NODELIST is empty"),
        ({**SLURM, "MASTER_PORT": "0"}, "MASTER_PORT must be a whole number from 1 to 65535, not '0'"),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "7"},
            "srun started 7 tasks on 3 machines, but not equally many on each: use --ntasks-per-node",
        ),
        ({**SLURM, "SLURM_LOCALID": "2"}, "srun started 6 tasks on 3 machines, but not equally many on each"),
    ],
)
def test_variables_that_do_not_work_are_told(variables, message):
    with pytest.raises(InputError, match=message):
        World.here(variables)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE must be a whole number from 1 to 6, not '0'"),
        ("LOCAL_RANK", "first", "LOCAL_RANK must be a whole number from 0 to 1, not 'first'"),
        ("LOCAL_RANK", "", "the environment variable LOCAL_RANK is empty"),
    ],
)
def test_ranks_that_are_connected_need_variables_that_work(monkeypatch, name, value, message):
    monkeypatch.setattr("a2sg.training.world.distributed", lambda: True)
    monkeypatch.setattr("a2sg.training.world.rank", lambda: 5)
    monkeypatch.setattr("a2sg.training.world.rank_count", lambda: 6)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert World.here() == World(5, 6, 1, 2)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        World.here()


def test_each_rank_has_its_gpu(monkeypatch):
    pretend_gpus(monkeypatch, 2)
    assert find_place("auto", World()) == torch.device("cuda")
    assert find_place("auto", World(5, 6, 1, 2)) == torch.device("cuda", 1)
    assert find_place("cpu", World(5, 6, 1, 2)) == torch.device("cpu")
    with pytest.raises(InputError, match="rank 3 needs GPU 3, but sees 2: start as many ranks on a machine"):
        find_place("cuda", World(3, 4, 3, 4))


def test_one_alone_joins_nobody():
    with joined(World(), torch.device("cpu")):
        assert not torch.distributed.is_initialized()


def test_others_that_do_not_come_are_told():
    message = (
        r"rank 1 of 2 did not find the others through 127\.0\.0\.1:9: did all start, and can they reach it"
    )
    alone = joined(World(1, 2, 1, 2, "127.0.0.1", 9), torch.device("cpu"), patience=1.0)
    with pytest.raises(InputError, match=message), alone:
        pass


@pytest.mark.parametrize(
    ("connected", "device", "fits"),
    [
        ("cuda:nccl", "cuda:0", False),  # as init_process_group("nccl") connects them
        ("cpu:gloo", "cuda:0", False),
        ("cpu:gloo,cuda:nccl", "cuda:0", True),
        ("cpu:gloo,cuda:gloo", "cpu", True),
    ],
)
def test_ranks_that_are_connected_for_other_devices_are_told(monkeypatch, connected, device, fits):
    monkeypatch.setattr("a2sg.training.world.distributed", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend_config", lambda: connected)
    expected = nullcontext() if fits else pytest.raises(InputError, match="only: connect them with")
    with expected, joined(World(0, 2, 0, 2), torch.device(device)):
        pass
