"""Run folders: how to recognise, lock and read them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from a2sg.errors import InputError, require
from a2sg.files import read_json, require_plain
from a2sg.training.checkpoints import FOLDER, newest_checkpoint, resuming
from a2sg.training.config import RunConfig
from a2sg.training.recipe import read_config, write_config

log = logging.getLogger("a2sg")

CONFIG, SUMMARY, LOCK = "config.yaml", "summary.json", ".lock"
REMAINS = {LOCK, f"{CONFIG}.part"}
"""Files that may be left in a folder by a process that was killed while starting."""
WRITTEN = (CONFIG, "metrics.csv", "windows.csv", "tensorboard", FOLDER)
"""What a run may have written before its first step."""


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
def opened(
    config: RunConfig, out: Path, *, resume: bool, begun: Callable[[], bool] = lambda: True
) -> Iterator[Path | None]:
    """Create the folder of a run, and keep other processes out of it inside this context.

    Bad input that shows before a new run has begun, such as a network that does not fit the data, leaves
    nothing there: resuming would only fail again.

    Args:
        config: the run.
        out: its folder.
        resume: whether it was begun before.
        begun: whether it has made a step by now.

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
        goes_on = f", or continue with {resuming(out)}" if (out / CONFIG).is_file() else ""
        require(blank(out), f"{out} is not empty: choose another --out{goes_on}")
    there = out.exists()
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
    except InputError:
        if not (resume or begun()):
            _clear(out, whole=not there)
        raise
    finally:
        lock.release()


def _clear(out: Path, whole: bool) -> None:
    """Remove what a run wrote before its first step, and its folder if that is `whole` its own."""
    for path in (out / name for name in WRITTEN):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if whole:
        with suppress(OSError):  # Windows keeps a file that is open, and a folder that is not empty stays
            (out / LOCK).unlink(missing_ok=True)
            out.rmdir()


def unwritable(out: Path, error: OSError, cure: str = "choose another --out") -> InputError:
    """The error for a folder that cannot be written, with what to do."""
    return InputError(f"cannot write to {out}: {error.strerror or error}; {cure}")
