"""Recognises misspelt names of columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from app.training.data.files import Source

_OPTIONAL = ("text_pair", "label", "value", "split")  # keys of columns that a table of text may have
_MIN_SIMILARITY = 0.76  # 'lable', 'labels' and 'valeu' count as misspelt; 'table', 'volume' and 'lab' do not


def check_spelling(source: Source, names: Collection[str], others: Sequence[str]) -> None:
    """Raise BadData if the name of a column looks misspelt, because a misspelt name would silently change the task.

    `names` contains the keys with a column, and `others` the columns without a role.
    """
    absent = [key for key in _OPTIONAL if key not in names and not (key == "value" and "label" in names)]
    similar = {column: _misspelt_key(column, absent) for column in others}
    keys = list(similar.values())
    for column, key in similar.items():
        if key is not None and keys.count(key) == 1:  # names such as label_0 and label_1 are not misspelt
            raise source.fault(
                f"did you mean {key!r}? If the name is misspelt, rename the column, or set columns.{key} to its name; "
                "otherwise, set task, so that the column is ignored",
                f"column {column!r}",
                param=f"columns.{key}",
            )


def _misspelt_key(column: str, keys: list[str]) -> str | None:
    plain = column.strip().lower().removesuffix("s")
    return next(iter(difflib.get_close_matches(plain, keys, 1, _MIN_SIMILARITY)), None)
