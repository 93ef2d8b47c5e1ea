"""What a first start leaves when it is killed at any line: the next one goes on with it."""

import os
from pathlib import Path

import pytest

from infra import data_folder, files
from infra.data_folder import DataFolder


class Killed(BaseException):
    pass


def test_a_folder_whose_making_was_cut_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    for last in range(1, 20):
        root = tmp_path / f"data-{last}"

        def make(path: Path, last: int = last) -> Path:
            made.append(path)
            if len(made) > last:
                raise Killed
            return files.make_folder(path)

        made.clear()
        with monkeypatch.context() as patched:
            patched.setattr(data_folder, "make_folder", make)
            try:
                DataFolder(root).create()
            except Killed:
                cut_off = True
            else:
                cut_off = False
        DataFolder(root).create()
        if not cut_off:
            assert last > 4
            return
    pytest.fail("it makes ever more folders")


def test_a_new_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.key"

    def killed(descriptor: int) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(Killed):
            files.write_new(path, b"secret")
    assert not path.exists()

    files.write_new(path, b"secret")
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    with pytest.raises(FileExistsError):
        files.write_new(path, b"another")
    assert path.read_bytes() == b"secret"
    assert [one.name for one in tmp_path.iterdir()] == ["log.key"]
