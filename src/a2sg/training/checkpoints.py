"""Checkpoints that survive crashes: written to another file, synced, renamed, and verified when read.

A run keeps its last few: `last.ckpt`, the one before as `last-1.ckpt`, and so on. At every moment at least
one of them is whole, whatever kills the process or fills the disk.
"""

from __future__ import annotations

import logging
import os
import pickletools
import re
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from a2sg.errors import InputError, require
from a2sg.files import whole

log = logging.getLogger("a2sg")

FOLDER = "checkpoints"
CHECKPOINT = f"{FOLDER}/last.ckpt"
ARCHIVE = b"PK\x03\x04"
"""What a file of torch begins with."""
PARTS = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch\._utils _rebuild_(tensor_v2|parameter)", re.ASCII
)
"""What the pickles of our checkpoints name, as module and name."""
KEPT = 2
"""Number of last checkpoints that a run keeps."""


def resuming(out: Path) -> str:
    """The command that resumes the run in a folder, to be copied into a shell."""
    return f"a2sg train --resume {shlex.quote(str(out))}"


class DurableCheckpoints(TorchCheckpointIO):
    """How Lightning writes and reads the checkpoints of a run."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write `path` completely or not at all; an existing last checkpoint is kept as the one before.

    Raises:
        InputError: if it cannot be written; an existing file is then unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # before the others are moved
            if path.name == Path(CHECKPOINT).name:
                _make_room(path.parent)
        _sync(path.parent)
    except (InputError, OSError, RuntimeError) as error:  # torch raises the last when the disk is full
        if _interrupted(error):
            raise KeyboardInterrupt from error
        kept = "the one before is kept" if has_checkpoint(path.parent.parent) else "the run has none yet"
        raise InputError(
            f"cannot write the checkpoint {path} ({_reason(error)}): {kept}; fix that, then continue with "
            f"{resuming(path.parent.parent)}"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        InputError: if the file is damaged, even by a single bit.
    """
    try:
        _look_through(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for tensor in _tensors(state):
            held = tensor.untyped_storage().nbytes()
            require(
                tensor.numel() * tensor.element_size() <= held, "a tensor has more elements than are stored"
            )
    except Exception as error:
        last = path.name == Path(CHECKPOINT).name
        raise InputError(
            f"the checkpoint {path} is damaged ({_why(error)}): delete it"
            + (", and a2sg train --resume starts the run again" if last else "")
        ) from error
    return state


def require_restored(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Raise `InputError` unless what an optimizer took from the checkpoint at `path` fits its parameters."""
    does_not = f"{path} does not match the network"
    for group in optimizer.param_groups:
        for name, default in optimizer.defaults.items():
            require(_alike(group.get(name), default), f"{does_not}: its optimizer has no such {name}")
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                fits = not isinstance(value, torch.Tensor) or value.shape in ((), parameter.shape)
                require(fits, f"{does_not}: its optimizer has a {name} of another shape")


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has a last checkpoint, damaged or not."""
    return any(path.is_file() for path in _places(folder / FOLDER))


def newest_checkpoint(folder: Path, *, aside: bool = False) -> Path | None:
    """The newest undamaged one of a run's last checkpoints; None if it has none yet.

    A damaged one is skipped, with a warning, in favour of the one before.

    Args:
        folder: of the run.
        aside: whether to rename damaged ones, so that none replaces an undamaged one later.

    Raises:
        InputError: if all of them are damaged.
    """
    damaged: dict[Path, InputError] = {}
    for path in filter(Path.is_file, _places(folder / FOLDER)):
        try:
            read_checkpoint(path)
        except InputError as error:
            damaged[path] = error
            continue
        for bad in damaged:
            log.warning("the checkpoint %s is damaged: using the one before, %s", bad, path.name)
            if aside:
                os.replace(bad, bad.with_suffix(".damaged"))
        return path
    if damaged:
        raise next(iter(damaged.values()))
    return None


def epoch_checkpoint(folder: Path, epoch: int) -> Path:
    """The file with the weights of a run after an epoch, counted from 1."""
    return folder / FOLDER / f"epoch-{epoch}.ckpt"


def kept_epochs(folder: Path) -> list[int]:
    """The epochs, counted from 1, whose weights a run has kept (`RunConfig.keep_every`), ascending."""
    names = (path.stem.removeprefix("epoch-") for path in (folder / FOLDER).glob("epoch-*.ckpt"))
    return sorted(int(name) for name in names if name.isdecimal())


def _places(folder: Path) -> list[Path]:
    last = folder / Path(CHECKPOINT).name
    return [last, *(last.with_stem(f"{last.stem}-{number}") for number in range(1, KEPT))]


def _make_room(folder: Path) -> None:
    """Move every last checkpoint one place back."""
    places = _places(folder)
    for newer, older in reversed(list(pairwise(places))):
        if newer.is_file():
            os.replace(newer, older)


def _look_through(path: Path) -> None:
    """Compare every part of an archive with its checksum, and look for what torch itself would not refuse."""
    with path.open("rb") as file:  # torch takes a file that begins otherwise for one of its older format
        require(file.read(len(ARCHIVE)) == ARCHIVE, "it is not an archive")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        size = sum(part.file_size for part in parts)
        require(size <= path.stat().st_size, "its parts overlap")
        require(all(part.compress_type == zipfile.ZIP_STORED for part in parts), "it is compressed")
        bad = archive.testzip()
        require(bad is None, f"the checksum of {bad} differs")
        for part in parts:
            if part.filename.lower().endswith(".pkl"):
                for name in _named(archive.read(part)):
                    # `weights_only` allows more, such as `bytearray(10**12)`, which would fill all memory.
                    require(PARTS.fullmatch(name) is not None, f"it names {name!r}, which no run writes")


def _named(pickled: bytes) -> Iterator[str]:
    """What a pickle asks to import, as "module name"."""
    for code, argument, _ in pickletools.genops(pickled):
        if code.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield code.name  # takes its name from elsewhere


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """All tensors in plain data."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping):
        yield from chain.from_iterable(map(_tensors, content.values()))
    elif isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        yield from chain.from_iterable(map(_tensors, content))


def _alike(value: Any, default: Any) -> bool:
    """Whether an option of an optimizer is of the same kind as its default."""
    if isinstance(default, tuple):
        same = isinstance(value, (tuple, list)) and len(value) == len(default)
        return same and all(map(_alike, value, default))
    if default is None or isinstance(default, bool):
        return value is None or isinstance(value, bool)
    return isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: torch, closing its archive, then complains about the archive."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _reason(error: BaseException) -> str:
    """What the system said, which torch's own error hides."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).partition("\n")[0]


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else type(error).__name__


def _sync(folder: Path) -> None:
    """Sync the names in a folder to disk, if the system supports it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
