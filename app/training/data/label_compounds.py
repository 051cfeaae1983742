"""Warns about labels that consist of labels of other rows, such as 'bug and ui' beside 'bug' and 'ui'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from app.training.data.label_column import LabelColumn, shown
from app.wording import quantity

_LONGEST_LABEL, _LONGEST_JOINER = 200, 8  # in characters
_SEPARATORS = frozenset(("|", ",", ";", "\t", "\n"))  # other remarks report these
_IN_NUMBERS = frozenset(".-–:'’")  # without letters around them, these belong to a number, a date or a time
_MOST_LABELS, _MOST_REMARKS = 20_000, 5


def warn_of_compounds(column: LabelColumn) -> None:
    """Warn about labels whose parts are all labels of other rows, regardless of case, joined by any short string.

    In a list, only words join labels, because a list separates its labels already: 'machine learning' is one label,
    but in 'bug, ui and api', the last label is probably two.
    """
    several = "set task to multilabel, and " * (column.task != "multilabel") + "separate them with |"
    by_rows = sorted(_by_joiner(column).items(), key=lambda item: -sum(column.rows[index] for index in item[1]))
    for joiner, examples in by_rows[:_MOST_REMARKS]:
        message = f"labels such as {shown(next(iter(examples.values())))} consist of labels of other rows, joined by "
        message += f"{repr(joiner) if joiner else 'spaces'}, but each is read as one label"
        message += f" ({quantity(sum(column.rows[index] for index in examples), 'row')})"
        column.remark("compound_labels", f"{message}; if these are several labels, {several}", examples, "warn")


def _by_joiner(column: LabelColumn) -> dict[str, dict[int, str]]:
    """Map each joiner to the cells with labels that it joins: their indices, each with the first such label.

    Returns {} if there are too many labels, because the search would take long.
    """
    labels = {label.casefold() for cell in column.cells for label in cell}
    examples: dict[str, dict[int, str]] = defaultdict(dict)
    if len(labels) > _MOST_LABELS:
        return examples
    for index, (cell, listed) in enumerate(zip(column.cells, column.listed, strict=True)):
        for label in cell:
            joiner = joiner_of(label.casefold(), labels)
            if joiner is not None and (not listed or any(map(str.isalpha, joiner))):
                examples[joiner].setdefault(index, label)
    return examples


def joiner_of(label: str, labels: Collection[str]) -> str | None:
    """Return the string that joins several of the `labels` to this label, without the blanks around it.

    Returns None if the label does not consist of other labels. Joiners begin and end where words do. The joiner of a
    label with several joiners is the first one that is not a usual separator such as a comma.
    """
    if len(label) > _LONGEST_LABEL:
        return None
    ends = _ends(label)
    has_letters = any(map(str.isalpha, label))
    starts: dict[int, tuple[str | None, frozenset[str]]] = {0: (None, frozenset())}  # start -> joiner before it, labels
    for start in [0, *ends]:
        if start not in starts:
            continue
        joiner, parts = starts[start]
        if joiner is not None and label[start:] in labels and parts | {label[start:]} > {label[start:]}:
            return joiner
        for end in (end for end in ends if end > start and label[start:end] in labels):
            for after in (after for after in ends if end < after <= end + _LONGEST_JOINER):
                text = label[end:after].strip(" ")
                if has_letters or text not in _IN_NUMBERS:
                    first = joiner if joiner is not None or text in _SEPARATORS else text
                    starts[after] = first, parts | {label[start:end]}  # the last one has the shortest joiner
    return None


def _ends(text: str) -> list[int]:
    """Return the indices before which a word may end."""
    return [index for index in range(1, len(text)) if _is_boundary(text, index)]


def _is_boundary(text: str, index: int) -> bool:
    """Whether a word may end before the character at `index`. In scripts without case, words are often not separated by
    spaces, so every character may be a word.
    """
    return not (_is_of_word(text[index - 1]) and _is_of_word(text[index]))


def _is_of_word(character: str) -> bool:
    return character.isdigit() or character.lower() != character.upper()
