"""What a process may use: by the machine, its container or job, and what runs beside it."""

import pytest

from a2sg import allowance
from a2sg.allowance import cores, free_memory, share_of_cores
from machine import pretend_cores


@pytest.mark.parametrize(("quota", "count"), [(None, 8), (16.0, 8), (2.5, 3), (2.0, 2), (0.1, 1)])
def test_a_quota_is_rounded_up_to_whole_cores(monkeypatch, quota, count):
    pretend_cores(monkeypatch, 8)
    monkeypatch.setattr(allowance, "cpu_quota", lambda: quota)
    assert cores() == count


def test_without_affinity_all_cores_of_the_machine_count(monkeypatch):
    monkeypatch.delattr(allowance.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(allowance.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(allowance, "cpu_quota", lambda: None)
    assert cores() == 6


@pytest.mark.parametrize(
    ("processes", "variables", "share"),
    [
        (1, {}, 16),
        (3, {}, 5),
        (99, {}, 1),
        (2, {"A2SG_SHARERS": "4"}, 2),
        (1, {"A2SG_SHARERS": "many"}, 16),
        (4, {"SLURM_CPUS_ON_NODE": "16"}, 4),  # all ranks may use all cores
        (4, {"SLURM_CPUS_ON_NODE": "64"}, 16),  # each rank has its own
    ],
)
def test_processes_share_the_cores(monkeypatch, processes, variables, share):
    pretend_cores(monkeypatch, 16)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert share_of_cores(processes) == share


@pytest.mark.parametrize(
    ("text", "job", "free"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   12 kB\n", None, 12 << 10),
        ("MemAvailable: 12 kB\n", 5, 5),
        ("MemAvailable: 12 kB\n", 1 << 20, 12 << 10),
        ("MemTotal: 9 kB\n", None, None),
        ("MemAvailable:\n", 7, 7),
        (None, None, None),
        (None, 7, 7),
    ],
)
def test_free_memory_is_the_least_of_machine_and_job(tmp_path, monkeypatch, text, job, free):
    monkeypatch.setattr(allowance, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(allowance, "left_memory", lambda: job)
    if text is not None:
        allowance.MEMINFO.write_text(text, encoding="ascii")
    assert free_memory() == free
