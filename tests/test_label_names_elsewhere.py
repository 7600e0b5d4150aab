"""Names of labels in headers: MITK until 2022, label tables in NIfTI, 3D Slicer's terminology; other ways are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import read_label_file
from nnactive_ext.images.label_tables import extensions_of

NAMES = {"background": 0, "liver": 1, "liver tumour": 2, "kidney_left": 3, "ignore": 4}
SPACE = Space((6, 7, 8), (0.7, 0.8, 2.5), (-12.5, 40.0, 3.25), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
LABELS = np.random.default_rng(0).integers(0, 5, SPACE.shape).astype(np.uint8)
SHUFFLED = {"liver": 4, "liver tumour": 3, "kidney_left": 1, "ignore": 2}
STORED = np.array([0, 4, 3, 1, 2], np.uint8)[LABELS]


def write(file: Path, array: np.ndarray, header: Mapping[str, str]) -> Path:
    """``array``: (z, y, x) or (layer, z, y, x), whose layers are numbers of one voxel."""
    image = SPACE.image(array) if array.ndim == 3 else sitk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True)
    if array.ndim == 4:
        image.CopyInformation(SPACE.image(array[0]))
    for key, value in header.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(file), True)
    return file


def nifti(file: Path, array: np.ndarray, *extensions: tuple[int, bytes], kind: type = nibabel.Nifti1Image) -> Path:
    affine = np.diag([-1, -1, 1, 1]) @ SPACE.affine
    image = kind(array.transpose(), affine)
    for code, content in extensions:
        image.header.extensions.append(Nifti1Extension(code, content))
    nibabel.save(image, str(file))
    return file


def refused(file: Path, names: Mapping[str, int] = NAMES) -> str:
    with pytest.raises(NnActiveError) as caught:
        read_label_file(file, names)
    assert str(caught.value).startswith(f"{file}: ")
    assert str(caught.value).endswith(".")
    return str(caught.value)


def read(file: Path) -> np.ndarray:
    found = read_label_file(file, NAMES)
    assert found.by_name
    return found.labels


# MITK until 2022.


def mitk_label(name: str, value: int, number: str = "unsigned") -> str:
    """As its tinyxml2 writes it: on lines, with other properties."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Label>\n'
        '    <property key="center.index" type="Point3dProperty">\n        <point x="0" y="1" z="2"/>\n    </property>\n'
        '    <property key="color" type="ColorProperty">\n        <color r="1" g="0" b="0.5"/>\n    </property>\n'
        f'    <property key="name" type="StringProperty">\n        <string value="{name}"/>\n    </property>\n'
        f'    <property key="value" type="UShortProperty">\n        <{number} value="{value}"/>\n    </property>\n</Label>\n'
    )


def mitk(layers: list[dict[str, int]], **more: str) -> dict[str, str]:
    header = {"modality": "org.mitk.image.multilabel", "layers": str(len(layers))}
    for layer, labels in enumerate(layers):
        header[f"layer_{layer:03d}"] = str(len(labels))
        for number, (name, value) in enumerate(labels.items()):
            header[f"org.mitk.label_{layer:03d}_{number:05d}"] = mitk_label(name, value, **more)
    return header


@pytest.mark.parametrize("number", ["unsigned", "ushort", "int"])
def test_mitk_of_old(tmp_path, number):
    header = mitk(
        [{"Exterior": 0, "Liver": 4, "liver tumour": 3, "Kidney Left": 1, "ignore": 2, "never used": 9}], number=number
    )
    np.testing.assert_array_equal(read(write(tmp_path / "a.nrrd", STORED.astype(np.uint16), header)), LABELS)


def test_mitk_of_old_in_layers(tmp_path):
    layers = np.stack([(LABELS == 1) * 7, np.array([0, 0, 2, 1, 3])[LABELS]]).astype(np.uint16)
    header = mitk([{"Exterior": 0, "liver": 7}, {"Exterior": 0, "kidney_left": 1, "liver tumour": 2, "ignore": 3}])
    np.testing.assert_array_equal(read(write(tmp_path / "a.nrrd", layers, header)), LABELS)


def test_mitk_of_old_that_cannot_be_read(tmp_path):
    header = mitk([{"liver": 1}])
    one = (LABELS == 1).astype(np.uint16)
    assert "'spleen'" in refused(write(tmp_path / "a.nrrd", one, mitk([{"spleen": 1}])))
    for number, text in enumerate(
        ["<Label", "<Label><property key='name'><string value='liver'/></property></Label>", "liver=1"]
    ):
        broken = {**header, "org.mitk.label_000_00000": text}
        assert "list of labels" in refused(write(tmp_path / f"b{number}.nrrd", one, broken))
    without = {"modality": "org.mitk.image.multilabel", "layers": "1"}
    assert "list of labels" in refused(write(tmp_path / "c.nrrd", one, without))


