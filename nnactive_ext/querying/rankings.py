"""The rankings of cases in files, read one by one: those of a large pool do not fit into memory together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from nnactive_ext.query_methods.base import Ranking
from nnactive_ext.query_methods.selection import Candidates
from nnactive_ext.schemas import Count, JsonObject


def _check_rows(rows: Sequence[Any]) -> None:
    """Rows are stratum, start, size, score and key; there may be millions, so they are looked at in one go."""
    for i, row in enumerate(rows):
        if not (
            isinstance(row, list) and len(row) == 5 and isinstance(row[0], str) and _voxels(row[1], 0) and _voxels(row[2], 1)
        ):
            raise ValueError(f"{i}: a candidate needs stratum, start, size, score and key")
        if not all(isinstance(number, int | float) for number in row[3:]):
            raise ValueError(f"{i}: score and key of a candidate are numbers")


def _voxels(value: Any, least: int) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(n) is int and least <= n < 2**31 for n in value)


class Rankings(Mapping[str, Ranking]):
    """The rankings of ``cases``, each by ``read`` whenever it is asked for."""

    def __init__(self, cases: Sequence[str], read: Callable[[str], Ranking]):
        self._cases, self._read = dict.fromkeys(cases), read

    def __getitem__(self, case: str) -> Ranking:
        if case not in self._cases:
            raise KeyError(case)
        return self._read(case)

    def __contains__(self, case: object) -> bool:
        return case in self._cases

    def __iter__(self) -> Iterator[str]:
        return iter(self._cases)

    def __len__(self) -> int:
        return len(self._cases)


class _Ranking(TypedDict):
    predicted: list[Count | str]
    candidates: Annotated[list[Any], _check_rows]


class RankingFile(_Ranking, total=False):
    """What a file holds beside its digest; the air around patches where air is skipped."""

    left_out: dict[str, float]
    environment: JsonObject | None
    air: float
    no_body: bool


def ranking_to_json(ranking: Ranking, digest: str) -> dict[str, Any]:
    """A ranking as the content of a JSON file that is good for ``digest``."""
    rows = [[c.stratum, c.patch.start, c.patch.size, c.score, c.key] for c in ranking.candidates]
    return {"for": digest, "predicted": sorted(ranking.predicted), "candidates": rows, **_left_out(ranking)}


def ranking_from_json(content: Mapping[str, Any], case: str) -> Ranking:
    """The ranking of a case from the content of its file."""
    left_out = {stratum: float(key) for stratum, key in content.get(LEFT_OUT, {}).items()}
    return Ranking(Candidates(case, content["candidates"]), frozenset(content["predicted"]), left_out=left_out)


LEFT_OUT = "left_out"


def _left_out(ranking: Ranking) -> dict[str, Any]:
    return {LEFT_OUT: dict(ranking.left_out)} if ranking.left_out else {}
