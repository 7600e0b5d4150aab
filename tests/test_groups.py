"""Which cases belong together: tables as people have them, patterns of names, and what of both is refused."""

from __future__ import annotations

import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.case_tables import case_of, listed_cases, typed_cases
from nnactive_ext.intake.groups import GroupPattern, members, read_groups

CASES = ["liver_1", "liver_2", "liver_10", "spleen_1"]
GROUPS = {"liver_1": "anna", "liver_10": "bert", "liver_2": "anna", "spleen_1": "anna"}
PLAIN = "liver_1,anna\nliver_2,anna\nliver_10,bert\nspleen_1,anna\n"
TABLES = {
    "no header": PLAIN.encode(),
    "header": f"case,group\n{PLAIN}".encode(),
    "byte order mark, semicolons, Windows": b"\xef\xbb\xbf"
    + f"Case;Patient\n{PLAIN}".replace(",", ";").replace("\n", "\r\n").encode(),
    "Excel's Unicode text": f"Case ID\tPatient ID\n{PLAIN}".replace(",", "\t").encode("utf-16"),
    "old Mac": f"case,subject\n{PLAIN}".replace("\n", "\r").encode(),
    "spaces": PLAIN.replace(",", "   ").encode(),
    "quotes, empty lines, the same line twice": f'"case","group"\n\n"liver_1","anna"\n,\n{PLAIN}'.encode(),
    "more columns, in another order": (
        b"age,patient_id,scanner,case\n70,anna,A,liver_1\n71,anna,B,liver_2\n50,bert,A,liver_10\n,anna,,spleen_1\n"
    ),
    "files": (
        b"file,patient\nimagesTr/liver_1_0000.nii.gz,anna\nliver_2.nii.gz,anna\nC:\\data\\liver_10_0000.nii.gz,bert\nspleen_1,anna\n"
    ),
    "a header of other words": f"Bild,Person\n{PLAIN}".encode(),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_as_people_have_them(tmp_path, kind):
    file = tmp_path / "who.csv"
    file.write_bytes(TABLES[kind])
    found = read_groups(str(file), CASES)
    assert (found.groups, found.unknown, found.text) == (GROUPS, (), "FOLDER/who.csv")


def test_names_in_a_table_that_are_no_cases_are_told_and_those_of_others_are_kept_apart(tmp_path):
    file = tmp_path / "who.csv"
    file.write_text(PLAIN + "kidney_1,carl\nhidden_1,dora\n")
    found = read_groups(str(file), CASES, others=["hidden_1"])
    assert found.groups == GROUPS
    assert found.unknown == ("kidney_1",)
    assert found.others == {"hidden_1": "dora"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("case,group\nliver_1,anna\nliver_10,bert\n", ["liver_2", "spleen_1"]),
        (PLAIN + "liver_2,bert\n", ["liver_2", "anna", "bert", "line 5"]),
        (PLAIN.replace("2,anna", "2,"), ["liver_2", "line 2"]),
        (PLAIN.replace("2,anna", "2,Anna"), ["Anna", "anna"]),
        (PLAIN.replace("anna", "p07").replace("2,p07", "2,p7"), ["p07", "p7"]),
        ("case,patient,group\nliver_1,anna,control\n", ["patient", "group"]),
        ("liver_1,anna,70\nliver_2,anna,71\n", ["case", "group"]),
        ("", ["empty"]),
    ],
)
def test_tables_that_leave_something_open_are_refused(tmp_path, text, named):
    file = tmp_path / "who.csv"
    file.write_text(text)
    with pytest.raises(NnActiveError) as caught:
        read_groups(str(file), CASES)
    assert all(word in str(caught.value) for word in ["who.csv", *named])


def test_what_is_neither_table_nor_pattern(tmp_path):
    with pytest.raises(NnActiveError, match=r"-groups .*nowhere\.csv"):
        read_groups(str(tmp_path / "nowhere.csv"), CASES)
    with pytest.raises(NnActiveError, match="folder"):
        read_groups(str(tmp_path), CASES)
    (tmp_path / "who.csv").write_bytes(b"liver_1,\xff\xe4\x80nna\x00")
    with pytest.raises(NnActiveError, match=r"who\.csv"):
        read_groups(str(tmp_path / "who.csv"), CASES)


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        ("{patient}_{time}", "p1_t0", "p1"),
        ("{patient}_{time}", "p1_t0_repeated", "p1"),
        ("{patient}-{date}", "P001-2019-03-01", "P001"),
        ("LIDC_{patient}_{side}", "LIDC_0003_L", "0003"),
        ("{site}_{patient}_{time}", "UKM_07_t1", "07"),
        ("{date}_{Subject}", "20190301_P001", "P001"),
        ("{who}_{what}", "anna_liver", "anna"),
        ("{patient}_x_{patient}_{time}", "a_x_a_1", "a"),
        ("{patient}_x_{patient}_{time}", "a_x_b_1", None),
        ("{patient}_{time}.nii.gz", "p1_t0", "p1"),
        ("{patient}.{time}", "p1xt0", None),
        ("{patient}_{time}", "_t0", None),
        ("{patient}_{time}", "p1", None),
    ],
)
def test_patterns(pattern, name, group):
    assert GroupPattern(pattern).group(name) == group