def stack(file: Path, *groups: dict) -> None:
    """MITK's file beside others that names their labels."""
    content = {"version": 3, "type": "org.mitk.multilabel.segmentation.stack", "groups": list(groups)}
    file.write_text(json.dumps(content))


def test_mitks_names_beside_a_nifti_file(tmp_path):
    file = nifti(tmp_path / "a_Group_0.nii.gz", STORED)
    labels = [{"name": name, "value": value, "color": [1, 0, 0]} for name, value in SHUFFLED.items()]
    stack(tmp_path / "b.mitklabel.json", {"_file": "./b_Group_0.nii.gz", "labels": []})
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, STORED)  # nothing speaks of it
    stack(tmp_path / "a.mitklabel.json", {"name": "g", "_file": "./a_Group_0.nii.gz", "labels": labels})
    np.testing.assert_array_equal(read(file), LABELS)
    alone = nifti(tmp_path / "a_Label_1.nii.gz", (LABELS == 1).astype(np.uint8))
    single = [{**label, "_file": f"./a_Label_{label['value']}.nii.gz", "_file_value": 1} for label in labels]
    stack(tmp_path / "a.mitklabel.json", {"labels": single})
    assert "a.mitklabel.json" in refused(alone)
    (tmp_path / "a.mitklabel.json").write_text("{")
    assert "a.mitklabel.json" in refused(file)


# Tables in NIfTI.


def table(labels: Mapping[str, int], cdata: bool = True) -> bytes:
    """As TotalSegmentator writes it, or Connectome Workbench (without CDATA)."""
    rows = "".join(
        f'<Label Key="{key}" Red="0.5" Green="0" Blue="1" Alpha="1">{f"<![CDATA[{name}]]>" if cdata else name}</Label>\n'
        for name, key in labels.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>   '
        f'<VolumeInformation Index="0">   <LabelTable>\n{rows}\n  </LabelTable>  '
        "<StudyMetaDataLinkSet>  </StudyMetaDataLinkSet>  "
        "<VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>\n              "
    ).encode()


@pytest.mark.parametrize("code", [0, 30])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_table_counts_and_the_values_do_not(tmp_path, code, ending):
    content = table({"???": 0, **SHUFFLED, "spleen": 40}, cdata=code == 0)
    comment = (6, b"liver first")
    file = nifti(tmp_path / f"a{ending}", STORED, comment, (code, content))
    np.testing.assert_array_equal(read(file), LABELS)
    same = nifti(tmp_path / f"b{ending}", LABELS, (code, table({n.upper(): v for n, v in NAMES.items()})))
    np.testing.assert_array_equal(read(same), LABELS)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img"])
@pytest.mark.parametrize("sign", ["<", ">"])
def test_extensions_as_nibabel_reads_them(tmp_path, kind, ending, sign):
    header = kind.header_class(endianness=sign)
    if ending == ".img":
        kind = {nibabel.Nifti1Image: nibabel.Nifti1Pair, nibabel.Nifti2Image: nibabel.Nifti2Pair}[kind]
    image = kind(LABELS, SPACE.affine, header)
    for code, content in ((6, "größer".encode()), (0, table(SHUFFLED)), (14, b"\xff\xfe")):
        image.header.extensions.append(Nifti1Extension(code, content))
    file = tmp_path / f"a{ending}"
    nibabel.save(image, str(file))
    theirs = nibabel.load(file).header.extensions
    expected = [(e.get_code(), e.content.strip(b"\0").decode("latin-1" if e.get_code() == 14 else "utf-8")) for e in theirs]
    assert extensions_of(file) == expected
    assert len(expected) == 3


def test_tables_that_do_not_fit(tmp_path):
    one = (LABELS == 1).astype(np.uint8)
    assert "'L1'" in refused(nifti(tmp_path / "a.nii.gz", one, (0, table({"L1": 1}))))
    assert "no segment has" in refused(nifti(tmp_path / "b.nii.gz", LABELS, (0, table({"liver": 1}))))
    assert "twice" in refused(nifti(tmp_path / "c.nii.gz", one, (0, table({"liver": 1, "kidney_left": 1}))))
    assert "different" in refused(nifti(tmp_path / "d.nii.gz", one, (0, table({"liver": 1})), (30, table({"ignore": 1}))))
    for number, broken in enumerate([table({"liver": 1})[:-60], table({"liver": 1}).replace(b'Key="1"', b'Key="x"')]):
        assert "cannot be read" in refused(nifti(tmp_path / f"e{number}.nii.gz", one, (0, broken)))


# 3D Slicer's terminology.

TISSUE = "TerminologyEntry:Segmentation category and type~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes~^^~^^|"


