"""Warns about different labels that look alike, or that are the same number."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, localcontext

from app.training.data.files import Source
from app.training.data.label_column import LISTED, LabelColumn, listing, shown
from app.training.data.usual_names import quoted
from app.wording import quantity

_DIGITS = 1000  # more digits than a `NUMBER` can have
NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})")
_EXPONENT = re.compile(r"[eE][+-]?\d{1,3}\Z")  # the exponent in 1E3, as spreadsheets write it
_JOINERS = re.compile("[\u200c\u200d\ufe0e\ufe0f]")
_DASHES = re.compile("[\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d]")
# Hyphens and underscores are treated as spaces only between letters: 1-2 and 12 are probably different labels.
_LETTER_JOINERS = re.compile(r"(?<=[^\W\d_])[-_]+(?=[^\W\d_])")
QUOTES = re.compile("[\"'`´‘’‚‛“”„‟«»‹›]")
# Cyrillic and Greek letters with the Latin letters that look like them; a subset of Unicode's confusables (UTS #39).
_CYRILLIC = "АВЕІЈКМНОРСТУХЅԚԜҮаеорсухіјѕһԁԛԝӏ", "ABEIJKMHOPCTYXSQWYaeopcyxijshdqwl"
_GREEK = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοριυν", "ABEZHIKMNOPTYXaopiuv"
# Words with the same meaning. They are compared only if few other labels exist: 1 and t may also be characters.
_WORDS = (
    ("true", "t", "yes", "y", "1", "1.0", "on"), ("false", "f", "no", "n", "0", "0.0", "off"),
    ("positive", "pos"), ("negative", "neg"), ("neutral", "neu"),
)  # fmt: skip
_MEANINGS = {word: words[0] for words in _WORDS for word in words}
_MOST_OTHERS = 2
_LATIN = str.maketrans(*map("".join, zip(_CYRILLIC, _GREEK, strict=True)))


def warn_of_twins(column: LabelColumn, counts: Counter[str]) -> None:
    """Add a remark about each kind of similarity between labels."""
    message = (
        "some labels differ only in case, spaces, hyphens, underscores, quotes, dashes or Unicode form, and are "
        "treated as different labels"
    )
    _warn(column, counts, "look_alike_labels", message, alike_key, shown, to_mend=True)
    message = (
        "some labels look alike but are written with letters of different scripts, such as Latin and Cyrillic, and are "
        "treated as different labels"
    )
    _warn(column, counts, "mixed_scripts", message, _skeleton, ascii)
    message = "some labels are the same number, written in different ways, and are treated as different labels"
    _warn(column, counts, "equal_numbers", message, _number, shown)
    if sum(label.casefold() not in _MEANINGS for label in counts) <= _MOST_OTHERS:
        message = "some labels probably have the same meaning, but are treated as different labels"
        _warn(column, counts, "equal_meaning", message, _meaning, shown)


def check_labels(source: Source, labels: Sequence[str], own: Sequence[str]) -> None:
    """Raise BadData if there are `labels`, but all differ from the version's `own`: every prediction would be wrong."""
    if labels and set(labels).isdisjoint(own):
        raise source.fault(
            f"has none of the version's labels ({quoted(own)}): its labels are {quoted(labels)}"
            + spelling_advice(labels, own)
        )


def spelling_advice(unknown: Iterable[str], own: Iterable[str]) -> str:
    """Return a sentence about the unknown labels that differ from one of the version's `own` labels only in spelling,
    or "" if there are none.
    """
    by_key = {alike_key(label): label for label in own}
    twins = [f"{label!r} as {by_key[key]!r}" for label in unknown if (key := alike_key(label)) in by_key]
    if not twins:
        return ""
    start = "These labels differ from the version's only in case, spaces, hyphens, quotes or the like, so write"
    return f". {start} {listing(twins)}"


def _warn(
    column: LabelColumn,
    counts: Counter[str],
    kind: str,
    message: str,
    key: Callable[[str], str],
    show: Callable[[str], str],
    *,
    to_mend: bool = False,
) -> None:
    """Warn about each group of labels that have the same key.

    With `to_mend`, advises users to write each label in one way, and shows the most frequent spelling of each group.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[key(label)].append(label)
    twins = [sorted(members) for members in groups.values() if len(members) > 1]
    if not twins:
        return
    texts = [listing(f"{show(label)} ({quantity(counts[label], 'row')})" for label in members) for members in twins]
    more = f"; and {len(twins) - LISTED:,} more" if len(twins) > LISTED else ""
    cells = column.cells_with(label for members in twins for label in members)
    usual = listing(show(max(members, key=lambda label: counts[label])) for members in twins)
    advice = f". If they have the same meaning, use one spelling (the most frequent: {usual})" if to_mend else ""
    column.remark(kind, f"{message}: {'; '.join(texts[:LISTED])}{more}{advice}", cells, "warn")


def alike_key(label: str) -> str:
    """Return a key that is the same for labels that differ only in case, spaces, hyphens, underscores, quotes, dashes
    or Unicode form.

    Case includes Turkish: İ becomes i with a combining dot above (U+0307) when its case is folded, and ı is the lower
    case of I.
    """
    text = unicodedata.normalize("NFKC", label).casefold().replace("\u0307", "").replace("\u0131", "i")
    text = _DASHES.sub("-", _JOINERS.sub("", text))
    return _LETTER_JOINERS.sub("", "".join(QUOTES.sub("", text).split())) or label


def _skeleton(label: str) -> str:
    """Return a key that is the same for labels whose Latin, Greek and Cyrillic letters look alike.

    Accents are separated from their letters first, so that accented letters that look alike also get the same key.
    """
    return label if label.isascii() else unicodedata.normalize("NFD", label).translate(_LATIN)


def _meaning(label: str) -> str:
    """Return a key that is equal for labels with the same meaning, such as "true", "Yes" and "1"."""
    word = label.casefold()
    return _MEANINGS.get(word, f"label {word}")


def _number(label: str) -> str:
    """Return a key that is the same for equal numbers: 7, 007, +7, 7.0 and 7E0. Any other label gets a separate key."""
    with localcontext(prec=_DIGITS):
        return str(Decimal(label).normalize() + 0) if NUMBER.fullmatch(_EXPONENT.sub("", label)) else f"label {label}"
