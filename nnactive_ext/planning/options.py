"""How a declared setting becomes a flag with help, a key of a benchmark file, a value in the plan, and a command again."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from nnactive_ext.errors import NnActiveError

if TYPE_CHECKING:  # it brings numpy, for which nobody who asks for -h should wait
    from nnactive_ext.experiment.plan import Plan

SIMULATION, ROLLOUT = "simulation", "roll-out"


@dataclass(frozen=True)
class Option:
    """All that is said about a setting, beside its name and default.

    ``old``: earlier spellings of the flag, which are understood and not shown. ``decided``: what the help says about a
    default that planning decides. ``only``: the kind of experiment it belongs to (empty: both), and ``instead``: what to do
    in the other kind. ``source``: one of the flags that say what is planned, of which exactly one is given. ``read``: the
    values of several settings from what the flag was given. ``shown``: its value in the command that repeats a plan; without
    it, the plan's value of the same name. ``kept``: whether the plan keeps it, if it is not the default. ``benchmark``:
    whether benchmark files may set it, and ``per_dataset``: for each of their datasets. ``change``: the help of the same flag
    of ``nnactive_change``; empty: it has none.
    """

    flag: str
    help: str
    type: Callable[[str], Any] | None = None
    nargs: str | None = None
    metavar: str | tuple[str, ...] | None = None
    choices: Collection[str] | None = None
    old: tuple[str, ...] = ()
    decided: str = ""
    only: str = ""
    instead: str = ""
    source: bool = False
    read: Callable[[Any], Mapping[str, Any]] | None = None
    shown: Callable[[Plan], Any] | None = None
    kept: bool = True
    benchmark: bool = False
    per_dataset: bool = False
    change: str = ""

    @property
    def dest(self) -> str:
        return self.flag.lstrip("-")


def setting(default: Any, flag: str, help: str, **more: Any) -> Any:
    """A field of a dataclass of settings; a ``default`` of MISSING makes it required."""
    return field(default=default, metadata={"option": Option(flag, help, **more)})


def options(table: Any) -> Iterator[tuple[Field[Any], Option]]:
    """The fields of a dataclass of settings, or of a value of it, that have a flag."""
    for one in fields(table):
        if "option" in one.metadata:
            yield one, one.metadata["option"]


def add_options(parser: argparse.ArgumentParser, table: Any) -> None:
    """Give ``parser`` the flags of all settings of ``table``; those of roll-outs only come in a group of their own."""
    source = parser.add_mutually_exclusive_group(required=True)
    rollout = parser.add_argument_group("options of roll-outs (with -i)")
    for one, option in options(table):
        _add(source if option.source else rollout if option.only == ROLLOUT else parser, one, option)


def _add(group: Any, one: Field[Any], option: Option) -> None:
    default = None if one.default is MISSING else one.default
    shown = option.decided or ("" if default in (None, "", (), False) else _text(default))
    help = option.help + (f" (default: {shown})" if shown else "")
    if default is False:
        group.add_argument(option.flag, action="store_true", help=help)
        return
    typed: dict[str, Any] = {"type": option.type, "nargs": option.nargs, "metavar": option.metavar, "choices": option.choices}
    if default is not None and option.nargs and isinstance(default, str):
        default = [default]
    required = {"required": True} if one.default is MISSING else {}
    group.add_argument(option.flag, default=default, help=help.replace("%", "%%"), **required, **typed)
    for old in option.old:
        group.add_argument(old, dest=option.dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **typed)


def add_changes(parser: argparse.ArgumentParser, table: Any) -> None:
    """Give ``parser`` the flags of the settings that a running experiment may change."""
    for _, option in options(table):
        if option.change:
            typed: dict[str, Any] = {"type": option.type, "metavar": option.metavar, "choices": option.choices}
            typed["nargs"] = option.nargs
            parser.add_argument(option.flag, help=option.change.replace("%", "%%"), **typed)


def changeable(table: Any) -> dict[str, str]:
    """Settings that a running experiment may change -> their flags."""
    return {one.name: option.flag for one, option in options(table) if option.change}


def changes(table: Any, parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings that a parser with :func:`add_changes` has read -> their new values; None where none was given."""
    values: dict[str, Any] = {}
    for one, option in options(table):
        if option.change:
            value = getattr(parsed, option.dest)
            read = option.read(value) if option.read and value is not None else {one.name: value}
            values |= {name: list(found) if isinstance(found, tuple) else found for name, found in read.items()}
    return values