def tag(kind: str, modifier: str = "", region: str = "") -> str:
    side = f"SCT^7771000^{modifier}" if modifier else "^^"
    where = f"SCT^0^{region}" if region else "^^"
    return (
        "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        f"~SCT^123037004^Anatomical Structure~SCT^1^{kind}~{side}~Anatomic codes - DICOM master list~{where}~^^|"
    )


def slicer(*segments: tuple[str, int, str, str]) -> dict[str, str]:
    """Of (name, value, tags, NameAutoGenerated)."""
    header = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
    }
    for number, (name, value, tags, made_up) in enumerate(segments):
        start = f"Segment{number}_"
        header |= {f"{start}ID": f"Segment_{number}", f"{start}Name": name, f"{start}LabelValue": str(value)}
        header |= {f"{start}Layer": "0", f"{start}Tags": tags, f"{start}NameAutoGenerated": made_up}
    return header


def test_the_class_in_the_terminology(tmp_path):
    header = slicer(
        ("Segment_1", 4, tag("Liver"), "1"),
        ("Segment_2", 3, tag("Tumour", region="Liver"), "1"),
        ("Kidney_1", 1, tag("Kidney", "Left"), "1"),
        ("ignore", 2, TISSUE, "0"),
    )
    np.testing.assert_array_equal(read(write(tmp_path / "a.seg.nrrd", STORED, header)), LABELS)


def test_segments_that_are_one_class_are_told(tmp_path):
    stored = np.where(LABELS == 1, 1 + np.indices(SPACE.shape)[0] % 2, 0).astype(np.uint8)
    header = slicer(("Segment_1", 1, tag("liver"), "1"), ("Liver", 2, TISSUE, "0"))
    found = read_label_file(write(tmp_path / "a.seg.nrrd", stored, header), NAMES)
    np.testing.assert_array_equal(found.labels, LABELS == 1)
    (told,) = found.told
    assert "'Liver', 'Segment_1'" in told


@pytest.mark.parametrize(
    "segment",
    [
        ("Segment_1", 1, TISSUE, "1"),
        ("Segment_1", 1, tag("Kidney", "Right"), "1"),
        ("Segment_1", 1, tag("Kidney"), "1"),
        ("what Anna saw", 1, tag("Liver"), "0"),
        ("liver", 1, tag("Kidney", "Left"), "1"),
        ("Segment_1", 1, "TerminologyEntry:", "1"),
    ],
)
def test_segments_whose_class_is_not_known(tmp_path, segment):
    names = {"background": 0, "liver": 1, "tissue": 2, "kidney": 3, "kidney_left": 4, "ignore": 5}
    if segment[2] == tag("Kidney"):
        names = {"background": 0, "kidney_left": 1, "kidney_right": 2, "ignore": 3}
    assert repr(segment[0]) in refused(write(tmp_path / "a.seg.nrrd", (LABELS == 1).astype(np.uint8), slicer(segment)), names)


def test_a_name_that_somebody_gave_counts_before_the_terminology(tmp_path):
    header = slicer(("liver", 1, tag("Kidney", "Left"), "0"))
    one = (LABELS == 1).astype(np.uint8)
    np.testing.assert_array_equal(read(write(tmp_path / "a.seg.nrrd", one, header)), one)


