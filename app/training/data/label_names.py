"""Unifies different spellings of the same label, and warns about similar and unusual labels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from app.training.data.cells import NOT_A_NUMBER, is_blank, to_label
from app.training.data.label_column import LISTED, LabelColumn, listing, shown, with_rows
from app.training.data.label_twins import NUMBER, QUOTES, warn_of_twins
from app.wording import quantity

_FRACTION = re.compile(r"([+-]?)(\d*)\.(\d*?)0*")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
# Zero-width spaces, soft hyphens and direction marks. Joiners are not included, because they change the meaning of
# words in some scripts.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_MISSING = {"nan", "none", "null", "nil", "n/a", "na", "<na>", "nat", "-", "--", "?", "#n/a", "missing", "undefined"}
_MANY_NUMBERS = 20


def in_order(labels: Iterable[str]) -> list[str]:
    """Sort the labels, numerically if all of them are numbers, and otherwise as strings."""
    names = list(labels)
    if all(map(NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (Decimal(name), name))
    return sorted(names)


def settle_names(column: LabelColumn) -> None:
    """Unify different spellings of the same label. Adds remarks about changed and unusual labels."""
    spellings = _spellings(column)
    if spellings:
        counts = column.counts
        changed = column.cells_with(spellings)
        is_shorter = len({spellings.get(label, label) for label in counts}) < len(counts)
        is_merged = is_shorter or any(_visible(label) != label for label in spellings)
        column.cells = [tuple(sorted({spellings.get(label, label) for label in labels})) for labels in column.cells]
        pairs = listing(
            f"{shown(old)} ({quantity(counts[old], 'row')}) as {shown(new)}" for old, new in sorted(spellings.items())
        )
        if is_merged:
            column.remark("labels_merged", f"labels that are written in different ways are merged: {pairs}", changed)
        else:
            message = "labels that are numbers, true/false or times are rewritten, so that they are the same in every "
            column.remark("labels_written", f"{message}file format: {pairs}", changed)
    _match_base(column)
    counts = column.counts
    if counts:
        _tell_counts(column, counts)
        for warn in (warn_of_twins, _warn_of_missing, _warn_of_quotes, _warn_of_rare, _warn_of_numbers):
            warn(column, counts)


def _spellings(column: LabelColumn) -> dict[str, str]:
    """Map each label whose spelling changes to its new spelling."""
    labels = column.counts.keys()
    plain = {label: _visible(label) for label in labels}
    write = _writer(plain.values())
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[write(plain[label])].append(label)
    of_base: dict[str, list[str]] = defaultdict(list)
    for label in column.base_labels:
        of_base[write(_visible(label))].append(label)
    spellings: dict[str, str] = {}
    for name, members in groups.items():
        base = of_base.get(name, [])
        target = base[0] if len(base) == 1 else name
        spellings |= {label: target for label in members if label != target and label not in column.base_labels}
    return spellings


def _match_base(column: LabelColumn) -> None:
    """Replace each label with the base version's label of the same meaning, if there is exactly one, as 1.0 with 1.

    `_spellings` changes numbers only if all labels are numbers, because 1.0 and 1 may otherwise be different codes.
    Here, each label is compared separately, because only one label of the base version has this meaning.
    """
    of_base: dict[str, list[str]] = defaultdict(list)
    for label in column.base_labels:
        of_base[_meaning(label)].append(label)
    counts = column.counts
    matches = {
        label: base[0]
        for label in sorted(counts)
        if label not in column.base_labels and len(base := of_base.get(_meaning(label), [])) == 1
    }
    if not matches:
        return
    changed = column.cells_with(matches)
    column.cells = [tuple(sorted({matches.get(label, label) for label in labels})) for labels in column.cells]
    pairs = listing(f"{shown(old)} ({quantity(counts[old], 'row')}) as {shown(new)}" for old, new in matches.items())
    message = "labels that are written differently from those of the version are read as labels of the version"
    column.remark("labels_matched", f"{message}: {pairs}", changed)


def _meaning(label: str) -> str:
    """Return a spelling that is the same for all labels that stand for the same number, truth value or time."""
    plain = _visible(label)
    return _writer([plain])(plain)


def _visible(label: str) -> str:
    """Convert a label to Unicode's composed form (NFC), and remove invisible characters."""
    if label.isascii():
        return label
    return _INVISIBLE.sub("", unicodedata.normalize("NFC", label)).strip() or label


