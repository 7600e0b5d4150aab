"""Names that look like several images of one patient are seen, with a pattern for them; names that only count are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.intake.groups import GroupPattern
from nnactive_ext.intake.repeats import repeated


def product(pattern: str, *values) -> list[str]:
    """All names that ``pattern`` has with ``values`` for its stars."""
    names = [pattern]
    for value in values:
        names = [name.replace("*", str(one), 1) for name in names for one in value]
    return names


def numbers(first: int, last: int, digits: int = 0) -> list[str]:
    return [f"{n:0{digits}d}" for n in range(first, last + 1)]


# Scheme -> its names, one pair that is of one patient, one that is not, and the pattern (None: only a table can say it).
REPEATED = {
    "plain": (product("p*_t*", range(4), range(3)), ("p1_t0", "p1_t2"), ("p1_t0", "p2_t0"), "{patient}_{scan}"),
    "BIDS": (
        product("sub-*_ses-*", numbers(1, 6, 2), (1, 2)),
        ("sub-01_ses-1", "sub-01_ses-2"),
        ("sub-01_ses-1", "sub-02_ses-1"),
        "sub-{patient}_{scan}",
    ),
    "LIDC, by side": (
        product("LIDC_*_*", numbers(1, 9, 4), "LR"),
        ("LIDC_0003_L", "LIDC_0003_R"),
        ("LIDC_0003_L", "LIDC_0004_L"),
        "LIDC_{patient}_{scan}",
    ),
    "follow-up": (
        product("case*_*", range(9, 15), ("baseline", "followup")),
        ("case12_baseline", "case12_followup"),
        ("case12_baseline", "case13_baseline"),
        "{patient}_{scan}",
    ),
    "follow-up of some, baseline without a word": (
        [*product("case*", range(9, 25)), "case12_followup", "case14_followup"],
        ("case12", "case12_followup"),
        ("case12", "case14"),
        None,
    ),
    "dates": (
        ["P001-2019-03-01", "P001-2020-11-30", "P002-2018-07-17", "P003-2019-03-01", "P003-2021-01-09"],
        ("P001-2019-03-01", "P001-2020-11-30"),
        ("P001-2019-03-01", "P003-2019-03-01"),
        "{patient}-{scan}",
    ),
    "ACDC": (
        [f"patient{i:03d}_frame{frame:02d}" for i in range(1, 21) for frame in (1, 7 + i % 9)],
        ("patient003_frame01", "patient003_frame10"),
        ("patient003_frame01", "patient004_frame01"),
        "{patient}_{scan}",
    ),
    "ISBI 2015 MS lesions": (
        product("training*_*", numbers(1, 5, 2), numbers(1, 4, 2)),
        ("training02_01", "training02_04"),
        ("training02_01", "training03_01"),
        "{patient}_{scan}",
    ),
    "M&Ms": (
        product("*_*", ("A0S9V9", "A1D0Q7", "B2L0L2", "C4E9I1"), ("ED", "ES")),
        ("A0S9V9_ED", "A0S9V9_ES"),
        ("A0S9V9_ED", "A1D0Q7_ED"),
        "{patient}_{scan}",
    ),
    "autoPET": (
        ["psma_95b833d65be26d9f_2018-04-23", "psma_95b833d65be26d9f_2018-08-23"]
        + [f"psma_{i:04x}cafe{i:04x}_201{i}-0{i}-1{i}" for i in range(1, 9)],
        ("psma_95b833d65be26d9f_2018-04-23", "psma_95b833d65be26d9f_2018-08-23"),
        ("psma_0001cafe0001_2011-01-11", "psma_0002cafe0002_2012-02-12"),
        "psma_{patient}_{scan}",
    ),
    "BraTS 2023, most patients once": (
        [*product("BraTS-GLI-*-000", numbers(0, 30, 5)), "BraTS-GLI-00005-001", "BraTS-GLI-00009-001"],
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001"),
        ("BraTS-GLI-00005-000", "BraTS-GLI-00006-000"),
        "BraTS-GLI-{patient}-{scan}",
    ),
    "OASIS-1, most patients once": (
        [*product("OAS1_*_MR1", numbers(1, 60, 4)), "OAS1_0023_MR2", "OAS1_0039_MR2"],
        ("OAS1_0023_MR1", "OAS1_0023_MR2"),
        ("OAS1_0023_MR1", "OAS1_0024_MR1"),
        "OAS1_{patient}_{scan}",
    ),
    "UPENN-GBM, most patients once": (
        [*product("UPENN-GBM-*_11", numbers(1, 60, 5)), "UPENN-GBM-00018_21", "UPENN-GBM-00038_21"],
        ("UPENN-GBM-00018_11", "UPENN-GBM-00018_21"),
        ("UPENN-GBM-00018_11", "UPENN-GBM-00019_11"),
        "UPENN-GBM-{patient}_{scan}",
    ),
    "PI-CAI, numbers of studies": (
        [*(f"{10000 + i}_{1000000 + i}" for i in range(40)), "10005_1000041", "10017_1000042"],
        ("10005_1000005", "10005_1000041"),
        ("10005_1000005", "10006_1000006"),
        "{patient}_{scan}",
    ),
    "ADNI": (
        ["002_S_0295_2006-04-18", "002_S_0295_2006-11-02", "002_S_0413_2006-05-02", "005_S_0221_2007-01-12"],
        ("002_S_0295_2006-04-18", "002_S_0295_2006-11-02"),
        ("002_S_0295_2006-04-18", "002_S_0413_2006-05-02"),
        "{part0}_S_{patient}_{scan}",
    ),
    "LUMIERE": (
        product("Patient-*_week-*", numbers(1, 6, 3), ("000-1", "013", "044")),
        ("Patient-003_week-000-1", "Patient-003_week-044"),
        ("Patient-003_week-013", "Patient-004_week-013"),
        "Patient-{patient}_{scan}",
    ),
    "SPIDER, by sequence": (
        product("*_*", range(1, 9), ("t1", "t2", "t2_SPACE")),
        ("3_t1", "3_t2_SPACE"),
        ("3_t1", "4_t1"),
        "{patient}_{scan}",
    ),
    "CHASE, sides without a separator": (
        product("Image_**", numbers(1, 14, 2), "LR"),
        ("Image_03L", "Image_03R"),
        ("Image_03L", "Image_04L"),
        None,
    ),
    "no separator": (product("P*T*", range(1, 5), (1, 2)), ("P2T1", "P2T2"), ("P2T1", "P3T1"), "{patient}T{scan}"),
    "slices of volumes": (
        product("vol*_slice*", range(5), numbers(1, 30, 3)),
        ("vol3_slice004", "vol3_slice030"),
        ("vol3_slice004", "vol4_slice004"),
        "{patient}_{scan}",
    ),
    "date first": (
        ["2019-03-01_P001", "2019-05-01_P001", "2019-03-02_P002", "2019-05-01_P003", "2019-07-01_P004"],
        ("2019-03-01_P001", "2019-05-01_P001"),
        ("2019-05-01_P001", "2019-05-01_P003"),
        "{scan}_{patient}",
    ),
}

ONCE = {
    "img": product("img_*", numbers(1, 30, 3)),
    "Decathlon hippocampus": product("hippocampus_*", numbers(1, 60, 3)),
    "Decathlon BRATS": product("BRATS_*", numbers(1, 60, 3)),
    "channels left in the names": product("case_*_0000", numbers(1, 30, 4)),
    "KiTS": product("case_*", numbers(0, 40, 5)),
    "LiTS": product("volume-*", range(40)),
    "TotalSegmentator": product("s*", numbers(0, 40, 4)),
    "FLARE": product("FLARE22_Tr_*", numbers(1, 50, 4)),
    "MM-WHS, two modalities of other patients": product("*_train_*", ("ct", "mr"), range(1001, 1021)),
    "TCGA": "TCGA-06-0125 TCGA-06-0126 TCGA-CS-4941 TCGA-CS-4942 TCGA-DU-5849 TCGA-DU-5851 TCGA-HT-7684".split(),
    "BraTS 2018": (
        "Brats18_TCIA01_131_1 Brats18_TCIA01_147_1 Brats18_CBICA_AAB_1 Brats18_CBICA_AAG_1 Brats18_2013_2_1 Brats18_2013_3_1"
    ).split(),
    "HECKTOR, patients of centres": product("*-*", ("CHUM", "CHUS", "CHGJ", "CHUP", "MDA"), numbers(1, 30, 3)),
    "IXI": "IXI002-Guys-0828 IXI012-HH-1211 IXI013-HH-1212 IXI014-HH-1236 IXI015-HH-1258 IXI016-Guys-0697".split(),
    "WMH": "Utrecht_0 Utrecht_2 Singapore_50 Singapore_51 GE3T_100 GE3T_101".split(),
    "Mindboggle": [
        f"{cohort}-{i}"
        for cohort, n in (("OASIS-TRT-20", 20), ("NKI-TRT-20", 20), ("MMRR-21", 21), ("NKI-RS-22", 22), ("HLN-12", 12))
        for i in range(1, n + 1)
    ],
    "VerSe": "sub-verse004 sub-verse005 sub-verse006 sub-gl003_dir-ax sub-gl016_dir-ax".split(),
    "ATLAS, one session": product("sub-r001s*_ses-1", numbers(1, 20, 3)),
    "LIDC-IDRI": product("LIDC-IDRI-*", numbers(1, 30, 4)),
    "numbers alone": numbers(1, 40),
    "sites": product("site*_*", "ABC", numbers(1, 3)),
    "sites that count alike": product("*_site*", numbers(1, 9, 3), "ABC"),
    "parts": product("*_*", ("train", "val", "test"), (1, 2)),
    "scans of days": product("*_*", ("20190301", "20190302", "20190303"), ("01", "02")),
    "UIDs": [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{10**20 + 977 * i}" for i in range(9)],
    "crossMoDA": product("crossmoda2021_*_*", ("ldn", "etz"), range(1, 30)),
    "Sunnybrook": "SC-HF-I-01 SC-HF-I-02 SC-HF-NI-03 SC-HF-NI-04 SC-HYP-01 SC-HYP-03 SC-N-02 SC-N-03".split(),
    "EMIDEC": [f"Case_{'NP'[i % 2]}{i:03d}" for i in range(30)],
    "the phantom": product("phantom_*", numbers(0, 23, 3)),
}


@pytest.mark.parametrize("scheme", REPEATED)
def test_repeated_patients_are_seen_with_the_pattern_to_use(scheme):
    names, one_patient, two_patients, pattern = REPEATED[scheme]
    assert {*one_patient, *two_patients} <= set(names)
    seen = repeated(names)
    assert seen is not None
    assert seen.groups[one_patient[0]] == seen.groups[one_patient[1]]
    assert seen.groups[two_patients[0]] != seen.groups[two_patients[1]]
    assert seen.pattern == (pattern or "")
    if pattern:
        assert GroupPattern(seen.pattern).groups(names) == seen.groups


@pytest.mark.parametrize("scheme", ONCE)
def test_names_that_only_look_alike_are_not(scheme):
    assert repeated(ONCE[scheme]) is None


def test_enough_schemes():
    assert min(len(REPEATED), len(ONCE)) >= 15


@given(st.sets(st.text("abAB019_-.", min_size=1, max_size=8), max_size=12))
def test_any_names_will_do(names):
    seen = repeated(names)
    assert seen is None or (set(seen.groups) == names and seen.several)


@given(
    st.dictionaries(st.integers(0, 999), st.sets(st.integers(0, 5), min_size=1), min_size=3, max_size=9),
    st.sampled_from(["p{}_t{}", "sub-{}_ses-{}", "X_{:04d}_v{}", "case{}-{}"]),
)
def test_a_pattern_groups_as_the_names_were_made(visits, template):
    names = {template.format(patient, visit): patient for patient, times in visits.items() for visit in times}
    seen = repeated(names)
    if seen is None or not seen.pattern:
        return
    for one in names:
        for other in names:
            assert (seen.groups[one] == seen.groups[other]) == (names[one] == names[other])
