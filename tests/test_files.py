"""Files are whole or absent, and broken JSON is an error that names its file."""

import errno
import json
import os
import stat
from typing import TypedDict

import numpy as np
import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import copy_file, read_arrays, read_json, read_made_for, replacing, write_json, write_text

Made = TypedDict("Made", {"for": str, "found": int})


@pytest.fixture
def old(tmp_path):
    file = tmp_path / "file.json"
    file.write_text("old")
    return file


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(old):
    def write_half():
        with replacing(old) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert os.listdir(old.parent) == ["file.json"]
    assert old.read_text() == "old"


def test_what_cannot_be_json_leaves_the_old_file(old):
    with pytest.raises(TypeError):
        write_json(old, {"a": object()})
    assert os.listdir(old.parent) == ["file.json"]
    assert old.read_text() == "old"


def test_a_failing_replace_leaves_the_old_file(old, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_text(old, "new")
    assert os.listdir(old.parent) == ["file.json"]
    assert old.read_text() == "old"


def test_an_error_of_the_device_names_the_file(old):
    """A write that finds the device full raises an error without a name."""

    def write():
        with replacing(old):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert caught.value.filename == str(old)


def test_a_failing_copy_leaves_the_old_file(old):
    with pytest.raises(FileNotFoundError):
        copy_file(old.parent / "absent", old)
    assert os.listdir(old.parent) == ["file.json"]
    assert old.read_text() == "old"


def test_the_new_file_is_not_seen_before_it_is_whole(old):
    with replacing(old) as temporary:
        temporary.write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert os.listdir(old.parent) == ["file.json"]


def test_the_temporary_name_has_the_whole_ending(tmp_path):
    with replacing(tmp_path / "case.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_text("x")


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_json_round_trip_of_numpy_values(tmp_path):
    content = {"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(3), "d": {2, 1}, "e": (1, 2), "ü": True}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == {"a": 3, "b": 0.5, "c": [0, 1, 2], "d": [1, 2], "e": [1, 2], "ü": True}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1,}', "not json"])
def test_broken_json_names_the_file(old, text):
    old.write_text(text)
    with pytest.raises(NnActiveError) as caught:
        read_json(old)
    assert str(old) in str(caught.value)


def test_bytes_that_are_no_text_name_the_file(old):
    old.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(NnActiveError) as caught:
        read_json(old)
    assert str(old) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NnActiveError) as caught:
        read_json(tmp_path / "absent.json")
    assert str(tmp_path / "absent.json") in str(caught.value)


def test_a_duplicate_key_is_an_error_at_any_depth(old):
    old.write_text('{"labels": {"background": 0, "liver": 1, "liver": 2}}')
    assert json.loads(old.read_text())["labels"] == {"background": 0, "liver": 2}  # what Python alone makes of it
    with pytest.raises(NnActiveError) as caught:
        read_json(old)
    assert str(old) in str(caught.value)
    assert "liver" in str(caught.value)


def test_texts_of_an_array_that_are_no_characters(tmp_path):
    texts = np.array(["a", "b"])
    texts.view(np.uint32)[1] = 0x80000000
    np.savez(tmp_path / "a.npz", texts=texts)
    with pytest.raises(NnActiveError, match="texts"):
        read_arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", texts=np.array(["ä", "\U0001f9e0"]).astype(">U2"), none=np.array([], "U3"))
    assert read_arrays(tmp_path / "b.npz")["texts"].tolist() == ["ä", "\U0001f9e0"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.ENOSYS, errno.EPERM])
@pytest.mark.skipif(os.name == "nt", reason="it opens no folders")
def test_a_file_system_that_cannot_sync_folders_is_written_to(old, monkeypatch, number):
    sync = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(old, {"new": 1})
    assert read_json(old) == {"new": 1}


def test_what_was_made_for_another_key_is_none_whatever_it_holds(tmp_path):
    file = tmp_path / "kept.json"
    assert read_made_for(file, "now", Made, "Delete it.") is None
    for content in ({}, {"for": "then"}, {"for": "then", "found": "of another version"}, {"for": 3}):
        write_json(file, content)
        assert read_made_for(file, "now", Made, "Delete it.") is None
    write_json(file, {"for": "now", "found": 3})
    assert read_made_for(file, "now", Made, "Delete it.")["found"] == 3
    write_json(file, {"for": "now", "found": "x"})
    with pytest.raises(NnActiveError, match="Delete it"):
        read_made_for(file, "now", Made, "Delete it.")
