"""`write_text`: the file appears whole, or stays as it was, and nothing else is left behind."""

import contextlib
import os
import resource
import stat
import threading

import pytest

from modelmeter import ModelMeterError
from modelmeter.report.files import write_text

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_a_new_file(tmp_path):
    path = tmp_path / "out.json"
    write_text(path, "é\n中\n")
    assert path.read_bytes() == "é\n中\n".encode()
    assert os.listdir(tmp_path) == ["out.json"]


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "out.json", "x")
    assert (tmp_path / "a" / "b" / "out.json").read_text() == "x"


def test_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("out.json", "x")
    assert (tmp_path / "out.json").read_text() == "x"


def test_permissions_are_those_of_any_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "out.json", "x")
        assert os.umask(0o027) == 0o027  # as it was
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o640


def test_permissions_of_an_old_file_stay(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    path.chmod(0o604)
    write_text(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o604)


@contextlib.contextmanager
def full_disk(limit=4096):
    """No file may grow beyond `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failing_mid_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with full_disk(), pytest.raises(ModelMeterError, match=r"cannot write .*out\.json: File too large"):
        write_text(path, "x" * 2**20)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["out.json"])


def test_failing_mid_way_leaves_no_new_file(tmp_path):
    with full_disk(), pytest.raises(ModelMeterError):
        write_text(tmp_path / "out.json", "x" * 2**20)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_failing_at_the_end_leaves_the_old_file(tmp_path, monkeypatch, call, error):
    def fail(*_):
        raise error

    path = tmp_path / "out.json"
    path.write_text("old")
    monkeypatch.setattr(f"modelmeter.report.files.os.{call}", fail)
    with pytest.raises((ModelMeterError, KeyboardInterrupt)):
        write_text(path, "new")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["out.json"])


def test_a_directory_is_no_target(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelMeterError, match=r"cannot write .*folder: is a directory: choose another file"):
        write_text(tmp_path / "folder", "x")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ModelMeterError, match=r"cannot write .*file/out\.json"):
        write_text(tmp_path / "file" / "out.json", "x")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.skipif(IS_ROOT, reason="nothing is read-only for root")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ModelMeterError, match=r"cannot write .*out\.json: Permission denied"):
            write_text(tmp_path / "out.json", "x")
        assert os.listdir(tmp_path) == []
    finally:
        tmp_path.chmod(0o700)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "out.json").symlink_to("real.json")
    write_text(tmp_path / "out.json", "new")
    assert (tmp_path / "out.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_pipe_stays_a_pipe(tmp_path):
    # As a shell's >(program) is, or /dev/stdout: writing to it must not put a file in its place.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "x" * 100)
        received.append(os.read(reader, 1000))
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert received == [b"x" * 100]


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs /dev/fd")
def test_a_pipe_without_a_name_is_written_to():
    # What a shell gives for >(program): a link that no path can be resolved to.
    reader, writer = os.pipe()
    try:
        write_text(f"/dev/fd/{writer}", "x" * 100)
        os.close(writer)
        assert os.read(reader, 1000) == b"x" * 100
    finally:
        os.close(reader)


def test_the_longest_name_there_is(tmp_path):
    name = "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len(".json")) + ".json"
    write_text(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path):
    # What Python makes of a file name that is not UTF-8.
    write_text(tmp_path / "out.json", '{"source": "\udcff.png"}')
    assert (tmp_path / "out.json").read_bytes() == b'{"source": "\\udcff.png"}'


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "out.json"
    texts = [str(number) * 100_000 for number in range(8)]
    writers = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["out.json"]
