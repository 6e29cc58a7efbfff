"""Run folders: how to recognise, lock and read them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from a2sg.errors import InputError, require
from a2sg.files import read_json, require_plain
from a2sg.training.checkpoints import newest_checkpoint
from a2sg.training.config import RunConfig
from a2sg.training.recipe import read_config, write_config

log = logging.getLogger("a2sg")

CONFIG, SUMMARY, LOCK = "config.yaml", "summary.json", ".lock"
REMAINS = {LOCK, f"{CONFIG}.part"}
"""Files that may be left in a folder by a process that was killed while starting."""


def blank(folder: Path) -> bool:
    """Whether nothing is lost if a run begins in `folder`: it does not exist, or holds nothing of value."""
    return not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= REMAINS)


def require_run(folder: Path) -> None:
    """Raise `InputError` unless `folder` is a run folder, finished or not, of files and folders alone."""
    if not folder.exists():
        why = "it does not exist"
    elif not folder.is_dir():
        why = "it is a file"
    elif runs := sorted(folder.glob(f"*/{CONFIG}")):
        why = f"it holds runs, so name one of them, such as {runs[0].parent}"
    else:
        why = f"it has no {CONFIG} (a2sg train writes one)"
    require((folder / CONFIG).is_file(), f"{folder} is not a run folder: {why}")
    require_plain(folder)


def read_run_config(folder: Path) -> RunConfig:
    """The config of a run folder."""
    require_run(folder)
    return read_config(folder / CONFIG)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The results of a run; None until it is finished, or if its summary is damaged: it is written again."""
    path = folder / SUMMARY
    if not path.is_file():
        return None
    try:
        return read_json(path)
    except InputError as error:
        log.warning("%s, so its run counts as unfinished", error)
    return None


@contextmanager
def opened(config: RunConfig, out: Path, *, resume: bool) -> Iterator[Path | None]:
    """Create the folder of a run, and keep other processes out of it inside this context.

    Yields:
        The checkpoint to resume from, if there is one.

    Raises:
        InputError: if it is not empty, cannot be written, is in use, or with `resume` holds a different run.
    """
    if resume:
        require(
            asdict(read_run_config(out)) == asdict(config),
            f"{out} holds a different run from the one to resume",
        )
    else:
        require(out.is_dir() or not out.exists(), f"{out} is a file, not a folder: choose another --out")
        goes_on = f", or continue with a2sg train --resume {out}" if (out / CONFIG).is_file() else ""
        require(blank(out), f"{out} is not empty: choose another --out{goes_on}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(
            f"{out} is in use: another process trains there; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        if resume:
            yield newest_checkpoint(out, aside=True)
        else:
            write_config(config, out / CONFIG)
            yield None
    finally:
        lock.release()


def unwritable(out: Path, error: OSError, cure: str = "choose another --out") -> InputError:
    """The error for a folder that cannot be written, with what to do."""
    return InputError(f"cannot write to {out}: {error.strerror or error}; {cure}")
