"""HDF5 files as a stranger may have made them: what they hold arrives, and all else is told."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from a2sg.data import hdf5_child
from a2sg.data.apart import Apart
from a2sg.data.hdf5 import RowReader, copied
from a2sg.errors import InputError

h5py = pytest.importorskip("h5py", reason="needs a2sg[events]")

RAGGED = h5py.vlen_dtype(np.float16)
TEXT = h5py.string_dtype()
READER = "import h5py\ndef read(file):\n    with h5py.File(file) as found:\n        found['wanted'][()]\n"


@pytest.fixture(scope="module")
def reader():
    with RowReader() as found:
        yield found


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Copies a file, with a reader that needs a dataset `wanted`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "some_reader.py").write_text(READER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return lambda path: copied(path, "some_reader", "read")


@pytest.fixture
def made(tmp_path):
    """A file, filled by a function."""

    def write(fill):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            fill(file)
        return path

    return write


def test_rows_arrive_as_they_were(made, reader):
    rows = [np.array(row, np.float16) for row in ([1.5, 2], [], [np.inf])]

    def fill(file):
        ragged = file.create_dataset("a/ragged", (3,), RAGGED)
        for at, row in enumerate(rows):
            ragged[at] = row
        file.create_dataset("packed", data=np.arange(9, dtype=">u2"), chunks=(2,), compression="gzip")
        file["flags"] = np.array([True, False])
        file["words"] = ["one", "", "Wörter"]
        file["fixed"] = np.array([b"ab", b"c"])
        file.create_dataset("none", (0,), RAGGED)

    path = made(fill)
    names = ("a/ragged", "packed", "flags", "words", "fixed", "none")
    ragged, packed, flags, words, fixed, none = reader.read(path, names)
    assert ragged.values.dtype == np.float16
    assert [row.tolist() for row in ragged.each()] == [row.tolist() for row in rows]
    assert packed.values.tolist() == list(range(9))
    assert flags.values.tolist() == [True, False]
    assert [word.tobytes().decode() for word in words.each()] == ["one", "", "Wörter"]
    assert [word.tobytes() for word in fixed.each()] == [b"ab", b"c"]
    assert (none.each(), none.values.dtype) == ([], np.float16)
    (some,) = reader.read(path, ("a/ragged",), 1, 3)
    assert some.lengths.tolist() == [0, 1]


def test_a_copy_holds_what_the_file_holds(made, copy):
    def fill(file):
        file["wanted"] = "text"
        file["group/number"] = np.float32(3)
        file["group/deep/words"] = [["a", "b"]]
        file.create_dataset("group/flags", data=np.eye(3, dtype=bool), compression="lzf", shuffle=True)

    with h5py.File(copy(made(fill))) as file:
        assert file["wanted"][()] == b"text"
        assert file["group/number"][()] == np.float32(3)
        assert file["group/deep/words"][()].tolist() == [[b"a", b"b"]]
        assert np.array_equal(file["group/flags"][()], np.eye(3, dtype=bool))
        assert file["group/flags"].dtype == bool


def elsewhere(file):
    """Another file, which must not even be opened: it would wait for ever."""
    path = Path(file.filename).with_name("other.h5")
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
    return str(path)


def virtual(file):
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(elsewhere(file), "x", shape=(4,))
    file.create_virtual_dataset("wanted", layout)


def unknown_filter(file):
    """Filter 32,004, LZ4, is a plugin; it may be missing when a dataset is made, if it is optional."""
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(32004, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"wanted", h5py.h5t.NATIVE_FLOAT, space, made)


def claimed(shape, dtype, **options):
    return lambda file: file.create_dataset("wanted", shape, dtype, **options)


HOSTILE = {
    "external link": (
        lambda file: file.update({"wanted": h5py.ExternalLink(elsewhere(file), "x")}),
        "'wanted' in '/' is a link to another place",
    ),
    "soft link": (lambda file: file.update({"wanted": h5py.SoftLink("/a")}), "is a link to another place"),
    "external storage": (
        lambda file: file.create_dataset("wanted", (4,), np.uint8, external=[(elsewhere(file), 0, 4)]),
        "'/wanted' takes its values from other files",
    ),
    "virtual": (virtual, "'/wanted' takes its values from other files"),
    "unknown filter": (unknown_filter, r"'/wanted' has the filters \[32004\]: allowed are gzip, "),
    "scale-offset": (claimed((4,), np.int32, chunks=(4,), scaleoffset=3), r"has the filters \[6\]"),
    "reference": (claimed((1,), h5py.ref_dtype), "has the type object: it must hold numbers or text"),
    "region": (claimed((1,), h5py.regionref_dtype), "it must hold numbers or text"),
    "compound": (claimed((1,), [("a", np.int8)]), "it must hold numbers or text"),
    "opaque": (claimed((1,), np.void(b"ab").dtype), "it must hold numbers or text"),
    "complex": (claimed((1,), np.complex64), "it must hold numbers or text"),
    "type": (lambda file: file.update({"wanted": np.dtype(np.int8)}), "is a Datatype, not a dataset"),
    "nothing": (lambda file: file.update({"wanted": h5py.Empty(np.int8)}), "'/wanted' is empty"),
    "size": (
        claimed((1 << 60,), np.int8, chunks=(1 << 20,), fillvalue=1),
        r"has the shape \(1152921504606846976,\), 1,152,921,504,606,846,976 bytes: at most 268,435,456",
    ),
    "size of text": (claimed((1 << 40,), TEXT, chunks=(1 << 20,)), "at most 268,435,456 are read"),
    "size of a chunk": (
        claimed((4,), np.uint8, chunks=(1 << 30,), maxshape=(None,), compression="gzip"),
        r"has the shape \(1073741824,\)",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_file_may_not_hold_is_told(made, reader, copy, kind):
    fill, message = HOSTILE[kind]
    path = made(fill)
    for read in (lambda: reader.read(path, ("wanted",)), lambda: copy(path)):
        with pytest.raises(InputError, match=message) as told:
            read()
        assert str(told.value).startswith(f"{path} cannot be read: ")
        assert str(told.value).isprintable()


def test_a_chunk_that_unpacks_to_gigabytes_is_told(made):
    """A chunk of 16 bytes that unpacks to 2 GB."""
    pack = zlib.compressobj()
    content = pack.compress(bytes(1 << 24)) + pack.flush(zlib.Z_FULL_FLUSH)
    again = pack.compress(bytes(1 << 24)) + pack.flush(zlib.Z_FULL_FLUSH)

    def fill(file):
        data = file.create_dataset("wanted", (4,), np.float32, chunks=(4,), compression="gzip")
        data.id.write_direct_chunk((0,), content + again * 127)

    with RowReader() as small:
        small.apart = Apart(hdf5_child.__file__, "rows", memory=1 << 30)
        with pytest.raises(InputError, match=r"its reader fails .OSError|asks for more than"):
            small.read(made(fill), ("wanted",))


def test_a_changed_byte_that_keeps_the_library_busy_is_told(made):
    """A heap that claims one kilobyte more: HDF5 2.0.0 looks for its next part in zeros for ever."""

    def fill(file):
        ragged = file.create_dataset("ragged", (2,), RAGGED)
        ragged[0] = ragged[1] = np.ones(3, np.float16)
        file["zeros"] = np.zeros(4096, np.uint8)

    path = made(fill)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    assert content[heap + 8 : heap + 16] == (4096).to_bytes(8, "little")
    content[heap + 9] = 0x14
    path.write_bytes(content)
    with RowReader() as hasty:
        hasty.apart = Apart(hdf5_child.__file__, "rows", patience=2.0)
        with pytest.raises(InputError, match=r"takes longer than 2 s|its reader fails"):
            hasty.read(path, ("ragged",))


def test_rows_that_are_not_there_are_told(made, reader):
    path = made(lambda file: file.update({"a/b": np.arange(3), "table": np.ones((2, 2))}))
    for names, message in (
        (("a/c",), "there is no 'c' in '/a'"),
        (("a/b/c",), "there is no 'c' in '/a/b': that is a Dataset"),
        (("a",), "'/a' is a Group, not a dataset"),
        (("table",), r"'table' has the shape \(2, 2\), not \(N,\)"),
    ):
        with pytest.raises(InputError, match=message):
            reader.read(path, names)
    with pytest.raises(InputError, match=r"'a/b' has the shape \(3,\), which is less than 4 rows"):
        reader.read(path, ("a/b",), 2, 4)


def test_groups_that_hold_themselves_are_told(made, copy):
    for name in ("self", "above/self"):

        def fill(file, name=name):
            file["wanted"] = 1
            file.create_group("above/below")
            file[name] = file["/"]

        with pytest.raises(InputError, match="is linked twice"):
            copy(made(fill))


def test_groups_without_end_are_told(made, copy):
    with pytest.raises(InputError, match="lies deeper than 16 groups"):
        copy(made(lambda file: file.create_group("/".join("a" * 40))))


def test_a_copy_has_bounds_of_its_own(made, copy):
    def many(file):
        for at in range(20_001):
            file.create_group(str(at))

    def large(file):
        for at in range(3):
            file.create_dataset(str(at), (100 << 20,), np.uint8, chunks=(1 << 20,), fillvalue=1)

    with pytest.raises(InputError, match="more than 20,000 groups and datasets"):
        copy(made(many))
    with pytest.raises(InputError, match=r"at most 58,720,256 are read"):
        copy(made(large))


def test_text_that_rows_share_is_counted(made, copy):
    """One text of 1 MB, to which each of 300 rows is made to point."""

    def fill(file):
        words = file.create_dataset("wanted", (300,), TEXT)
        words[0] = "x" * (1 << 20)
        fill.place = words.id.get_offset()

    path = made(fill)
    content = bytearray(path.read_bytes())
    row = content[fill.place : fill.place + 16]
    assert struct.unpack("<I", row[:4]) == (1 << 20,)
    content[fill.place : fill.place + 300 * 16] = row * 300
    path.write_bytes(content)
    with pytest.raises(InputError, match="it holds more than 268,435,456 bytes"):
        copy(path)


def test_what_the_reader_of_a_copy_refuses_is_told(made, copy):
    with pytest.raises(InputError, match=r"cannot be read: its reader fails .KeyError"):
        copy(made(lambda file: None))


def test_other_files_are_told(tmp_path, reader):
    path = tmp_path / "x.h5"
    for content, message in (
        (None, "No such file"),
        (b"", "its reader fails"),
        (b"no HDF5", "its reader fails"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            reader.read(path, ("labels",))
    with pytest.raises(InputError, match="is not a file"):
        reader.read(tmp_path, ("labels",))
