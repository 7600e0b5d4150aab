"""Methods that are not ours, from a user's file or another package: their options, and their text for stored candidates."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_train
from fakes import CLASSES, run, shown_methods, world

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.loop.tables import method_list
from nnactive_ext.query_methods import external, methods
from nnactive_ext.query_methods.aggregation import Largest
from nnactive_ext.query_methods.base import Request
from nnactive_ext.query_methods.identity import identity
from nnactive_ext.query_methods.listing import described
from nnactive_ext.query_methods.perturbation import Schedule
from nnactive_ext.query_methods.scores import bald
from nnactive_ext.query_methods.uncertainty import Uncertainty
from nnactive_ext.querying.query import query_cycle

OWN = """
from dataclasses import dataclass
from nnactive_ext.query_methods.scores import bald
from nnactive_ext.query_methods.uncertainty import Uncertainty

def score(statistics):
    return statistics.expected_entropy

mine = Uncertainty("mine", score, beta=2.0)
number = 3

@dataclass(frozen=True)
class Drawn:
    \"\"\"Draws nothing.\"\"\"
    name: str = "drawn"
    needs_reference: bool = False
    depth: int = 1
    width: "float" = 1.0
    word: str = "a"
    flag: bool = False
    numbers: tuple = ()
    def draw(self, pool, request):
        ...

drawn = Drawn()

class Plain:
    name, needs_reference = "plain", False
    def draw(self, pool, request):
        ...

plain = Plain()

@dataclass(frozen=True)
class Deeper(Uncertainty):
    depth: int = 1

deeper = Deeper("deeper", bald)
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_a_value_in_a_file_is_a_method(own):
    method = methods.get(f"{own}:mine")
    assert method.score.__name__ == "score"
    assert len(run(method, world(), Request(3, CLASSES)).patches) == 3