@pytest.mark.parametrize("pattern", ["{}_{time}", "{patient", "{patient}}", "{patient}_{subject}", "{a b}_{c}", "}{"])
def test_patterns_that_cannot_be_read(pattern):
    with pytest.raises(NnActiveError, match="-groups"):
        GroupPattern(pattern)


def test_names_that_do_not_match_are_listed():
    with pytest.raises(NnActiveError, match=r"2 names of 4.*: beta, gamma2"):
        read_groups("{patient}_{time}", ["a_1", "gamma2", "a_2", "beta"])
    with pytest.raises(NnActiveError, match="P1 and p1"):
        read_groups("{patient}_{time}", ["P1_1", "p1_2"])


def test_members_of_groups():
    assert members(GROUPS) == {"anna": ["liver_1", "liver_2", "spleen_1"], "bert": ["liver_10"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("liver_10\nliver_1\n", ["liver_1", "liver_10"]),
        ("\ufeffliver_1\r\n\r\nliver_1\r\n", ["liver_1"]),
        ("case;dice\nliver_2;0.5\n", ["liver_2"]),
        ("dice,case\n0.5,liver_2\n", ["liver_2"]),
        ("liver_2,0.5\nspleen_1,0.7\n", ["liver_2", "spleen_1"]),
        ("imagesTr/liver_2_0000.nii.gz\n", ["liver_2"]),
    ],
)
def test_lists_of_cases(tmp_path, text, found):
    (tmp_path / "test.txt").write_text(text, encoding="utf-8")
    assert listed_cases(tmp_path / "test.txt", "-test", CASES) == found


@pytest.mark.parametrize(
    ("text", "named"),
    [("liver_1\nlivr_2\n", "livr_2"), ("livr_2\nliver_1\n", "livr_2"), ("", "no case"), ("case\n", "no case")],
)
def test_lists_that_are_refused(tmp_path, text, named):
    (tmp_path / "test.txt").write_text(text)
    with pytest.raises(NnActiveError, match=rf"-test .*test\.txt.*{named}"):
        listed_cases(tmp_path / "test.txt", "-test", CASES)


TWO = ["Muller_1", "muller_1", "a_1", "B_2"]


@pytest.mark.parametrize("text", ["MULLER_1\na_1\n", "a_1\nMÜLLER 1.nii.gz\n", "case\nMÜLLER 1\n"])
def test_a_name_that_may_be_two_cases_is_said_to_be(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(NnActiveError, match=r"line .* Muller_1 or muller_1"):
        listed_cases(tmp_path / "t.csv", "-test", TWO)
    (tmp_path / "g.csv").write_text(text.replace("\n", ",x\n").replace("case,x", "case,group"), encoding="utf-8")
    with pytest.raises(NnActiveError, match=r"line .* Muller_1 or muller_1"):
        read_groups(str(tmp_path / "g.csv"), TWO)
    with pytest.raises(NnActiveError, match=r"-drop .* Muller_1 or muller_1"):
        typed_cases(text.split("\n")[:-1][-2:], "-drop", [*TWO, "case"], "the pool")


def test_cases_that_were_typed():
    cases = ["Muller_Jose_2", "Muller_1", "p_1"]
    assert typed_cases(["Müller 1", "Muller_1", "P_1.nii.gz", "Müller, José (2)"], "-drop", cases, "the pool") == [
        "Muller_1",
        "p_1",
        "Muller_Jose_2",
    ]
    with pytest.raises(NnActiveError, match="-drop p_2: not in the pool"):
        typed_cases(["p_1", "p_2"], "-drop", cases, "the pool")


def test_cases_as_people_called_their_files():
    assert case_of("Müller, José (2).nii.gz", ["Muller_Jose_2"]) == "Muller_Jose_2"
    assert case_of("liver_1_0001", ["liver_1", "liver_1_0001"]) == "liver_1_0001"
    assert case_of("liver", ["liver_1"]) is None
