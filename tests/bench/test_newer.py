"""Another transformers before the installed one: which are taken, and why the others are not."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

HEAD = "Metadata-Version: 2.1\nName: transformers\nVersion: 99.1\n"
MET = "".join(
    f"Requires-Dist: {line}\n"
    for line in ("attrs>=20", "nobody-has-this; extra == 'all'", "neither-this; python_version < '3'")
)


def files(metadata: str = HEAD + MET) -> dict[str, str]:
    """A package that knows its version, and its metadata."""
    return {
        "transformers/__init__.py": 'WHERE = "here"\n',
        "transformers-99.1.dist-info/METADATA": metadata,
    }


def wheel(folder: Path, held: dict[str, str]) -> Path:
    """A wheel of some files."""
    path = folder / "transformers-99.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in held.items():
            archive.writestr(name, text)
    return path


def unpacked(folder: Path, held: dict[str, str]) -> Path:
    """A folder of some files, as where pip installs."""
    for name, text in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def newer(part: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, in a process that has not imported transformers, and whose path is put back."""
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return part("newer")


def imported(folder: Path) -> str:
    """What a process with that folder first finds: where its transformers is from, and its version."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import transformers; from importlib.metadata import version;"
        "print(transformers.WHERE, version('transformers'))"
    )
    return subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("make", [wheel, unpacked], ids=["wheel", "folder"])
def test_a_wheel_or_a_folder_is_put_first(
    newer: ModuleType, tmp_path: Path, make: Callable[[Path, dict[str, str]], Path]
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "into").mkdir()
    source = make(tmp_path / "source", files())
    assert newer.use_transformers(source, tmp_path / "into") == "99.1"
    assert sys.path[0] == str(tmp_path / "into")
    assert imported(tmp_path / "into") == "here 99.1\n"


def test_the_package_itself_may_be_named(newer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    source = unpacked(tmp_path / "source", files()) / "transformers"
    assert newer.use_transformers(source, tmp_path / "into") == "99.1"


def test_nothing_else_of_a_folder_is_taken(newer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    source = unpacked(tmp_path / "source", {**files(), "torch/__init__.py": "", "torch-1.0.dist-info/METADATA": ""})
    newer.use_transformers(source, tmp_path / "into")
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == [
        "transformers",
        "transformers-99.1.dist-info",
    ]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (HEAD + "Requires-Dist: attrs<1\n", r"transformers 99.1 needs attrs<1 \([\d.]+ is installed\)$"),
        (
            HEAD + "Requires-Dist: no-such-package>=2\nRequires-Dist: attrs<1\n",
            r"needs no-such-package>=2 \(none is installed\); attrs<1",
        ),
        (HEAD + "Requires-Python: <3\n", r"needs Python <3 \(3\.\d+\.\d+ runs\)$"),
    ],
)
def test_what_it_needs_has_to_be_there(newer: ModuleType, tmp_path: Path, metadata: str, reason: str) -> None:
    (tmp_path / "into").mkdir()
    before = [*sys.path]
    with pytest.raises(newer.Unusable, match=reason):
        newer.use_transformers(wheel(tmp_path, files(metadata)), tmp_path / "into")
    assert sys.path == before


def test_what_is_no_transformers_is_told(newer: ModuleType, tmp_path: Path) -> None:
    text = unpacked(tmp_path / "text", {"file.whl": "no wheel"}) / "file.whl"
    reasons = {
        text: "file.whl is no wheel",
        tmp_path / "nothing": "nothing cannot be read: No such file",
        tmp_path / "text": "text lacks transformers",
        wheel(tmp_path, {"transformers/__init__.py": ""}): "lacks transformers or its .dist-info",
    }
    for number, (source, reason) in enumerate(reasons.items()):
        into = tmp_path / f"into-{number}"
        into.mkdir()
        with pytest.raises(newer.Unusable, match=reason):
            newer.use_transformers(source, into)


def test_too_late_is_told(newer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    with pytest.raises(newer.Unusable, match="imported already"):
        newer.use_transformers(wheel(tmp_path, files()), tmp_path)
