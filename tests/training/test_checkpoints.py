"""Checkpoints that are written whole or not at all, and that say when they are damaged."""

import errno
import io
import os
import random
import zipfile

import pytest
import torch

from a2sg.errors import InputError
from a2sg.training.checkpoints import CHECKPOINT, newest_checkpoint, read_checkpoint, write_checkpoint

STATE = {"weights": torch.arange(3000.0).view(30, 100), "epoch": 3, "names": ["a", "b"]}


def same(state, other):
    return torch.equal(state["weights"], other["weights"]) and (state["epoch"], state["names"]) == (
        other["epoch"],
        other["names"],
    )


def told(path):
    """Whether a file is said to be damaged; else it must say what it always said."""
    try:
        found = read_checkpoint(path)
    except InputError:
        return True
    assert same(found, STATE)
    return False


@pytest.fixture
def run(tmp_path):
    """A run folder with two last checkpoints."""
    for epoch in (2, 3):
        write_checkpoint({**STATE, "epoch": epoch}, tmp_path / CHECKPOINT)
    return tmp_path


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_last_two_are_kept(run):
    assert names(run) == ["last-1.ckpt", "last.ckpt"]
    assert read_checkpoint(run / CHECKPOINT)["epoch"] == 3
    assert read_checkpoint(run / "checkpoints" / "last-1.ckpt")["epoch"] == 2
    assert newest_checkpoint(run) == run / CHECKPOINT
    other = run / "checkpoints" / "epoch-1.ckpt"
    write_checkpoint(STATE, other)
    assert names(run) == ["epoch-1.ckpt", "last-1.ckpt", "last.ckpt"], "others push nothing out"


def test_every_flipped_bit_is_told_or_means_nothing(run):
    path = run / CHECKPOINT
    content = path.read_bytes()
    draw, count = random.Random(0), 0
    for _ in range(300):
        at = draw.randrange(len(content))
        flipped = bytearray(content)
        flipped[at] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        count += told(path)
    assert count > 250


@pytest.mark.parametrize("size", [1, 16, 512])
def test_every_zeroed_block_is_told_or_means_nothing(run, size):
    path = run / CHECKPOINT
    content = path.read_bytes()
    draw = random.Random(size)
    for _ in range(100):
        at = draw.randrange(len(content))
        path.write_bytes(content[:at] + bytes(len(content[at : at + size])) + content[at + size :])
        told(path)


def test_a_compressed_archive_is_refused_before_it_unpacks(tmp_path):
    """Torch would unpack megabytes to gigabytes."""
    path = tmp_path / "x.ckpt"
    torch.save({"zeros": torch.zeros(10_000)}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(path, "w") as packed:
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)


MUCH = b"J" + (1 << 30).to_bytes(4, "little") + b"\x85R."
HEX = b"X\x03\x00\x00\x00hex"


@pytest.mark.parametrize(
    "asked",
    [
        b"cbuiltins\nbytearray\n" + MUCH,
        b"c__builtin__\nbytearray\n" + MUCH,
        # Bytes that double with each call.
        b"c_codecs\nencode\n" * 4
        + b"X\x01\x00\x00\x00AX\x06\x00\x00\x00latin1\x86R"
        + (HEX + b"\x86R") * 3
        + b".",
        b"X\x08\x00\x00\x00builtinsX\x09\x00\x00\x00bytearray\x93" + MUCH,
    ],
)
def test_one_that_asks_for_memory_is_refused(tmp_path, asked):
    """`bytearray(2**30)`, which `weights_only` allows, and the like."""
    path = tmp_path / "x.ckpt"
    torch.save({}, tmp_path / "plain.ckpt")
    pickled = b"\x80\x02" + asked
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(path, "w") as changed:
        for part in plain.infolist():
            is_pickle = part.filename.endswith("data.pkl")
            changed.writestr(part.filename, pickled if is_pickle else plain.read(part))
    with pytest.raises(InputError, match=r"names .*(bytearray|encode|STACK).*which no run writes"):
        read_checkpoint(path)


