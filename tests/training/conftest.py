"""A finished tiny run, once for all tests of a process, and a copy of it that a test may change."""

import shutil

import pytest

from tiny import train_tiny


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("runs") / "a2sg-s0")


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "a2sg-s0")