# Ways that are not known here.


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LabelNames", "tumour, liver"),
        ("label_1", "Lebertumor"),
        ("Labels", "1:liver 2:kidney"),
        ("liver", "2"),
        ("1", "liver tumour"),
        ("meta", json.dumps({"2": "liver", "1": "kidney_left"})),
        ("annotations", json.dumps([{"name": "Kidney Left", "id": 1}])),
        ("ontology", "<labels><label id='1' name='spleen'/></labels>"),
        ("note", "1=liver tumour; 2=liver"),
        ("segment_info", "liver and others"),
    ],
)
def test_other_headers_that_name_labels_are_refused(tmp_path, key, value, ending):
    assert key in refused(write(tmp_path / f"a{ending}", LABELS, {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("note", "the liver looked odd"),
        ("SegmentationAuthor", "Anna"),
        ("Modality", "CT"),
        ("DICOM.0008.0060", "SEG"),
        ("acquisition", json.dumps({"kVp": 120, "software": "x", "label": "scan 1"})),
        ("labels", "4"),
        ("protocol", "<scan><kernel>B30f</kernel></scan>"),
    ],
)
def test_headers_that_name_no_labels_stay_taken(tmp_path, key, value):
    np.testing.assert_array_equal(read_label_file(write(tmp_path / "a.nrrd", LABELS, {key: value}), NAMES).labels, LABELS)


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (4, b'<AFNI_attributes><AFNI_atr atr_name="VALUE_LABEL_DTABLE">"1" "spleen"</AFNI_atr></AFNI_attributes>'),
        (6, b'{"labels": {"1": "spleen", "2": "liver"}}'),
        (6, b"2 liver\n1 kidney left\n"),
        (14, b"\x00\x01liver\x00\x02kidney_left\x00"),
        (32, b"<CIFTI><Label Key='1'>spleen</Label></CIFTI>"),
        (42, b'{"roi_regions": {"1": "Region 1"}}'),
        (0, b"Leber=1, liver=2"),
    ],
)
def test_other_extensions_that_name_labels_are_refused(tmp_path, code, content):
    assert f"code {code}" in refused(nifti(tmp_path / "a.nii.gz", LABELS, (code, content)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([0, 4, 6, 14, 30, 42]), st.data())
def test_damaged_tables_are_refused_or_hold_what_nibabel_reads(tmp_path, code, data):
    whole = data.draw(st.sampled_from([table(SHUFFLED), b'{"labels": {"1": "liver"}}', b"[" * 3000, b"<" * 3000, b"1=liver"]))
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        found = read_label_file(nifti(tmp_path / "a.nii", STORED, (code, bytes(content))), NAMES)
    except NnActiveError:
        return
    np.testing.assert_array_equal(found.labels, LABELS if found.by_name else STORED)


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (2, b"\x08\x00\x60\x00CS\x02\x00CT liver=2"),
        (4, b'<AFNI_attributes><AFNI_atr atr_name="HISTORY_NOTE">"3dcalc -a liver.nii"</AFNI_atr></AFNI_attributes>'),
        (6, b"the liver looked odd"),
        (6, b'{"EchoTime": 0.03, "SeriesDescription": "label"}'),
        (8, b"<XCEDE><acquisition><label>run 1</label></acquisition></XCEDE>"),
        (
            30,
            b"<CaretExtension><Date>2013-07-14</Date><VolumeInformation><LabelTable></LabelTable></VolumeInformation></CaretExtension>",
        ),
        (44, b'{"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}'),
    ],
)
def test_extensions_that_name_no_labels_stay_taken(tmp_path, code, content):
    found = read_label_file(nifti(tmp_path / "a.nii.gz", LABELS, (code, content)), NAMES)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert not found.by_name


# 3D Slicer's colour tables beside label maps that it exported, as 5.11 writes them.


def colour_table(file: Path, values: Mapping[str, int], at: str) -> Path:
    made = file.with_name(f"{file.name.split('.')[0].removesuffix('-label')}{at}")
    if made.suffix == ".csv":
        rows = [f'{value},"{name}",39,190,55,255,"SCT","85756007","Tissue"' for name, value in values.items()]
        rows.insert(0, '"LabelValue","Name","Color_R","Color_G","Color_B","Color_A","Type_CodingScheme","b","c"')
    else:
        rows = [f"{value} {name.replace(' ', '_')} 39 190 55 255" for name, value in values.items()]
        rows = [f"# Color table file {made}", f"# {len(rows)} values", *rows]
    made.write_text("\n".join(rows) + "\n\n", encoding="utf-8")
    return made


@pytest.mark.parametrize("at", [".labels.csv", "_ColorTable.csv", "_ColorTable.ctbl", "_ColorTable.txt"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a-label.nrrd"])
def test_slicers_tables_name_the_values(tmp_path, at, name):
    if at == ".labels.csv" and name == "a-label.nrrd":
        pytest.skip("Slicer exports both by one name")
    file = write(tmp_path / name, STORED, {})
    colour_table(file, SHUFFLED, at)
    np.testing.assert_array_equal(read(file), LABELS)


def test_slicers_table_of_another_label_map_names_nothing(tmp_path):
    file = write(tmp_path / "a.nrrd", LABELS, {})
    colour_table(tmp_path / "b.nrrd", SHUFFLED, ".labels.csv")
    found = read_label_file(file, NAMES)
    assert not found.by_name
    np.testing.assert_array_equal(found.labels, LABELS)


def test_slicers_tables_that_do_not_fit_are_refused(tmp_path):
    file = write(tmp_path / "a.nrrd", STORED, {})
    made = colour_table(file, {"spleen" if name == "liver" else name: value for name, value in SHUFFLED.items()}, ".labels.csv")
    assert "spleen" in refused(file)
    colour_table(file, {**SHUFFLED, "background": 4}, ".labels.csv")
    assert "a.labels.csv" in refused(file)
    made.write_text("1;liver\n")
    assert "a.labels.csv" in refused(file)
    colour_table(file, SHUFFLED, ".labels.csv")
    colour_table(file, {"liver": 4}, "_ColorTable.ctbl")
    assert "a_ColorTable.ctbl" in refused(file)
    colour_table(file, {"liver": 4, "kidney_left": 1, "ignore": 2, "query_box": 3}, ".labels.csv")
    (tmp_path / "a_ColorTable.ctbl").unlink()
    assert "query_box" in refused(file)
