"""Memory limits of containers and jobs: control groups as Linux lays them out, in a folder."""

import pytest

from a2sg import groups
from a2sg.groups import cpu_quota, left_memory

SECOND = ("memory.max", "memory.current", "inactive_file")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
JOB = "system.slice/job_1"


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """The folder of control groups; this process is in none yet."""
    monkeypatch.setattr(groups, "MOUNTED", tmp_path / "cgroup")
    monkeypatch.setattr(groups, "MEMBERSHIP", tmp_path / "self")
    return tmp_path / "cgroup"


def belong(text):
    groups.MEMBERSHIP.write_text(text, encoding="utf-8")


def write_group(folder, names, limit, used, cached=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n", encoding="ascii")
    (folder / names[1]).write_text(f"{used}\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\nother 9\n", encoding="ascii")


@pytest.fixture(params=["first", "second"])
def version(request, mounted):
    """Where groups of a version lie, and the names of its files."""
    if request.param == "first":
        belong(f"5:cpu,cpuacct:/else\n4:memory:/{JOB}\n1:name=systemd:/\n0::/\n")
        return mounted / "memory", FIRST
    belong(f"0::/{JOB}\n")
    return mounted, SECOND


def test_without_groups_there_is_no_limit(mounted):
    assert left_memory() is None
    belong("0::/\n")
    assert left_memory() is None


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [
        (1000, 300, 0, 700),
        (1000, 900, 250, 350),  # pages of files are given up
        (100, 110, 0, 0),
        ("max", 100, 0, None),
    ],
)
def test_what_a_job_may_still_take(version, limit, used, cached, left):
    root, names = version
    write_group(root / JOB, names, limit, used, cached)
    assert left_memory() == left


@pytest.mark.parametrize("tighter", [JOB, "system.slice", ""])
def test_the_tightest_of_a_group_and_those_above_it_counts(version, tighter):
    root, names = version
    for folder in (JOB, "system.slice", ""):
        write_group(root / folder, names, limit=500 if folder == tighter else 9000, used=100)
    assert left_memory() == 400


def test_a_container_sees_its_own_group_as_the_root(version):
    root, names = version  # the group of the host, which /proc names, is not there
    write_group(root, names, limit=800, used=100)
    assert left_memory() == 700


@pytest.mark.parametrize("text", ["", "0\n", "::\n", "x:memory\n", "0::/../../a\n"])
def test_odd_memberships_are_no_limit(mounted, text):
    belong(text)
    assert left_memory() is None


@pytest.mark.parametrize(
    ("quota", "period", "seconds"), [(150_000, 100_000, 1.5), (-1, 100_000, None), (1, 0, None)]
)
def test_cpu_time_of_the_first_version(mounted, quota, period, seconds):
    belong(f"4:cpu,cpuacct:/{JOB}\n0::/\n")
    group = mounted / "cpu" / JOB
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
    (group / "cpu.cfs_period_us").write_text(f"{period}\n", encoding="ascii")
    assert cpu_quota() == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("250000 100000", 2.5), ("max 100000", None), ("", None), ("1 2 3", None)]
)
def test_cpu_time_of_the_second_version(mounted, text, seconds):
    belong(f"0::/{JOB}\n")
    (mounted / JOB).mkdir(parents=True)
    (mounted / JOB / "cpu.max").write_text(f"{text}\n", encoding="ascii")
    assert cpu_quota() == seconds
    (mounted / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    assert cpu_quota() == 0.5
