"""When and with what results were made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import date
from typing import Any

import torch

from a2sg._version import __version__


def made() -> dict[str, Any]:
    """Date and versions."""
    versions = {"a2sg": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"date": date.today().isoformat(), "versions": versions}


def versions(facts: Mapping[str, Any]) -> str:
    """Those of `made`, in words."""
    return ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
