"""Machines that tests pretend to run on."""

import pytest

from a2sg import allowance


def pretend_cores(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let this process be bound to `count` cores, without a limit, other runs, or a cluster's variables."""
    patch.setattr(allowance.os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
    patch.setattr(allowance, "cpu_quota", lambda: None)
    for name in ("A2SG_SHARERS", "SLURM_CPUS_ON_NODE", "OMP_NUM_THREADS"):
        patch.delenv(name, raising=False)
