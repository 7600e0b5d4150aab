"""What 3D Slicer opens follows its schema and leads back to the patch's voxels; test_slicer_*.py open it in Slicer itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from viewer_tasks import NAMES, TURNS, boxes_in_space, make_view, space_of

from nnactive_ext.exchange.viewers import slicer

SCHEMA = Path(__file__).parent.parent.parent / "shared" / "spec" / "slicer-markups-schema-v1.0.3.json"


def test_the_box_follows_slicers_schema(tmp_path):
    if not SCHEMA.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SCHEMA} is missing")
        pytest.skip("needs Slicer's schema, which is not ours to hand on")
    view = make_view(tmp_path, space_of(TURNS["oblique"]))
    slicer.write(view)
    content = json.loads((view.folder / slicer.BOX_FILE).read_text())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(content, schema)
    # The schema lets unknown keys pass: what we write should be known to it.
    (markup,) = content["markups"]
    known = schema["properties"]["markups"]["items"]["anyOf"][0]["properties"]
    assert set(markup) <= set(known)
    assert set(markup["display"]) <= set(known["display"]["properties"])
    assert set(markup["controlPoints"][0]) <= set(known["controlPoints"]["items"]["anyOf"][0]["properties"])
    del markup["size"][2]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@given(boxes_in_space())
def test_the_box_leads_back_to_its_voxels(given_box):
    """A voxel is in the box of the image exactly if its centre is in the box of the markup."""
    space, box = given_box
    markup = slicer.roi(space, box, "box")
    axes = np.reshape(markup["orientation"], (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) > 0
    index = np.stack(np.meshgrid(*map(np.arange, space.shape), indexing="ij"), -1).reshape(-1, 3)
    world = index[:, ::-1] @ space.affine[:3, :3].T + space.origin
    inside = np.abs((world - markup["center"]) @ axes) < np.asarray(markup["size"]) / 2
    expected = np.zeros(space.shape, bool)
    expected[box.slices] = True
    np.testing.assert_array_equal(inside.all(1).reshape(space.shape), expected)
    # And its faces are those of the voxels: half a voxel outside the outermost centres.
    np.testing.assert_allclose(markup["size"], np.multiply(box.size[::-1], space.spacing))
    assert markup["controlPoints"][0]["position"] == markup["center"]


def test_colour_table(tmp_path):
    slicer.write_colours(NAMES, tmp_path / "labels.ctbl")
    rows = [line.split(" ") for line in (tmp_path / "labels.ctbl").read_text(encoding="utf-8").splitlines()]
    assert rows[0][0] == "#"
    assert {row[1].replace("_", " "): int(row[0]) for row in rows if row[0] != "#"} == NAMES
    assert all(len(row) == 6 for row in rows if row[0] != "#")
