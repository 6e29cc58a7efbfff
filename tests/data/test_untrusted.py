"""What files of strangers may not do: claim more than there is, name classes beyond measure, be no files."""

import gzip
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2sg.data import create_data, untrusted
from a2sg.data.encoded import pixels
from a2sg.data.frames import event_frames
from a2sg.data.idx import read_idx
from a2sg.data.labels import number_in, require_labels, require_names
from a2sg.data.picture import PIXELS, decoded_image
from a2sg.data.scenes import SceneFiles
from a2sg.data.untrusted import gunzip, numbers, read_file, read_text, size
from a2sg.errors import InputError
from labelled_images import write_tree
from layouts import pictures, write_arrays, write_gesture
from mutations import bounded_memory

SMALL = 64 << 20
"""Bytes that all of these may ask for."""


def told(call, message, memory=SMALL):
    """The call raises one line of ours in bounded memory."""
    with bounded_memory(memory), pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert not isinstance(error.value.__cause__, MemoryError)


def npy(header, content=b""):
    """A `.npy` file whose header is this text."""
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def header(kind="<f4", shape="(4, 2)"):
    return f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(header(shape="(1000000, 1000000)"), bytes(32)), "is truncated: 32 bytes of 3,725 GB"),
        (npy(header(shape="(4, 3)"), bytes(32)), "is truncated"),
        (npy(header(shape=f"({2**62}, {2**62})"), bytes(32)), "is truncated"),
        (npy(header(shape="(-4, -2)"), bytes(32)), "its header says"),
        (npy(header(shape="'x'"), bytes(32)), "is not an .npy array"),
        (npy(header("|O", "(1,)"), b"cos\nsystem\n(S'x'\ntR."), "holds Python objects"),
        (npy(header("<U100000000"), bytes(32)), "must hold numbers"),
        (npy(header([("x", "<f4")], "(2,)"), bytes(32)), "must hold numbers"),
        (npy("(" * 9000), "is not an .npy array"),
        (npy("{" * 100), "is not an .npy array"),
        (npy("__import__('os')"), "is not an .npy array"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00" + bytes(16), "is not an .npy array"),
        (b"", "is not an .npy array"),
    ],
)
def test_a_header_is_not_believed(content, message):
    told(lambda: numbers(content, "x.npy"), message)


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("kind", ["?", "i1", ">u2", "f2", "f8"])
def test_whole_arrays_are_read(shape, kind):
    array = np.asfortranarray(np.random.default_rng(0).integers(0, 2, shape).astype(kind))
    file = io.BytesIO()
    np.save(file, array)
    read = numbers(file.getvalue(), "x.npy")
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype


def test_packed_files_do_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "ROOM", 8 << 20)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(100 << 20), 9))
    told(lambda: gunzip(path), r"x.gz unpacks to more than .* MB, .* unpack it yourself")
    path.write_bytes(gzip.compress(b"few"))
    assert gunzip(path) == b"few"


@pytest.mark.parametrize(
    "content",
    [
        bytes([0, 0, 8, 3]) + b"\xff" * 12,
        bytes([0, 0, 8, 255]) + b"\xff" * 1020,
        bytes([0, 0, 8, 3]),
        bytes([0, 0, 8, 100]) + b"\0\0\0\1" * 100 + b"x",
    ],
)
def test_an_idx_header_is_not_believed(tmp_path, content):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(content))
    told(lambda: read_idx(path), "x.gz (is not a complete IDX file|has 100 dimensions)")


def test_what_is_no_file_is_not_read(tmp_path):
    pipe = tmp_path / "x.png"
    os.mkfifo(pipe)
    told(lambda: read_file(pipe), "x.png is not a file")
    told(lambda: decoded_image(pipe, "x"), "x.png is not a file")
    told(lambda: read_file(Path("/dev/zero")), "/dev/zero is not a file")
    told(lambda: read_file(tmp_path), "is not a file")
    told(lambda: read_file(tmp_path / "nothing"), "cannot be read .FileNotFoundError: No such file")
    told(lambda: read_file(Path("x\0y")), "cannot be read")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    told(lambda: read_file(large), "has 1,024 GB: the limit for such files is 4 GB")