def test_a_tensor_larger_than_what_is_stored_is_refused(tmp_path):
    """A copy of it, in another precision, would have all elements."""
    torch.save({"a": [{"b": torch.zeros(1).expand(30_000, 30_000)}]}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="a tensor has more elements than are stored"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_parts_that_overlap_are_refused(tmp_path):
    """Each of them would be read into memory of its own."""
    path = tmp_path / "x.ckpt"
    torch.save({"zeros": torch.zeros(10_000)}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        names = {part.filename: part for part in archive.infolist()}
    (data,) = (part for name, part in names.items() if name.endswith("data/0"))
    directory = content[start:]
    (entry,) = (
        directory[at:]
        for at in range(len(directory))
        if directory[at:].startswith(b"PK\x01\x02")
        and data.filename.encode() in directory[at : at + 46 + len(data.filename)]
    )
    header = (
        46
        + len(data.filename)
        + int.from_bytes(entry[30:32], "little")
        + int.from_bytes(entry[32:34], "little")
    )
    with zipfile.ZipFile(path) as archive:
        count = len(archive.infolist()) + 1
    again = content[:start] + entry[:header] + directory
    end = again.rindex(b"PK\x05\x06")
    again[end + 8 : end + 12] = count.to_bytes(2, "little") * 2
    again[end + 12 : end + 16] = (int.from_bytes(again[end + 12 : end + 16], "little") + header).to_bytes(
        4, "little"
    )
    path.write_bytes(again)
    with pytest.raises(InputError, match="overlap"):
        read_checkpoint(path)


def test_one_of_torchs_older_format_is_refused(tmp_path):
    """Behind whose bytes an archive may lie."""
    path = tmp_path / "x.ckpt"
    torch.save({}, path, _use_new_zipfile_serialization=False)
    torch.save({}, tmp_path / "plain.ckpt")
    path.write_bytes(path.read_bytes() + (tmp_path / "plain.ckpt").read_bytes())
    with pytest.raises(InputError, match=r"damaged .it is not an archive"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"text", b"\0" * 5000])
def test_what_is_no_checkpoint_is_told(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)


def test_a_damaged_one_falls_back_to_the_one_before(run, caplog):
    path = run / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    assert newest_checkpoint(run) == run / "checkpoints" / "last-1.ckpt"
    assert "last.ckpt is damaged: using the one before, last-1.ckpt" in caplog.text
    assert names(run) == ["last-1.ckpt", "last.ckpt"], "looking changes nothing"
    assert newest_checkpoint(run, aside=True) == run / "checkpoints" / "last-1.ckpt"
    assert names(run) == ["last-1.ckpt", "last.damaged"]
    write_checkpoint({**STATE, "epoch": 4}, path)
    assert read_checkpoint(run / "checkpoints" / "last-1.ckpt")["epoch"] == 2, "the whole one stays"
    for name in ("last.ckpt", "last-1.ckpt"):
        (run / "checkpoints" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged .* starts the run again"):
        newest_checkpoint(run)


class Killed(BaseException):
    """As if the process ended there."""


STEPS = ("open", "save", "fsync", "replace 1", "replace 2")


@pytest.mark.parametrize("step", STEPS)
def test_whatever_moment_it_is_killed_at_one_is_whole(run, monkeypatch, step):
    """No file is cleaned up after a kill: the folder is as that moment left it."""
    counts = {"replace": 0}

    def at(name, do):
        def wrapped(*arguments, **options):
            counts[name] = counts.get(name, 0) + 1
            if step in (name, f"{name} {counts[name]}"):
                raise Killed
            return do(*arguments, **options)

        return wrapped

    monkeypatch.setattr(os, "replace", at("replace", os.replace))
    monkeypatch.setattr(os, "fsync", at("fsync", os.fsync))
    monkeypatch.setattr(torch, "save", at("save", torch.save))
    monkeypatch.setattr("pathlib.Path.open", at("open", type(run).open))
    with pytest.raises(Killed):
        write_checkpoint({**STATE, "epoch": 4}, run / CHECKPOINT)
    monkeypatch.undo()
    newest = newest_checkpoint(run)
    assert read_checkpoint(newest)["epoch"] == 3
    write_checkpoint({**STATE, "epoch": 5}, run / CHECKPOINT)
    assert read_checkpoint(newest_checkpoint(run))["epoch"] == 5


def test_a_full_disk_loses_nothing(run, monkeypatch):
    class Full:
        """A file on a disk with room for 4,096 bytes more."""

        def __init__(self, file):
            self.file, self.left = file, 4096

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    opens = type(run).open
    monkeypatch.setattr(
        "pathlib.Path.open",
        lambda path, *a, **k: Full(opens(path, *a, **k)) if path.suffix == ".part" else opens(path, *a, **k),
    )
    full = r"cannot write the checkpoint .*last\.ckpt \(No space left on device\): the "
    with pytest.raises(InputError, match=full + "one before is kept"):
        write_checkpoint({**STATE, "epoch": 4}, run / CHECKPOINT)
    assert names(run) == ["last-1.ckpt", "last.ckpt"]
    assert read_checkpoint(run / CHECKPOINT)["epoch"] == 3
    for name in names(run):
        (run / CHECKPOINT).with_name(name).unlink()
    with pytest.raises(InputError, match=full + "run has none yet"):
        write_checkpoint({**STATE, "epoch": 4}, run / CHECKPOINT)


@pytest.mark.parametrize("write", [1, 2, 5])
def test_ctrl_c_while_saving_is_no_error_of_the_disk(tmp_path, monkeypatch, write):
    path = tmp_path / "run" / CHECKPOINT
    write_checkpoint({"step": 1}, path)
    save = torch.save

    class Interrupted(io.RawIOBase):
        """Ctrl-C arrives at one of its writes, as in the handler of a signal."""

        def __init__(self, file):
            self.file, self.left = file, write

        def write(self, content):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return self.file.write(content)

    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Interrupted(file)))
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint({"step": 2, "weights": torch.zeros(1000)}, path)
    monkeypatch.undo()
    assert read_checkpoint(path)["step"] == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]
