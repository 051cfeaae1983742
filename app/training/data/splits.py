"""Which rows are held out, where the data does not say. A function of what the rows say alone: neither their order nor
the seed changes anything. Knows codes, hashes and sets of labels; knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from app.training.data.columns import TRAIN, UNASSIGNED, VALIDATION

Labels = Sequence[str]
_SOME = 4  # rows of a label from which on one is held out, whatever the fraction


def assign(
    splits_N: NDArray[np.uint8],
    strata_N: NDArray[np.int64],
    hashes_N: NDArray[np.uint64],
    fraction: float,
    strata: Sequence[Labels],
) -> NDArray[np.uint8]:
    """Settle the rows without a split: about `fraction` of each label's go to validation where there is no validation.

    `strata` are the sets of labels that `strata_N` numbers. Equal texts stay together, so none leaks; each label keeps
    rows to train on.
    """
    result_N = np.where(splits_N == UNASSIGNED, TRAIN, splits_N).astype(np.uint8)
    if (result_N == VALIDATION).any():
        return result_N
    rows_N = np.flatnonzero(result_N == TRAIN)
    order_N = rows_N[np.argsort(hashes_N[rows_N], kind="stable")]
    drawn = _Draw(strata_N[order_N], hashes_N[order_N], fraction, strata)
    result_N[order_N[drawn.held_out()]] = VALIDATION
    return result_N


class _Draw:
    """Rows in the order of their hashes; equal texts are drawn together, those with the smallest hashes first."""

    def __init__(
        self, strata_N: NDArray[np.int64], hashes_N: NDArray[np.uint64], fraction: float, strata: Sequence[Labels]
    ) -> None:
        self._held_N = np.zeros(len(hashes_N), dtype=np.bool_)
        self._strata_N = strata_N
        self._starts = np.flatnonzero(np.diff(hashes_N, prepend=~hashes_N[:1]) != 0).tolist()
        self._labels = [tuple(labels) or ("",) for labels in strata]  # rows without a label: as if by one of their own
        self._rows: Counter[str] = Counter()
        for stratum, count in zip(*np.unique(strata_N, return_counts=True), strict=True):
            self._rows.update(dict.fromkeys(self._labels[stratum], int(count)))
        self._held: Counter[str] = Counter()
        self._total, self._wanted = 0, max(1, round(len(hashes_N) * fraction))
        self._shares = {label: count * fraction for label, count in self._rows.items()}
        self._quota = self._quotas()
        self._most = {label: max(self._quota[label], count // 2) for label, count in self._rows.items()}

    def held_out(self) -> NDArray[np.bool_]:
        """Each label's share; where the rows of a label are too few to be shared, some of all such labels together."""
        self._draw_shares()
        self._top_up()
        if self._total == 0:
            self._draw_smallest()
        return self._held_N

    def _quotas(self) -> dict[str, int]:
        """How many rows of each label are to be held out; never all."""
        quota = {label: min(round(self._shares[label]), count - 1) for label, count in self._rows.items()}
        few = [label for label, count in self._rows.items() if quota[label] == 0 and count >= _SOME]
        if len(few) <= len(self._held_N) // _SOME:  # else rows have so many labels that too many rows would go
            quota |= dict.fromkeys(few, 1)
        return quota

    def _draw_shares(self) -> None:
        """A row goes by its rarest label, since the others have more to choose from."""
        unfilled = {label for label, quota in self._quota.items() if quota}
        for start, end, labels in self._groups():
            if not unfilled:
                return
            rarest = min(labels, key=lambda label: (self._rows[label], label))
            if len(labels) > 1 and self._total >= self._wanted and self._held[rarest]:
                continue  # many labels a row: to fill the share of each would take too many rows
            if self._held[rarest] + labels[rarest] <= self._quota[rarest] and self._fits(labels, self._most):
                self._hold(start, end, labels)
                unfilled -= {label for label in labels if self._held[label] >= self._quota[label]}

    def _top_up(self) -> None:
        """What no label's share comes to alone; none gets more than its share, rounded up."""
        most = {label: min(self._most[label], ceil(share)) for label, share in self._shares.items()}
        for start, end, labels in self._groups():
            if self._total >= self._wanted:
                return
            if end - start <= self._wanted - self._total and self._fits(labels, most):
                self._hold(start, end, labels)

    def _draw_smallest(self) -> None:
        """Whatever there is, since something must be held out."""
        possible = [
            (end - start, start, labels)
            for start, end, labels in self._groups()
            if all(self._rows[label] > count for label, count in labels.items())
        ]
        if possible:
            size, start, labels = min(possible, key=lambda group: group[:2])
            self._hold(start, start + size, labels)

    def _groups(self) -> Iterator[tuple[int, int, Counter[str]]]:
        """From where to where equal texts stand that are not held out yet, and how often they have which label."""
        for start, end in zip(self._starts, [*self._starts[1:], len(self._held_N)], strict=True):
            if not self._held_N[start]:
                strata = self._strata_N[start:end].tolist()
                yield start, end, Counter(label for stratum in strata for label in self._labels[stratum])

    def _fits(self, labels: Counter[str], most: dict[str, int]) -> bool:
        return all(self._held[label] + count <= most[label] for label, count in labels.items())

    def _hold(self, start: int, end: int, labels: Counter[str]) -> None:
        self._held_N[start:end] = True
        self._held += labels
        self._total += end - start
