"""What a bug report needs to say about its environment: versions, machine, and how neurons will run there."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from a2sg._version import __version__
from a2sg.allowance import cores
from a2sg.kernels.backends import outlook
from a2sg.kernels.compilers import find_compiler

DEVELOPERS = "dev"
"""The extra that only developers need."""


def environment() -> dict[str, Any]:
    """The facts as plain data, with None for what is not there.

    Returns:
        `versions` by name; `compiler` in its own words, and whether Python's `headers` are there, which
        compiled neurons need too; `system`; `cores` and torch's `threads`; `devices`, each with its name,
        memory in bytes, the backend that neurons take there and why; `extras`: of each the optional packages
        it adds, with their versions.
    """
    return {
        "versions": {
            "a2sg": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "triton": _version("triton"),
            "numpy": _version("numpy"),
        },
        "compiler": _compiler(),
        "headers": Path(sysconfig.get_path("include"), "Python.h").is_file(),
        "system": platform.platform(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "devices": list(_devices()),
        "extras": _extras(),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """`environment()` for people, one fact per line."""
    rows = {name: version or "none" for name, version in found["versions"].items()}
    rows["compiler"] = found["compiler"] or "none"
    rows["headers"] = "Python.h is there" if found["headers"] else "no Python.h"
    rows["system"] = f"{found['system']}, {found['cores']} cores, torch uses {found['threads']} threads"
    for device in found["devices"]:
        memory = "" if device["memory"] is None else f", {device['memory'] / 2**30:.0f} GiB"
        rows[device["device"]] = device["name"] + memory
        rows[f"neurons on {device['device']}"] = f"{device['backend']}: {device['why']}"
    for extra, packages in found["extras"].items():
        there = [f"{name} {version}" for name, version in packages.items() if version]
        missing = [name for name, version in packages.items() if not version]
        install = f"missing: {', '.join(missing)} (pip install 'a2sg[{extra}]')"
        rows[f"[{extra}]"] = "; ".join(filter(None, (", ".join(there), install if missing else "")))
    width = max(map(len, rows))
    return [f"{name:<{width}}  {text}" for name, text in rows.items()]


def processor() -> str:
    """The processor's name if Linux reports it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    except OSError:
        pass
    return f"{platform.machine()} CPU"


def _devices() -> Iterator[dict[str, Any]]:
    """The CPU, and what else torch can compute on."""
    found: list[tuple[str, str, int | None]] = [("cpu", processor(), _memory())]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        assert kind is not None
        for index in range(torch.accelerator.device_count()):
            if kind.type == "cuda":
                device = torch.cuda.get_device_properties(index)
                found.append((f"cuda:{index}", device.name, device.total_memory))
            else:
                found.append((f"{kind.type}:{index}", kind.type, None))
    for name, model, memory in found:
        backend, why = outlook(name.partition(":")[0])
        yield {"device": name, "name": model, "memory": memory, "backend": backend, "why": why}


def _extras() -> dict[str, dict[str, str | None]]:
    """Versions of the optional packages by extra, as the installed package declares them.

    An extra that has all of another one lists what it adds.
    """
    try:
        requirements = metadata.requires("a2sg") or []
    except metadata.PackageNotFoundError:  # run from its source
        requirements = []
    declared: dict[str, set[str]] = {}
    for requirement in requirements:
        package = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if package and extra and extra[1] != DEVELOPERS:
            declared.setdefault(extra[1], set()).add(package[0])
    added = {
        extra: names.difference(*(other for other in declared.values() if other < names))
        for extra, names in declared.items()
    }
    return {extra: {name: _version(name) for name in sorted(added[extra])} for extra in sorted(added)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _compiler() -> str | None:
    """What the compiler calls itself."""
    path = find_compiler()
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace")
    return (done.stdout or done.stderr).partition("\n")[0].strip() or Path(path).name


def _memory() -> int | None:
    """Bytes of main memory, if the system reports it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
