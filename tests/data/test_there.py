"""What a folder holds, in words."""

import pytest

from a2sg.data.there import found_folder, holds
from a2sg.errors import InputError


def test_folders_come_first_with_numbers(tmp_path):
    assert holds(tmp_path) == "it is empty"
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "list.txt").touch()
    (tmp_path / "README.md").touch()
    assert holds(tmp_path) == "it holds train/ (2 folders, 1 file), README.md"
    for number in range(9):
        (tmp_path / f"{number}.png").touch()
    assert holds(tmp_path).endswith("0.png, 1.png, 2.png, 3.png and 6 more")


def test_a_source_that_is_no_folder_says_what_it_is(tmp_path):
    assert found_folder(str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match=r"there is no folder .*nowhere: set data.options.source"):
        found_folder(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"must be a folder, but .*file is a file"):
        found_folder(str(tmp_path / "file"))
