"""Archives of strangers: bombs, names that lead elsewhere, members that are no files."""

import gzip
import io
import struct
import tarfile
import zipfile

import pytest

from a2sg.data import archives, untrusted
from a2sg.data.archives import tar_members, zip_members
from a2sg.errors import InputError
from mutations import bounded_memory

ROOM = 8 << 20
"""What an archive may unpack to here."""

ELSEWHERE = ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:\\evil", "./a"]


def every(name):
    return True


def told(call, message, memory=64 << 20):
    with bounded_memory(memory), pytest.raises(InputError, match=message) as error:
        list(call())
    assert "\n" not in str(error.value)


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zip_of(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


MEMBERS = [("a/1", b"one"), ("a/2", b""), ("b/3", bytes(100_000))]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_of_a_tar_are_what_was_put_in(tmp_path, mode, kind):
    path = tmp_path / "x.tar"
    long = "long/" * 19 + "name"
    with tarfile.open(path, mode, format=kind) as archive:
        for name, content in [*MEMBERS, (long, b"x")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert list(tar_members(path, every)) == [*MEMBERS, (long, b"x")]
    assert list(tar_members(path, lambda name: name == "a/1")) == MEMBERS[:1]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_a_zip_are_what_was_put_in(tmp_path, method):
    path = zip_of(tmp_path / "x.zip", MEMBERS, method)
    assert list(zip_members(path, every)) == MEMBERS
    assert list(zip_members(path, lambda name: name == "a/1")) == MEMBERS[:1]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_name_leads_to_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    members = [(name, b"evil")]
    for read, path in (
        (tar_members, tar_of(folder / "x.tar", members)),
        (zip_members, zip_of(folder / "x.zip", members)),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert [content for _, content in read(path, every)] == [b"evil"]
        assert sorted(tmp_path.rglob("*")) == before


def test_links_and_devices_of_a_tar_are_passed_over(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"member{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert list(tar_members(path, every)) == []


@pytest.fixture
def zeros(monkeypatch):
    """More of them than an archive may unpack to."""
    monkeypatch.setattr(untrusted, "ROOM", ROOM)
    return bytes(ROOM + 1)


@pytest.mark.parametrize("wanted", [every, lambda name: False], ids=["wanted", "not wanted"])
def test_a_tar_does_not_unpack_without_end(tmp_path, zeros, wanted):
    path = tar_of(tmp_path / "x.tar.gz", [("zeros", zeros)], "w:gz")
    assert path.stat().st_size < ROOM / 500
    told(lambda: tar_members(path, wanted), "x.tar.gz unpacks to more than 8 MB")


def test_a_zip_does_not_unpack_without_end(tmp_path, zeros):
    half = zeros[: len(zeros) // 2 + 1]
    path = zip_of(tmp_path / "x.zip", [("1", half), ("2", half)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < ROOM / 500
    told(lambda: zip_members(path, every), "x.zip unpacks to more than 8 MB")
    assert [name for name, _ in zip_members(path, lambda name: name == "2")] == ["2"]


def test_a_size_that_a_tar_claims_is_not_allocated(tmp_path):
    info = tarfile.TarInfo("a")
    info.size = 1 << 50
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    told(lambda: tar_members(path, every), "x.tar is damaged", 64 << 20)


@pytest.mark.parametrize("kind", ["path", "comment", "longname", "sparse"])
@pytest.mark.parametrize("first", [True, False])
def test_a_header_of_a_tar_is_short(tmp_path, kind, first):
    """tarfile reads a header whole, and makes a value of every three bytes."""
    info = tarfile.TarInfo("a")
    form = tarfile.GNU_FORMAT if kind == "longname" else tarfile.PAX_FORMAT
    if kind == "longname":
        info.name = "a" * (16 << 20)
    elif kind == "sparse":
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        info.size = 16 << 20
    else:
        info.pax_headers = {kind: "a" * (16 << 20)}
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz", format=form, compresslevel=1) as archive:
        if not first:
            archive.addfile(tarfile.TarInfo("b"))
        content = b"99999999\n" + b"1\n" * (8 << 20)
        archive.addfile(info, io.BytesIO(content) if kind == "sparse" else None)
    told(lambda: tar_members(path, every), "x.tar.gz has a header of more than 1 MB: unpack it", 32 << 20)


def test_headers_for_all_members_are_not_kept(tmp_path, monkeypatch):
    path, kept = tmp_path / "x.tar", []
    with path.open("wb") as file:
        for name in "abc":
            file.write(tarfile.TarInfo.create_pax_global_header({f"{name}.{at}": "" for at in range(9)}))
            file.write(tarfile.TarInfo(name).tobuf())
        file.write(bytes(1024))
    take = tarfile.TarFile.next

    def counted(archive):
        kept.append(len(archive.pax_headers))
        return take(archive)

    monkeypatch.setattr(tarfile.TarFile, "next", counted)
    assert [name for name, _ in tar_members(path, every)] == ["a", "b", "c"]
    assert max(kept) == 9


def test_bytes_that_a_tar_claims_are_not_skipped_for_days(tmp_path):
    info = tarfile.TarInfo("a")
    info.size = 1 << 60
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    told(lambda: tar_members(path, lambda name: False), "x.tar is truncated")


def test_holes_of_a_tar_are_not_filled(tmp_path):
    """A sparse member of a few bytes may stand for a terabyte of zeros."""
    head = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1"}
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", **head}
        archive.addfile(info)
    told(lambda: tar_members(path, every), "a is a sparse file, not an image", 64 << 20)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_members_are_counted(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "MEMBERS", 10)
    read = tar_members if make is tar_of else zip_members
    assert len(list(read(make(tmp_path / "ten", [(str(at), b"") for at in range(10)]), every))) == 10
    more = make(tmp_path / "more", [(str(at), b"") for at in range(11)])
    told(lambda: read(more, lambda name: False), "has more than 10 members")


def test_the_list_of_a_zip_has_a_limit(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "x.zip", [(str(at), b"") for at in range(100)])
    monkeypatch.setattr(archives, "DIRECTORY", 2000)
    told(lambda: zip_members(path, every), "has a list of members that is too long")


def test_encrypted_members_are_told(tmp_path):
    path = zip_of(tmp_path / "x.zip", [("a", b"secret")])
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + at] |= 1
    path.write_bytes(content)
    told(lambda: zip_members(path, every), "x.zip: a is encrypted: unpack it, and give the folder")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_told(tmp_path, method):
    path = zip_of(tmp_path / "x.zip", [("a", bytes(1000))], method)
    told(lambda: zip_members(path, every), "is not compressed with deflate")


def test_a_zip_that_says_less_than_it_holds_is_told(tmp_path):
    path = zip_of(tmp_path / "x.zip", [("a", bytes(100_000))], zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(content)
    told(lambda: zip_members(path, every), "nor a complete zip")


def test_a_changed_byte_of_a_packed_tar_is_told(tmp_path):
    path = tar_of(tmp_path / "x.tar.gz", [("a", b"some content")], "w:gz")
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(content, 0))
    packed[packed.index(b"some content")] ^= 1
    path.write_bytes(packed)
    told(lambda: tar_members(path, every), "is damaged .BadGzipFile: CRC check failed")
