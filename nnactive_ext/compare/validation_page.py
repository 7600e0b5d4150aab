"""The folder of a validation of uncertainty: a page, tables (CSV, JSON, LaTeX) and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnactive_ext.compare.cells import NONE
from nnactive_ext.compare.table import Table
from nnactive_ext.compare.validation import Validation, Worth, best, ged, sentence, worth
from nnactive_ext.compare.writing import replacing_folder
from nnactive_ext.files import write_json, write_text
from nnactive_ext.metrics.averages import mean_and_spread
from nnactive_ext.metrics.failures import best_aurc
from nnactive_ext.pages.templates import render
from nnactive_ext.words import count

COMMAND = "nnactive_uncertainty"
PAGE = "uncertainty.md"


def write_validation(validation: Validation, output: Path, made_by: str = COMMAND) -> Path:
    """Write what was found of the uncertainty of members.

    Args:
        validation: with at least one case.
        output: the folder to write; it is replaced as a whole.
        made_by: the command, for the page.

    Returns:
        The path of the page.

    Raises:
        NnActiveError: ``output`` holds files that nnactive_uncertainty did not write; nothing is written then.
    """
    from nnactive_ext.compare.figures_validation import draw  # matplotlib takes a second

    found = worth(validation)
    with replacing_folder(output, COMMAND) as folder:
        for name in ("tables", "figures"):
            (folder / name).mkdir()
        draw(validation, found, folder / "figures")
        table = lines_table(validation, found)
        for one in (_tidy_lines(found), _tidy_cases(validation)):
            write_text(folder / "tables" / f"{one.name}.csv", one.csv())
        write_text(folder / "tables" / "lines.tex", table.latex())
        write_json(folder / "tables" / "uncertainty.json", _as_json(validation, found))
        write_text(folder / PAGE, _page(validation, found, table, made_by))
    return output / PAGE


def lines_table(validation: Validation, found: Sequence[Worth]) -> Table:
    """A row for each score and aggregation, for readers; columns without a number are left out."""
    columns = {"AURC": "aurc", "E-AURC": "excess", "AUROC (OoD)": "auroc", "FPR95 (OoD)": "fpr95", "ACE": "ace", "NCC": "ncc"}
    there = {head: key for head, key in columns.items() if any(not math.isnan(getattr(one, key)) for one in found)}
    rows = [
        [one.line.score, one.line.aggregation or NONE, *(_number(getattr(one, key)) for key in there.values())] for one in found
    ]
    n = len(validation.cases)
    caption = (
        f"{validation.name}, cycle {validation.cycle}: {n} {validation.unit}, mean risk (1 - Dice) "
        f"{_number(mean_and_spread(validation.risks).mean)}; AURC of the perfect order {_number(best_aurc(validation.risks))}."
    )
    return Table("lines", caption, ["score", "aggregation", *there], rows)


def _page(validation: Validation, found: Sequence[Worth], table: Table, made_by: str) -> str:
    shared = sum({one.line.score: one.constant for one in found}.values())
    return render(
        "compare",
        PAGE,
        v=validation,
        sentence=sentence(validation),
        table=table,
        best=best(found),
        undefined=[one for one in found if one.undefined],
        constant=count(shared, "map") if shared else "",
        ged=None if math.isnan(ged(validation)) else _number(ged(validation)),
        calibrated=any(not math.isnan(one.ace) for one in found),
        mean_risk=_number(mean_and_spread(validation.risks).mean),
        made_by=made_by,
    )


def _tidy_lines(found: Sequence[Worth]) -> Table:
    heading = ["score", "aggregation", "aurc", "e_aurc", "auroc_ood", "fpr95_ood", "ace", "ncc", "cases_without_value"]
    rows = [[one.line.score, one.line.aggregation or None, *_numbers(one), one.undefined, one.constant] for one in found]
    return Table("lines", "", [*heading, "constant_maps"], rows)


def _numbers(one: Worth) -> list[float | None]:
    return [_known(value) for value in (one.aurc, one.excess, one.auroc, one.fpr95, one.ace, one.ncc)]


def _tidy_cases(validation: Validation) -> Table:
    """A row for each case and line; ``kind``: case, or ood, or rated."""
    rows: list[list[Any]] = []
    kinds = {"case": validation.cases, "ood": validation.ood, "rated": validation.rated}
    for kind, cases in kinds.items():
        for case in cases:
            for line in validation.lines:
                more = [_known(part.get(line.score, math.nan)) for part in (case.ace, case.ncc)]
                value = _known(case.values.get(line, math.nan))
                rows.append([kind, case.name, *line, value, _known(case.risk), *more, case.ged])
    return Table("cases", "", ["kind", "case", "score", "aggregation", "value", "risk", "ace", "ncc", "ged_squared"], rows)


def _as_json(validation: Validation, found: Sequence[Worth]) -> dict[str, Any]:
    lines, cases = _tidy_lines(found), _tidy_cases(validation)
    return {
        "experiment": validation.name,
        "cycle": validation.cycle,
        "folds": list(validation.folds),
        "members": validation.members,
        "unit": validation.unit,
        "positive": "in-distribution" if validation.id_positive else "out-of-distribution",
        "sentence": sentence(validation),
        "ged_squared": _known(ged(validation)),
        "notes": list(validation.notes),
        "lines": [dict(zip(lines.heading, row, strict=True)) for row in lines.rows],
        "cases": [dict(zip(cases.heading, row, strict=True)) for row in cases.rows],
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.4f}"
