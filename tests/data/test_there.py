"""What a folder holds, in words."""

from a2sg.data.there import holds


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
