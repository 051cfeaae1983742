"""Decides which rows are held out for validation, where the data does not say.

The choice depends only on the content of the rows: neither their order nor the seed changes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TRAIN, UNASSIGNED, VALIDATION

Labels = Sequence[str]
_MIN_ROWS = 4  # of a label with this many rows, at least one is held out, whatever the fraction


def assign(
    splits_N: NDArray[np.uint8],
    strata_N: NDArray[np.int64],
    hashes_N: NDArray[np.uint64],
    fraction: float,
    strata: Sequence[Labels],
) -> NDArray[np.uint8]:
    """Return the splits with every unassigned row settled.

    Unassigned rows become train rows. Unless some rows are validation rows already, about `fraction` of each label's
    train rows are then held out for validation. Rows with equal hashes stay on one side, so no input leaks from one to
    the other, and every label keeps train rows.

    Args:
        splits_N: the split of each row, or UNASSIGNED.
        strata_N: for each row, the index of its set of labels in `strata`.
        hashes_N: for each row, the hash of its input.
        fraction: the share of rows to hold out, above 0 and below 1.
        strata: the distinct sets of labels.
    """
    result_N = np.where(splits_N == UNASSIGNED, TRAIN, splits_N).astype(np.uint8)
    rows_N = np.flatnonzero(result_N == TRAIN)
    if not len(rows_N) or (result_N == VALIDATION).any():
        return result_N
    order_N = rows_N[np.argsort(hashes_N[rows_N], kind="stable")]
    draw = _Draw(strata_N[order_N], hashes_N[order_N], fraction, strata)
    result_N[order_N[draw.hold_out()]] = VALIDATION
    return result_N


class _Draw:
    """A draw among rows that are sorted by hash. A group, the rows with one hash, is held out as a whole.

    The hashes are as good as random, so taking groups in their order is a random draw that can be repeated. All work
    is linear in the rows and their labels, apart from the sorting.
    """

    def __init__(
        self, strata_N: NDArray[np.int64], hashes_N: NDArray[np.uint64], fraction: float, strata: Sequence[Labels]
    ) -> None:
        self._held_N = np.zeros(len(hashes_N), dtype=np.bool_)
        self._strata_N = strata_N
        # The first row of each group. Prepending the inverted first hash makes the first row differ from it.
        self._starts = np.flatnonzero(np.diff(hashes_N, prepend=~hashes_N[:1]) != 0).tolist()
        self._labels = [tuple(labels) or ("",) for labels in strata]  # rows without a label share an empty one
        self._rows: Counter[str] = Counter()  # rows of each label
        for stratum, count in zip(*np.unique(strata_N, return_counts=True), strict=True):
            self._rows.update(dict.fromkeys(self._labels[stratum], int(count)))
        self._held: Counter[str] = Counter()  # held-out rows of each label
        self._total, self._target = 0, max(1, round(len(hashes_N) * fraction))  # held-out rows: so far, and in the end
        self._shares = {label: count * fraction for label, count in self._rows.items()}
        self._quota = self._quotas()
        self._most = {label: max(self._quota[label], count // 2) for label, count in self._rows.items()}

    def hold_out(self) -> NDArray[np.bool_]:
        """Which rows are held out.

        First each label's own share; then, for labels with too few rows for a share of their own, rows of all of them
        together.
        """
        self._draw_shares()
        self._top_up()
        if self._total == 0:
            self._draw_smallest()
        return self._held_N

    def _quotas(self) -> dict[str, int]:
        """How many rows of each label to hold out; never all of them."""
        quota = {label: min(round(self._shares[label]), count - 1) for label, count in self._rows.items()}
        rare = [label for label, count in self._rows.items() if quota[label] == 0 and count >= _MIN_ROWS]
        if len(rare) <= len(self._held_N) // _MIN_ROWS:  # else one row of each would hold out too many rows
            quota |= dict.fromkeys(rare, 1)
        return quota

    def _draw_shares(self) -> None:
        """Fill the quota of each label. A group counts for its rarest label: the others have more groups left."""
        unfilled = {label for label, quota in self._quota.items() if quota}
        for start, end, labels in self._groups():
            if not unfilled:
                return
            rarest = min(labels, key=lambda label: (self._rows[label], label))
            if len(labels) > 1 and self._total >= self._target and self._held[rarest]:
                continue  # rows with many labels: filling the quota of each would hold out too many rows
            if self._held[rarest] + labels[rarest] <= self._quota[rarest] and self._fits(labels, self._most):
                self._hold(start, end, labels)
                unfilled -= {label for label in labels if self._held[label] >= self._quota[label]}

    def _top_up(self) -> None:
        """Hold out more groups until the target is met. No label gets more than its share, rounded up."""
        most = {label: min(self._most[label], ceil(share)) for label, share in self._shares.items()}
        for start, end, labels in self._groups():
            if self._total >= self._target:
                return
            if end - start <= self._target - self._total and self._fits(labels, most):
                self._hold(start, end, labels)

    def _draw_smallest(self) -> None:
        """Hold out the smallest group that leaves train rows of each of its labels: a training needs some."""
        candidates = [
            (end - start, start, labels)
            for start, end, labels in self._groups()
            if all(self._rows[label] > count for label, count in labels.items())
        ]
        if candidates:
            size, start, labels = min(candidates, key=lambda group: group[:2])
            self._hold(start, start + size, labels)

    def _groups(self) -> Iterator[tuple[int, int, Counter[str]]]:
        """(first row, row after the last, rows of each label) of every group that is not held out yet."""
        for start, end in zip(self._starts, [*self._starts[1:], len(self._held_N)], strict=True):
            if not self._held_N[start]:
                strata = self._strata_N[start:end].tolist()
                yield start, end, Counter(label for stratum in strata for label in self._labels[stratum])

    def _fits(self, labels: Counter[str], most: dict[str, int]) -> bool:
        return all(self._held[label] + count <= most[label] for label, count in labels.items())

    def _hold(self, start: int, end: int, labels: Counter[str]) -> None:
        self._held_N[start:end] = True
        self._held.update(labels)  # not +=, which looks at every label held so far to drop counts below 1
        self._total += end - start
