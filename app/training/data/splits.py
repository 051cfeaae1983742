"""Chooses the rows to hold out for validation if the data does not specify any.

The choice depends only on the content of the rows, not on their order or on the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TRAIN, UNASSIGNED, VALIDATION

RowLabels = Sequence[str]
_MIN_ROWS = 4  # a label with at least this many rows has at least one held out, even if the fraction is small


def assign(
    splits_N: NDArray[np.uint8],
    strata_N: NDArray[np.int64],
    hashes_N: NDArray[np.uint64],
    fraction: float,
    strata: Sequence[RowLabels],
) -> NDArray[np.uint8]:
    """Return the split of each row, after assigning a split to every unassigned row.

    Unassigned rows become training rows. Unless there are already validation rows, about `fraction` of the training
    rows of each label are then held out for validation. Rows with equal hashes stay in the same split, so that no input
    is in two splits. Every label keeps some training rows.

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
    """Draws the rows to hold out from rows that are sorted by hash.

    Rows with the same hash form a group, which is held out as a whole. Since hashes are practically random, selecting
    the groups in hash order is a reproducible random draw. Apart from sorting, the running time is linear in the number
    of rows and their labels.
    """

    def __init__(
        self, strata_N: NDArray[np.int64], hashes_N: NDArray[np.uint64], fraction: float, strata: Sequence[RowLabels]
    ) -> None:
        self._held_N = np.zeros(len(hashes_N), dtype=np.bool_)
        self._strata_N = strata_N
        # The first row of each group. Row 0 always begins a group, because the prepended value (the inverted first
        # hash) differs from the first hash.
        self._starts = np.flatnonzero(np.diff(hashes_N, prepend=~hashes_N[:1]) != 0).tolist()
        self._labels = [tuple(labels) or ("",) for labels in strata]  # all rows without labels share one empty label
        self._rows: Counter[str] = Counter()  # the number of rows with each label
        for stratum, count in zip(*np.unique(strata_N, return_counts=True), strict=True):
            self._rows.update(dict.fromkeys(self._labels[stratum], int(count)))
        self._held_out_counts: Counter[str] = Counter()  # the number of held-out rows with each label
        self._total, self._target = 0, max(1, round(len(hashes_N) * fraction))  # held-out rows: current number, target
        self._shares = {label: count * fraction for label, count in self._rows.items()}
        self._quota = self._quotas()
        self._most = {label: max(self._quota[label], count // 2) for label, count in self._rows.items()}

    def hold_out(self) -> NDArray[np.bool_]:
        """Return a mask of the rows to hold out.

        First, rows are drawn separately for each label. Since some labels have too few rows for a separate draw, rows
        are then drawn from all labels together until the target, `fraction` of all rows, is reached if possible.
        """
        self._draw_shares()
        self._top_up()
        if self._total == 0:
            self._draw_smallest()
        return self._held_N

    def _quotas(self) -> dict[str, int]:
        """Return the number of rows to hold out for each label, which is less than the label's number of rows."""
        quota = {label: min(round(self._shares[label]), count - 1) for label, count in self._rows.items()}
        rare = [label for label, count in self._rows.items() if quota[label] == 0 and count >= _MIN_ROWS]
        if len(rare) <= len(self._held_N) // _MIN_ROWS:  # otherwise, too many rows would be held out
            quota |= dict.fromkeys(rare, 1)
        return quota

    def _draw_shares(self) -> None:
        """Hold out groups until every label's quota is filled, as far as possible.

        A group counts towards the quota of its rarest label, because the other labels have more groups to choose from.
        """
        unfilled = {label for label, quota in self._quota.items() if quota}
        for start, end, labels in self._groups():
            if not unfilled:
                return
            rarest = min(labels, key=lambda label: (self._rows[label], label))
            if len(labels) > 1 and self._total >= self._target and self._held_out_counts[rarest]:
                continue  # otherwise, rows with many labels would lead to too many held-out rows
            if self._held_out_counts[rarest] + labels[rarest] <= self._quota[rarest] and self._fits(labels, self._most):
                self._hold(start, end, labels)
                unfilled -= {label for label in labels if self._held_out_counts[label] >= self._quota[label]}

    def _top_up(self) -> None:
        """Hold out further groups until the target is reached. The limit for each label is its share, rounded up."""
        most = {label: min(self._most[label], ceil(share)) for label, share in self._shares.items()}
        for start, end, labels in self._groups():
            if self._total >= self._target:
                return
            if end - start <= self._target - self._total and self._fits(labels, most):
                self._hold(start, end, labels)

    def _draw_smallest(self) -> None:
        """Hold out the smallest group whose removal leaves training rows for each of its labels.

        Used if the other draws have held out no group, because a training run needs some validation rows.
        """
        candidates = [
            (end - start, start, labels)
            for start, end, labels in self._groups()
            if all(self._rows[label] > count for label, count in labels.items())
        ]
        if candidates:
            size, start, labels = min(candidates, key=lambda group: group[:2])
            self._hold(start, start + size, labels)

    def _groups(self) -> Iterator[tuple[int, int, Counter[str]]]:
        """Yield the start, the end, and the number of rows per label of every group that is not held out yet."""
        for start, end in zip(self._starts, [*self._starts[1:], len(self._held_N)], strict=True):
            if not self._held_N[start]:
                strata = self._strata_N[start:end].tolist()
                yield start, end, Counter(label for stratum in strata for label in self._labels[stratum])

    def _fits(self, labels: Counter[str], most: dict[str, int]) -> bool:
        return all(self._held_out_counts[label] + count <= most[label] for label, count in labels.items())

    def _hold(self, start: int, end: int, labels: Counter[str]) -> None:
        self._held_N[start:end] = True
        self._held_out_counts.update(labels)  # `+=` would also visit every label counted so far, to drop counts below 1
        self._total += end - start
