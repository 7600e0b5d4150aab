"""Reads what a segment of 3D Slicer is by its terminology tag, where nobody gave it a name."""

from __future__ import annotations

_TAG = "TerminologyEntry:"
_FIELDS = 7
"""Context ~ category ~ type ~ type modifier ~ anatomic context ~ region ~ region modifier, as scheme^code^meaning."""


def meanings(tags: str) -> tuple[str, ...]:
    """What the terminology among a segment's ``tags`` may be called, the most specific first.

    A type with a modifier or a region ("Kidney", "Left") is also called by both. 3D Slicer's default, whose type is only its
    category ("Tissue"), was chosen by nobody and says nothing.

    >>> meanings("TerminologyEntry:list~SCT^1^Anatomical Structure~SCT^2^Kidney~SCT^3^Left~list~^^~^^|")
    ('Left Kidney', 'Kidney Left', 'Kidney')
    >>> meanings("TerminologyEntry:list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~list~^^~^^|")
    ()
    """
    entries = [tag.partition(_TAG)[2] for tag in tags.split("|") if _TAG in tag]
    if not entries:
        return ()
    fields = [field.split("^") for field in entries[0].split("~")]
    fields += [[""]] * (_FIELDS - len(fields))
    category, kind = fields[1], fields[2]
    name, modifier, region, side = (fields[i][-1].strip() for i in (2, 3, 5, 6))
    if not name or category == kind:
        return ()
    found = [f"{modifier} {name}", f"{name} {modifier}"] if modifier else []
    for where in [f"{side} {region}", f"{region} {side}"] if region and side else []:
        found += [f"{where} {name}", f"{name} {where}"]
    found += [f"{region} {name}", f"{name} {region}"] if region else []
    return (*found, name)
