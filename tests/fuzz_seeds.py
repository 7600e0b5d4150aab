"""Damages that once were a traceback, a hang or a change, by name: what is done to the good file of a target."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

from fuzzing import DEEP

Damage = Callable[[bytes], bytes]


def replaced(old: bytes, new: bytes) -> Damage:
    def damage(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return damage


def at(*way: Any, value: Any = None, without: bool = False) -> Damage:
    """JSON with another value at a place, or without it."""

    def damage(content: bytes) -> bytes:
        made = json.loads(content)
        inner = made
        for step in way[:-1]:
            inner = inner[step]
        if without:
            del inner[way[-1]]
        else:
            inner[way[-1]] = value
        return json.dumps(made).encode()

    return damage


def always(content: bytes) -> Damage:
    return lambda _: content


def in_header(offset: int, new: bytes) -> Damage:
    """Bytes of a packed or plain NIfTI header."""

    def damage(content: bytes) -> bytes:
        packed = content[:2] == b"\x1f\x8b"
        raw = bytearray(gzip.decompress(content) if packed else content)
        raw[offset : offset + len(new)] = new
        return gzip.compress(bytes(raw), 1) if packed else bytes(raw)

    return damage


def flipped(offset: int) -> Damage:
    """One byte of the packing, which gzip's checksum does not see before the stream ends."""

    def damage(content: bytes) -> bytes:
        data = bytearray(content)
        data[offset] ^= 0xFF
        return bytes(data)

    return damage


def member_that_is_no_array(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"no array" if name.startswith("text.") else old.read(name))
    return made.getvalue()


SEEDS: dict[str, tuple[str, Damage]] = {
    "a key of MetaImage that is not UTF-8": ("label map .mha", replaced(b"NDims", b"Gr\xf6\xdfe = 3\nNDims")),
    "a key beside .mhd that is not UTF-8": ("label map .mhd", replaced(b"NDims", b"Gr\xf6\xdfe = 3\nNDims")),
    "a key of NRRD that is not UTF-8": ("label map .nrrd", replaced(b"\n\n", b"\nGr\xf6\xdfe:=3\n\n")),
    "a key of a segmentation that is not UTF-8": ("label map .seg.nrrd", replaced(b"\n\n", b"\nGr\xf6\xdfe:=3\n\n")),
    "a data type that NIfTI does not know": ("case .nii", in_header(70, b"\x39\x30")),
    "voxels that begin in the header": ("case .nii", in_header(108, b"\0\0\0\x41")),
    "a damaged stream in a case": ("case .nii.gz", flipped(40)),
    "a damaged stream in a label map": ("label map .nii.gz", flipped(40)),
    "an array that is none": ("embeddings.npz", member_that_is_no_array),
    "a position of 400 digits": ("points tiny_1.mrk.json", at("markups", 0, "controlPoints", 0, "position", 0, value=10**400)),
    "control points that are a number": ("points tiny_1.mrk.json", at("markups", 0, "controlPoints", value=3)),
    "a coordinate system that is a list": ("points tiny_1.mrk.json", at("markups", 0, "coordinateSystem", value=[1])),
    "a task without a spacing": ("task.json", at("space", "spacing_xyz", without=True)),
    "a task of infinite size": ("task.json", at("box", "size_zyx", 0, value=float("inf"))),
    "a stack of 200,000 lists": ("MITK's stack", always(DEEP)),
    "a description of 200,000 lists": ("dataset.json beside images", always(DEEP)),
    "a benchmark of 100,000 lists": ("benchmark .toml", always(b"name = " + b"[" * 100_000)),
    "changes of classes of 100,000 lists": ("classes .toml", always(b"changes = " + b"[" * 100_000)),
    "a plan with a patch of two sides": ("plan", at("patch_size_mm", value=[5.0, 5.0])),
    "a plan with a shape of one number": ("plan", at("pool", "tiny_1", "shape", value=[4])),
    "a plan without a pool": ("plan", at("pool", value={})),
    "a plan whose changes are numbers": ("plan", at("changes", value=[1])),
    "a loop file of 3,000 lists": ("loop file", always(b"[" * 3000 + b"]" * 3000)),
    "a patch of a loop file that is infinite": ("loop file", at("patches", 0, "size", 0, value=float("inf"))),
    "a state that is null": ("state", always(b"null")),
    "a state without a cycle": ("state", at("cycle", without=True)),
    "a state with a list of counts": ("state", at("annotated", "tiny_1", value=[1])),
    "splits without folds": ("splits_final.json", always(b"[]")),
    "splits that are an object": ("splits_final.json", always(b"{}")),
    "a fold without training cases": ("cases of the splits", at(0, "train", without=True)),
    "a fold whose cases are lists": ("cases of the splits", at(0, "train", value=[[1]])),
    "plans that are a number": ("nnU-Net's plans", always(b"1")),
    "plans that inherit from themselves": (
        "nnU-Net's plans",
        at("configurations", "3d_fullres", "inherits_from", value="3d_fullres"),
    ),
    "a folder of plans that is a number": ("nnU-Net's plans", at("configurations", "3d_fullres", "data_identifier", value=1.5)),
    "a mark that is a text": ("mark of a member", always(b'"x"')),
    "candidates of two numbers": ("candidates", at("candidates", 0, 1, value=[0, 0])),
    "candidates that are missing": ("candidates", at("candidates", without=True)),
    "results without JSON": ("results of a cycle", always(b"\0" * 64)),
    "a record whose plan is null": ("record", at("plan", value=None)),
    "a dataset that is a number": ("dataset.json", always(b"1")),
    "cases of a dataset that are a list": ("dataset.json", at("dataset", value=[])),
    "pseudonyms of 200,000 lists": ("pseudonyms", always(DEEP)),
    "a note of a run with another key": ("note of a run", at("owner", "host", without=True)),
    "an owner of 200,000 lists": ("owner of a lock", always(DEEP)),
    "numbers that are texts": ("numbers of a benchmark", at("a", value="x")),
}
"""Name -> the target and what is done to its file."""