def _writer(labels: Iterable[str]) -> Callable[[str], str]:
    """Return a function that unifies the spelling of labels.

    The function changes labels only if all labels are numbers, all are true or false, or all are dates or times. Words
    that stand for missing values are ignored. The spelling is that of `to_label`, so a table's labels do not depend on
    its file format.
    """
    names = {label for label in labels if label.casefold() not in _MISSING}
    if names and all(map(_is_number, names)):
        return _short_number
    if names and all(map(_is_truth, names)):
        return lambda label: label.lower() if _is_truth(label) else label
    if names and all(map(_read_time, names)):
        return lambda label: label if (time := _read_time(label)) is None else to_label(time)
    return lambda label: label


def _read_time(label: str) -> datetime | None:
    """Return the date or time that an ISO 8601 label stands for, such as 2026-01-31 or 2026-01-31T09:05:00Z."""
    try:
        return datetime.fromisoformat(label) if _TIME.fullmatch(label) else None
    except ValueError:  # no such day or hour
        return None


def _is_number(label: str) -> bool:
    return NUMBER.fullmatch(label) is not None


def _is_whole(label: str) -> bool:
    return label.lstrip("+-").isdecimal()


def _is_truth(label: str) -> bool:
    return label.lower() in ("true", "false")


def _short_number(number: str) -> str:
    """Remove trailing zeros from a number's fraction: 1.0 becomes 1, and 2.50 becomes 2.5. Other labels are
    unchanged.
    """
    if number.casefold() == NOT_A_NUMBER.casefold():
        return NOT_A_NUMBER
    match = _FRACTION.fullmatch(number)
    if match is None:
        return number
    sign, whole, fraction = match.groups()
    short = f"{whole or '0'}.{fraction}" if fraction else whole or "0"
    return short if sign == "-" and short == "0" else sign + short


def _tell_counts(column: LabelColumn, counts: Counter[str]) -> None:
    names = [label for label, _ in counts.most_common(2 * LISTED)]
    rest = len(counts) - len(names)
    rows = ", ".join(f"{shown(label)} {counts[label]:,}" for label in names) + (f" and {rest:,} more" if rest else "")
    place = column.places[0]
    place.layout.source.remark(
        "labels", f"has {quantity(len(counts), 'label')} with these row counts: {rows}", count=len(counts)
    )


def _warn_of_missing(column: LabelColumn, counts: Counter[str]) -> None:
    missing = [label for label in counts if label.casefold() in _MISSING or is_blank(label)]
    if missing:
        message = f"some labels look like missing values but are read as labels: {with_rows(missing, counts)}; remove "
        column.remark("missing_labels", f"{message}such rows if they have no label", column.cells_with(missing), "warn")


def _warn_of_quotes(column: LabelColumn, counts: Counter[str]) -> None:
    quoted = [name for name in counts if len(name) > 2 and QUOTES.match(name[0]) and QUOTES.match(name[-1])]
    if quoted:
        message = f"the quotes are part of these labels: {with_rows(quoted, counts)}"
        column.remark("quoted_labels", message, column.cells_with(quoted), "warn")


def _warn_of_rare(column: LabelColumn, counts: Counter[str]) -> None:
    rare = [label for label, rows in counts.items() if rows == 1]
    if rare:
        message = f"these labels have only one row each, which is too few to learn from: {listing(map(shown, rare))}"
        column.remark("rare_labels", message, column.cells_with(rare), "warn")


def _warn_of_numbers(column: LabelColumn, counts: Counter[str]) -> None:
    if len(counts) > _MANY_NUMBERS and column.has_amounts and (fractions := [n for n in counts if not _is_whole(n)]):
        name = column.places[0].layout.names.get("label", "")
        message = (
            f"the {len(counts):,} labels are numbers such as {shown(fractions[0])}, and each number is treated as a "
        )
        message += f"class; to predict the number, set columns.value to {name!r} instead of columns.label"
        column.remark("numeric_labels", message, range(len(column.cells)), "warn")