def test_sizes_are_told_in_words():
    assert [size(count) for count in (0, 1023, 1536, 3 << 20, 5 << 30)] == [
        "0 bytes", "1023 bytes", "1.5 kB", "3 MB", "5 GB",
    ]  # fmt: skip


# Images.


def png(width, height):
    """A PNG whose header claims so many pixels."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "sides", [(60_000, 60_000), (10_001, 10_000), (1, PIXELS + 1), (2**31 - 1, 2**31 - 1)]
)
def test_pixels_that_a_header_claims_are_not_allocated(sides):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told(
            lambda: decoded_image(png(*sides), "x.png"), "image x.png (has more than 100,000,000|is damaged)"
        )


def test_an_image_of_another_kind_is_not_opened(tmp_path, monkeypatch):
    """Pillow reads EPS by Ghostscript, a program, whatever the file is called."""
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("started a program"))
    told(lambda: decoded_image(path, "x.png"), "is none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP")


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "I;16"), ("PNG", "1"), ("TIFF", "F"), ("TIFF", "I"), ("GIF", "P")]
)
def test_unusual_modes_give_pixels_or_are_told(kind, mode):
    file = io.BytesIO()
    Image.new(mode, (5, 4)).save(file, kind)
    for channels in (1, 3):
        assert pixels(decoded_image(file.getvalue(), "x"), channels, 3).shape == (channels, 3, 3)


def test_the_first_of_moving_images_is_taken():
    file = io.BytesIO()
    first = Image.new("L", (5, 4), 7)
    first.save(file, "GIF", save_all=True, append_images=[Image.new("L", (5, 4), 9)])
    assert (pixels(decoded_image(file.getvalue(), "x"), 1) == 7).all()


@pytest.mark.parametrize(("mode", "kind"), [("1", "PNG"), ("I;16", "PNG"), ("P", "PNG"), ("I", "TIFF")])
def test_masks_of_unusual_modes_are_classes(tmp_path, mode, kind):
    pictures(4, 5, [0])[0].save(tmp_path / "image.png")
    Image.new(mode, (5, 4), 1).save(tmp_path / "mask.x", kind)
    scenes = SceneFiles([(tmp_path / "image.png", tmp_path / "mask.x")], (4, 5), {0: 3, 1: 4})
    assert (scenes[0][1] == 4).all()


def test_a_large_mask_takes_little_memory():
    image, mask = Image.new("RGB", (5000, 5000)), Image.new("L", (5000, 5000), 7)
    scenes = SceneFiles([(image, mask)], (4, 4), {0: 3, 7: 4})
    with bounded_memory(160 << 20):
        assert (scenes[0][1] == 4).all()
    mask.putpixel((4999, 4999), 9)
    told(lambda: scenes[0], "the mask 0 has the value 9, which is not a class", 160 << 20)


def test_masks_of_fractions_are_told(tmp_path):
    pictures(4, 5, [0])[0].save(tmp_path / "image.png")
    Image.new("F", (5, 4), 0.5).save(tmp_path / "mask.tiff")
    scenes = SceneFiles([(tmp_path / "image.png", tmp_path / "mask.tiff")], (4, 5), {0: 3, 1: 4})
    told(lambda: scenes[0], "must have whole numbers as pixels, not float32")


# Labels and names.


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("0", 0),
        ("012", 12),
        ("٣", 3),
        ("²", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("9" * 5000, None),
    ],
)
def test_a_word_of_digits_is_a_number(word, number):
    assert number_in(word) == number


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 2**40], None, "has the label 1099511627776: labels are numbered from 0, below 100000"),
        ([0, 99_999], None, "has the label 99999 but no 1: labels are numbered from 0 without a gap"),
        ([-1, 0], None, "has the label -1"),
        ([0, 1, 3], None, "has the label 3 but no 2"),
        ([0, 10], 10, "must have labels from 0 to 9, not 0 to 10"),
        ([-(2**63), 0], 10, "must have labels from 0 to 9"),
        ([], None, "has a split without labels"),
    ],
)
def test_labels_that_are_no_classes_are_told(labels, classes, message):
    told(lambda: require_labels([np.array(labels, np.int64)], "x", classes), message)


def test_labels_give_the_number_of_classes():
    assert require_labels([np.array([0, 2]), np.array([1, 1])], "x") == 3
    assert require_labels([np.array([2])], "x", 7) == 7


@pytest.mark.parametrize("name", ["", "a" * 256, "\x1b[31m", "a\nb", "\0", "\udc80"])
def test_names_that_are_no_text_are_told(name):
    told(lambda: require_names(["fine", name], "x"), "x has a class")


def test_names_are_those_that_were_given():
    assert require_names(["ant", "größe", "<script>", 3], "x") == ("ant", "größe", "<script>", "3")


def test_a_folder_with_a_name_of_control_characters_is_no_class(tmp_path):
    tree = write_tree(tmp_path / "tree", classes=("ant", "b\x1b[2J"))
    told(lambda: create_data("image_folder", source=str(tree)), "has a class 'b.x1b", 1 << 30)


@pytest.mark.parametrize("label", ["99999999999", "1099511627776", "9" * 200, "7"])
def test_a_label_in_a_name_makes_no_table(tmp_path, label):
    write_arrays(tmp_path)
    (tmp_path / "test" / "sample_0_label_0.npy").rename(tmp_path / "test" / f"label_{label}.npy")
    told(lambda: create_data("event_arrays", source=str(tmp_path), axes="ypt"), "label", 1 << 30)


# Events.


@pytest.mark.parametrize("times", [(0, 2**62), (-(2**63), 2**63 - 1), (0, 2**60)])
def test_times_far_apart_make_no_frames(times):
    events = np.zeros(2, dtype=[(name, np.int64) for name in "xytp"])
    events["t"] = times
    told(lambda: event_frames(events, 16, (4, 4, 2)), "events must be of one recording")


def test_frames_beyond_measure_are_told():
    events = np.zeros(2, dtype=[(name, np.int64) for name in "xytp"])
    told(lambda: event_frames(events, 100_000, (128, 128, 2)), "use fewer steps or pixels")


@pytest.mark.parametrize("name", ["99999999999", "11", "0x", "0²"])
def test_gestures_are_named_after_their_class(tmp_path, name):
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    write_gesture(tmp_path)
    path = tmp_path / "DVSGesture" / "ibmGestureTest" / "user02_led" / "0.npy"
    path.rename(path.with_stem(name))
    told(
        lambda: create_data("dvs_gesture", source=str(tmp_path)),
        "is not named after one of the classes",
        1 << 30,
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (np.full((3, 4), np.nan), "not whole numbers"),
        (np.full((3, 4), 1e30), "not whole numbers"),
        (np.zeros((3, 5)), "has the shape .3, 5., not that of events"),
        (np.zeros(12), "has the shape .12,., not that of events"),
    ],
)
def test_gestures_that_are_no_events_are_told(tmp_path, columns, message):
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    write_gesture(tmp_path)
    np.save(tmp_path / "DVSGesture" / "ibmGestureTest" / "user02_led" / "0.npy", columns)
    told(lambda: create_data("dvs_gesture", source=str(tmp_path)), f"0.npy.*{message}", 1 << 30)


def test_a_recording_of_n_mnist_that_would_take_days_is_told(tmp_path):
    """tonic's reader takes as many additions as the square of the events with y = 240."""
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    for split in ("Train", "Test"):
        folder = tmp_path / "NMNIST" / split / "0"
        folder.mkdir(parents=True)
        (folder / "1.bin").write_bytes(bytes([0, 240, 0, 0, 0]) * 2_000_000)
    told(
        lambda: create_data("nmnist", source=str(tmp_path)),
        "1.bin has 9.537 MB: the limit for such files is 1 MB",
        1 << 30,
    )


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_text_is_utf8(tmp_path, mark):
    (tmp_path / "x.txt").write_bytes(mark + "β 中".encode())
    assert read_text(tmp_path / "x.txt") == "β 中"


@pytest.mark.parametrize(
    ("encoding", "at"), [("cp1252", "0xe9 at 1"), ("gbk", "0xa8 at 1"), ("utf-16", "0xf.* at 0")]
)
def test_text_in_another_encoding_is_told(tmp_path, encoding, at):
    (tmp_path / "x.txt").write_bytes("r\u00e9 1".encode(encoding))
    told(lambda: read_text(tmp_path / "x.txt"), f"not UTF-8 text .byte {at}.: save it as UTF-8")