def from_options(table: type[Any], parsed: argparse.Namespace) -> Any:
    """A value of ``table`` from what a parser made by :func:`add_options` has read."""
    values: dict[str, Any] = {}
    for one, option in options(table):
        value = getattr(parsed, option.dest)
        values |= option.read(value) if option.read else {one.name: value}
    return table(**values)


def check_kind(settings: Any, kind: str) -> None:
    """A setting of the other kind of experiment than ``kind`` is an error, unless it is at its default."""
    for one, option in options(settings):
        if option.only not in ("", kind) and getattr(settings, one.name) != one.default:
            raise NnActiveError(f"{option.flag} is for {option.only}s only. {option.instead or 'Leave it out.'}")


def benchmark_keys(table: Any) -> dict[str, Option]:
    """The settings that a benchmark file may have, by their names there."""
    return {one.name: option for one, option in options(table) if option.benchmark}


def dataset_keys(table: Any) -> dict[str, Option]:
    """The settings that a benchmark file may have for each of its datasets, by their names there."""
    return {one.name: option for one, option in options(table) if option.per_dataset}


def check_value(option: Option, value: Any) -> bool:
    """Whether a value of a benchmark file is of the setting's type, and among its choices."""
    kind = option.type or str
    typed = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)  # type: ignore[arg-type]
    return typed and (option.choices is None or value in option.choices)


def kept(settings: Any) -> dict[str, Any]:
    """The fields of a plan that hold the ``settings``: each in the field of its name, or else in ``settings`` if it is not at
    its default."""
    from nnactive_ext.experiment.plan import Plan

    own = {one.name for one in fields(Plan)}
    found: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for one, option in options(settings):
        value = getattr(settings, one.name)
        if option.kept and one.name in own:
            found[one.name] = value
        elif option.kept and value != one.default:
            others[one.name] = list(value) if isinstance(value, tuple) else value
    return {**found, "settings": others}


def planned_value(plan: Plan, name: str, default: Any = None) -> Any:
    """What a plan holds of a setting."""
    own = {one.name for one in fields(plan)}
    return getattr(plan, name) if name in own else plan.settings.get(name, default)


def with_value(plan: Plan, name: str, value: Any) -> Plan:
    """``plan`` with another value of a setting."""
    if name in {one.name for one in fields(plan)}:
        return replace(plan, **{name: value})
    return replace(plan, settings={**plan.settings, name: value})


def repeating(table: Any, plan: Plan, **known: Any) -> list[str]:
    """The words of the command that plans the same again; ``known``: settings that the plan does not hold."""
    plan, kind = _at_first(table, plan), ROLLOUT if plan.human else SIMULATION
    words = ["nnactive_plan"]
    for one, option in options(table):
        if option.only in ("", kind):
            value = known.get(one.name, option.shown(plan) if option.shown else planned_value(plan, one.name))
            if value is True:
                words.append(option.flag)
            elif value is not None and value is not False and value not in ("", (), []):  # 0 is a value
                words += [option.flag, *(map(str, value) if isinstance(value, (list, tuple)) else [_text(value)])]
    return words


def _at_first(table: Any, plan: Plan) -> Plan:
    """``plan`` before it was changed."""
    for change in reversed(plan.changes):
        if change["what"] in changeable(table):
            plan = with_value(plan, str(change["what"]), change.get("before"))
    return plan


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
