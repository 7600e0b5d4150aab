"""Names that others wrote become paths: what stays in its folder on every system, and on Windows."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import copy_file, read_json, sha256
from nnactive_ext.paths import Name, NameIfAny, check_no_link, inside, is_own_file, is_special, name_problem
from nnactive_ext.schemas import typed

GOOD = [
    "liver_1",
    "liver 1",
    "Müller 1",
    "患者",
    "a.b",
    "...",
    ".hidden",
    "a" * 255,
    "CON",
    "nul.nii",
    "x.",
    "ab:c",
    "a\u202eb",
    "~",
]
BAD = [
    *("", ".", "..", "../a", "a/../b", "/a", "a/", "a//b", "\\a", "..\\a", "C:", "C:\\a", "c:a", "a\0", "a\nb", "\x7f"),
    *("a" * 256, "ä" * 128, ".nnactive_tmp_x", None, 3, ["a"], {"a": 1}, b"a"),
]
WINDOWS = ["CON", "con", "nul.nii.gz", "COM1", "lpt9.txt", "COM¹", "CONIN$", "a.", "a ", "a:b", "a<b", "a?", 'a"b', "a|b", "a*"]


@pytest.mark.parametrize("name", GOOD)
def test_names_that_stay_in_their_folder(name, tmp_path):
    assert name_problem(name, windows=False) == ""
    if os.name != "nt":
        assert inside(tmp_path, name, "the case", "plan.json").parent == tmp_path


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_names_that_do_not(name, tmp_path):
    with pytest.raises(NnActiveError, match=r"plan\.json: the case "):
        inside(tmp_path, name, "the case", "plan.json")


@pytest.mark.parametrize("name", WINDOWS)
def test_names_that_windows_takes_for_something_else(name):
    assert name_problem(name, windows=True)
    assert not name_problem("console", windows=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes on Windows")
@pytest.mark.parametrize("read", [read_json, sha256, lambda file: copy_file(file, file.with_name("copy"))])
def test_pipes_and_devices_are_not_opened(tmp_path, read):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for file in (pipe, link, Path("/dev/zero")):
        assert is_special(file)
        assert not is_own_file(file)
        errors: list[BaseException] = []
        thread = threading.Thread(target=_caught, args=(read, file, errors), daemon=True)
        thread.start()
        thread.join(10)
        assert [type(error) for error in errors] == [NnActiveError]


def _caught(read, file, errors):
    try:
        read(file)
    except BaseException as error:
        errors.append(error)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("link", "broken"):
        with pytest.raises(NnActiveError, match=f"{name}: is a link"):
            check_no_link(tmp_path / name)
    assert check_no_link(tmp_path / "absent") == tmp_path / "absent"
    assert is_own_file(tmp_path / "file")
    assert not is_own_file(tmp_path / "link")


def test_names_are_declared_types():
    """As values, as keys, and where there may be none."""
    assert typed(dict[Name, tuple[NameIfAny, ...]], {"liver_1": ["", "a"]}) == {"liver_1": ("", "a")}
    for kind, wrong in ((Name, ""), (NameIfAny, "a/b"), (dict[Name, int], {"../x": 1}), (list[Name], ["C:x"]), (Name, 3)):
        with pytest.raises(ValueError, match=r"cannot name a file|not a text"):
            typed(kind, wrong)
