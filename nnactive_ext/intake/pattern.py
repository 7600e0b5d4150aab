"""Patterns of names: "*/anat/{case}_{channel}", relative to the folder and without the ending; * is any text without "/"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.folder import without_ending


class Pattern:
    """The pattern ``text`` given by ``option``. {channel} stands for one of ``channels`` or its number in four digits, for
    any number where they are None; it must be there for several channels and cannot for an empty list."""

    def __init__(self, text: str, option: str, channels: Sequence[str] | None) -> None:
        self.text = tidied(text)
        self.channels = [channel.lower() for channel in channels or ()]
        words = words_of(self.text)
        allowed = {"{case}"} if channels is not None and not channels else {"{case}", "{channel}"}
        if "{case}" not in words or not {word for word in words if "{" in word or "}" in word} <= allowed:
            raise NnActiveError(
                f'{option} "{text}": it must hold {{case}}, and no braces but {" and ".join(sorted(allowed))}, '
                'as in "{case}/scan" for the files scan.nii.gz in one folder per case.'
            )
        if len(self.channels) > 1 and "{channel}" not in words:
            raise NnActiveError(f'{option} "{text}": with {len(self.channels)} channels it must hold {{channel}} too.')
        choices = [*map(re.escape, self.channels), *(f"{k:04d}" for k in range(len(self.channels)))] or [r"\d{4}"]
        # As short as can be, so that of the channels "t1" and "ce_t1" the longer one is found.
        self.expression = expression(words, {"{case}": "[^/]+?", "{channel}": f"(?i:{'|'.join(choices)})"})

    def match(self, name: str) -> tuple[str, int] | None:
        """The case and the channel's index in ``name``; None if it does not fit."""
        found = self.expression.fullmatch(name)
        if not found:
            return None
        channel = (found.groupdict().get("channel") or "0").lower()
        return found["case"], self.channels.index(channel) if channel in self.channels else int(channel)


def words_of(text: str) -> list[str]:
    """The texts and the {fields} of a pattern, in turn."""
    return re.split(r"(\{[^{}]*\})", text)


def expression(words: Sequence[str], fields: Mapping[str, str]) -> re.Pattern[str]:
    """The regular expression of a pattern. A field, such as "{case}", matches what ``fields`` says, and the same text wherever
    it is repeated; its group has its name. * matches anything but "/"."""

    def part(i: int, word: str) -> str:
        if word not in fields:
            return re.escape(word).replace(r"\*", "[^/]*")
        return f"(?P={word[1:-1]})" if word in words[:i] else f"(?P<{word[1:-1]}>{fields[word]})"

    return re.compile("".join(part(i, word) for i, word in enumerate(words)))


def tidied(text: str) -> str:
    """A pattern with "/" between folders and without the ending of an image."""
    text = text.replace("\\", "/").removeprefix("./")
    stem = without_ending(text)
    return text if stem is None else stem
