"""`write_folder`: a folder appears whole, or what was there stays, whoever else writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.folder import write_folder


def text(content: str) -> Callable[[Path], None]:
    """Fills a folder with one file."""

    def fill(folder: Path) -> None:
        (folder / "a.txt").write_text(content, encoding="utf-8")

    return fill


def content(folder: Path) -> str:
    """What that file holds; nothing else is in the folder or beside it."""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    return (folder / "a.txt").read_text(encoding="utf-8")


def stop_renaming(monkeypatch: pytest.MonkeyPatch, instead: Callable[[], None]) -> None:
    """In place of the second rename (the new folder to its name) something else happens, and it fails."""
    before, number = Path.rename, iter(range(100))

    def rename(self: Path, target: Path) -> Path:
        if next(number) != 1:
            return before(self, target)
        instead()
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(Path, "rename", rename)


def test_the_old_folder_is_back_where_the_new_one_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "result"
    write_folder(place, text("old"))
    stop_renaming(monkeypatch, lambda: None)
    with pytest.raises(ModelMeterError, match=r"cannot write .*result: Directory not empty"):
        write_folder(place, text("new"), replace=True)
    assert content(place) == "old"


def test_of_two_at_once_one_is_there_whole_and_the_other_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program's folder takes the name between the two renames of the exchange."""
    place = tmp_path / "result"
    write_folder(place, text("old"))
    stop_renaming(monkeypatch, lambda: write_folder(place, text("other")))
    with pytest.raises(ModelMeterError, match=r"cannot write .*result"):
        write_folder(place, text("new"), replace=True)
    assert content(place) == "other"
