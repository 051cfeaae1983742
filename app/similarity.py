"""Finds the name that was probably meant by a misspelt name."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MOST_COMPARED = 200  # characters; longer names are not compared, because the time grows with the square of the length
# Names in other programs -> names here, in which all separators count as blanks
_SYNONYMS = {
    "lr": "learning rate", "bs": "batch size", "wd": "weight decay", "hidden size": "width", "hidden dim": "width",
    "embed dim": "width", "num layers": "layers", "max length": "context length", "max len": "context length",
    "max seq length": "context length", "grad clip": "max grad norm", "clip": "max grad norm",
}  # fmt: skip
_SEPARATORS = re.compile(r"[\W_]+")


def most_similar(name: str, names: Iterable[str]) -> str | None:
    """Return the entry of `names` of which `name` is probably a misspelling or a synonym, or None if there is none.

    A name is similar if at most a third of its letters differ, or if all words of one name are also in the other, such
    as `label` and `--label-column`. Case, the order of words and the characters between them do not count. If several
    names have the same number of additional words, none is returned.
    """
    if len(name) > _MOST_COMPARED:
        return None
    words = _words(name)
    if synonym := _SYNONYMS.get(" ".join(words)):
        for other in names:
            if " ".join(_words(other)) == synonym:
                return other
    near = [(edits, other) for other in names if (edits := _edits(words, _words(other))) is not None]
    if near:
        return min(near, key=lambda pair: pair[0])[1]
    return _containing(set(words), names)


def distance(a: str, b: str) -> int:
    """Return the number of edits that turn `a` into `b`: letters inserted, deleted, replaced or swapped with the next.

    This is the optimal string alignment distance, in which no part of a string is edited twice.
    """
    before, row = list[int](), list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and a[i - 2] == other and letter == b[j - 2]:
                edits = min(edits, older[j - 2] + 1)
            row.append(edits)
    return row[-1]


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(name.casefold()) if word]


def _edits(words: list[str], others: list[str]) -> int | None:
    """Return the distance of two names, or None if it exceeds the limit. The distance of reordered words is 0."""
    a, b = " ".join(words), " ".join(others)
    if not a or not b or len(b) > _MOST_COMPARED:
        return None
    if sorted(words) == sorted(others):
        return 0
    longest = max(len(a), len(b))
    limit = longest // 3
    if longest > 4:
        limit += (a[0], a[-1]) == (b[0], b[-1])
    elif a[0] != b[0]:  # short names that begin differently are different words: mood, food
        return None
    if abs(len(a) - len(b)) > limit:
        return None
    edits = distance(a, b)
    return edits if edits <= limit else None


def _containing(words: set[str], names: Iterable[str]) -> str | None:
    """Return the name that has all of the words, or at least half of them and no others. None if several names do."""
    fits = []
    for other in names:
        own = set(_words(other))
        if own and words and (own >= words or (own < words and 2 * len(own) >= len(words))):
            fits.append((len(own ^ words), other))
    fits.sort()
    return fits[0][1] if fits and (len(fits) == 1 or fits[0][0] < fits[1][0]) else None