def test_the_path_may_be_relative_and_is_kept_absolute(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert methods.get("own.py:mine") == methods.get(f"{own}:mine")
    assert methods.lasting("own.py:mine", {"alpha": "1"}) == (f"{own}:mine", {"alpha": "1"})
    assert methods.lasting("clasp_pe", {}) == ("clasp_pe", {})


def test_an_edited_file_is_read_anew(own):
    assert methods.get(f"{own}:mine").beta == 2
    own.write_text(OWN.replace("beta=2.0", "beta=3.0"))
    assert methods.get(f"{own}:mine").beta == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.py:mine", "absent.py: no such file"),
        ("own.py", "own.py: which.*mine, drawn, plain, deeper"),
        ("own.py:yours", "no 'yours'.*mine"),
        ("own.py:number", "own.py:number is of type int.*Uncertainty"),
        ("own.py:score", "own.py:score is of type function"),
        ("own.py:Drawn", "own.py:Drawn is a class"),
    ],
)
def test_what_is_no_method_is_named(own, name, words):
    with pytest.raises(NnActiveError, match=words):
        methods.get(str(own.parent / name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n1 / 0", "line 2: cannot be imported: ZeroDivisionError"),
        ("x = (", "line 1: cannot be imported: SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("raise SystemExit(2)", "SystemExit"),
        ("from nnactive_ext.query_methods.uncertainty import Uncertainty\nm = Uncertainty('m', None, alpha=2)", "alpha.*2"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(tmp_path, text, words):
    (tmp_path / "broken.py").write_text(text)
    for _ in range(2):
        with pytest.raises(NnActiveError, match=rf"broken.py.*{words}"):
            methods.get(f"{tmp_path / 'broken.py'}:m")


def test_options_are_read_by_the_type_of_the_field(own):
    method = methods.get(f"{own}:drawn", depth="3", width="0.5", word="b", flag="true")
    assert (method.depth, method.width, method.word, method.flag) == (3, 0.5, "b", True)
    assert methods.get(f"{own}:mine", beta="1:50", alpha="0.5").beta.last == 50
    assert methods.get(f"{own}:deeper", alpha="0.5", depth="4").depth == 4


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("drawn", "depth=a", "depth=a"),
        ("drawn", "depth=1.5", "depth=1.5"),
        ("drawn", "width=nan", "finite"),
        ("drawn", "flag=maybe", "true or false"),
        ("drawn", "numbers=1", "no option 'numbers'.*depth, width, word, flag"),
        ("drawn", "name=x", "no option 'name'"),
        ("plain", "depth=1", "no option 'depth'.*none"),
        ("mine", "alpha=2", "from 0 to 1"),
        ("deeper", "depth=x", "depth=x"),
    ],
)
def test_an_option_that_cannot_be_is_refused(own, name, option, words):
    key, value = option.split("=")
    with pytest.raises(NnActiveError, match=words):
        methods.get(f"{own}:{name}", **{key: value})


# Entry points


@pytest.fixture
def offered(own, monkeypatch):
    """Another package, as an installer leaves it in a folder that Python looks into."""
    (own.parent / "other_package.py").write_text(OWN)
    metadata = own.parent / "other_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    values = {"theirs": "other_package:drawn", "broken": "other_package:absent", "bald": "other_package:mine"}
    lines = [f"[{external.GROUP}]", *(f"{name} = {value}" for name, value in values.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(own.parent)
    yield
    sys.modules.pop("other_package", None)


@pytest.mark.usefixtures("offered")
def test_methods_of_other_packages_are_known_by_name():
    assert methods.get("theirs", depth="2").depth == 2
    assert methods.get("bald").score.__name__ == "bald", "ours comes first"
    with pytest.raises(NnActiveError, match=r"broken \(other_package:absent, offered by other-package\) cannot be loaded"):
        methods.get("broken")
    with pytest.raises(NnActiveError, match=r"clasp_pe.*theirs"):
        methods.get("absent")


@pytest.mark.usefixtures("offered")
def test_they_are_listed_and_a_broken_one_does_not_hide_the_others():
    rows = {name: (text, source) for name, text, source in described()}
    assert rows["theirs"] == ("Draws nothing.", "other_package:drawn")
    assert "cannot be loaded" in rows["broken"][0]
    assert len(rows) == len(methods.METHODS) + 2


def test_nothing_of_this_environment_is_offered_by_mistake():
    assert set(external.installed()) & set(methods.names()) == set()


# The list


def test_the_list_says_of_each_method_what_it_is_and_where_it_comes_from():
    rows = list(described())
    assert [name for name, _, _ in rows] == list(methods.names())
    assert all(text and source for _, text, source in rows)
    page = method_list(80)
    assert max(map(len, page.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in page.splitlines())


def test_the_words_follow_the_parts():
    method = methods.get("clasp_pe", score="margin", aggregation="max:7", beta="sigmoid:2:9", alpha="0.25", overlap="0.1")
    for words in ("p_(1) - p_(2)", "7-cube", "2 to 9", "sigmoid", "ln(score)", "25%", "10%"):
        assert words in method.words
    assert "rank" in methods.get("softrank_bald").words
    assert "Strata" not in methods.get("bald").words


# The text that says whether stored candidates are still good


@pytest.mark.slow
def test_the_text_is_the_same_in_every_process(own):
    code = (
        "from nnactive_ext.query_methods import methods\n"
        "from nnactive_ext.query_methods.identity import identity\n"
        f"for name in [*(m.name for m in methods.METHODS[:-1]), {str(own) + ':mine'!r}, {str(own) + ':plain'!r}]:\n"
        "    print(identity(methods.get(name)))\n"
    )
    there = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)]
    assert there[0] == there[1]
    ours = [identity(method) for method in methods.METHODS[:-1]]
    assert there[0].splitlines()[: len(ours)] == ours
    assert len(set(ours)) == len(ours)
    assert " at 0x" not in there[0]


def test_every_value_shows_in_the_text():
    method = methods.get("clasp_pe")
    options = {"score": "bald", "beta": "1:99", "alpha": "0.5", "perturbation": "softrank", "aggregation": "max:5"}
    options |= {"overlap": "0.1", "stride": "2", "blocking": "image", "patches_per_case": "3"}
    texts = {identity(methods.get("clasp_pe", **{key: value})) for key, value in options.items()}
    texts.add(identity(methods.get("clasp_pe", aggregation="max:6")))
    assert len(texts | {identity(method)}) == len(options) + 2
    assert identity(replace(method, cite="elsewhere")) == identity(method)


def test_editing_a_file_changes_the_text_of_what_it_defines(own):
    names = ("mine", "drawn", "plain", "deeper")
    before = {name: identity(methods.get(f"{own}:{name}")) for name in names}
    assert before == {name: identity(methods.get(f"{own}:{name}")) for name in names}
    own.write_text(OWN + "\n# another comment")
    assert all(identity(methods.get(f"{own}:{name}")) != before[name] for name in names)


def test_other_values_have_a_text_too():
    class Thing:
        def __init__(self):
            self.a, self.b = 1, np.arange(3)

        def method(self):
            pass

    thing = Thing()
    others = (partial(max, 1, key=abs), {"b": 1, "a": {3, 2}}, np.float32(2), [None, (1, "x")], np.log)
    for value in (thing, thing.method, *others):
        assert " at 0x" not in identity(value)
        assert identity(value) == identity(value)
    assert identity(np.arange(3)) != identity(np.arange(4))


# What docs/methods.md shows, in a real query


@pytest.mark.parametrize("name", ["gini_spread", "evenly"])
def test_the_methods_of_the_page_answer_a_query(planned, tmp_path, name):
    for fold in planned.folds():
        fake_train(planned, fold)
    file = shown_methods(tmp_path)
    query_cycle(planned, lambda e, folds: FakeEnsemble(e, 3), planned.folds(), f"{file}:{name}", n=3, progress=False)
    loop = read_json(planned.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"])) == (f"{file}:{name}", 3)


def test_stored_candidates_of_an_edited_file_are_not_used(planned, tmp_path):
    for fold in planned.folds():
        fake_train(planned, fold)
    file = shown_methods(tmp_path)
    asked = []

    def query():
        asked.append(0)
        (planned.raw / "loop_001.json").unlink(missing_ok=True)
        query_cycle(planned, open_ensemble, planned.folds(), f"{file}:gini_spread", n=3, progress=False)

    def open_ensemble(experiment, folds):
        asked[-1] += 1
        return FakeEnsemble(experiment, 3)

    query()
    query()
    file.write_text(file.read_text().replace("p * p", "p * p * p"))
    query()
    assert asked == [1, 0, 1]


def test_functions_that_differ_in_what_they_hold_are_told_apart():
    def scaled(factor):
        return lambda statistics: factor * bald(statistics)

    def by_default(statistics, factor=1, *, offset=0):
        return factor * bald(statistics) + offset

    texts = {identity(Uncertainty("mine", scaled(factor))) for factor in (1, 2, 1)}
    texts.add(identity(Uncertainty("mine", by_default)))
    by_default.__defaults__ = (2,)
    texts.add(identity(Uncertainty("mine", by_default)))
    assert len(texts) == 4


@pytest.mark.parametrize("values", [np.zeros((12, 16, 14)), np.full((9, 12, 9), np.nan), np.full((9, 12, 9), -1.0)])
def test_an_aggregation_that_cannot_be_used_names_itself_and_the_case(values):
    def odd(voxel_map, weight, size, statistics):
        return values

    w = world(1)
    with pytest.raises(NnActiveError, match=r"case_0: .*odd"):
        Uncertainty("mine", bald, 1.0, aggregation=odd).rank(w.scored("case_0"), Request(2, CLASSES))


def test_options_may_be_given_as_values():
    chosen = methods.get("clasp_pe", beta=Schedule(1, 50), stride=(4, 8, 8), score=bald, aggregation=Largest(4))
    assert (chosen.beta.last, chosen.stride, chosen.score, chosen.aggregation) == (50, (4, 8, 8), bald, Largest(4))
