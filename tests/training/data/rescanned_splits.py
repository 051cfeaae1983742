"""A slower algorithm for the same assignment as `app/training/data/splits.py`, with which tests compare it.

For every held-out group, it visits all labels that have been held out so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TRAIN, UNASSIGNED, VALIDATION

Labels = Sequence[str]
_MIN_ROWS = 4


def assign_by_rescanning(
    splits_N: NDArray[np.uint8],
    strata_N: NDArray[np.int64],
    hashes_N: NDArray[np.uint64],
    fraction: float,
    strata: Sequence[Labels],
) -> NDArray[np.uint8]:
    result_N = np.where(splits_N == UNASSIGNED, TRAIN, splits_N).astype(np.uint8)
    if (result_N == VALIDATION).any():
        return result_N
    rows_N = np.flatnonzero(result_N == TRAIN)
    order_N = rows_N[np.argsort(hashes_N[rows_N], kind="stable")]
    draw = _Draw(strata_N[order_N], hashes_N[order_N], fraction, strata)
    result_N[order_N[draw.hold_out()]] = VALIDATION
    return result_N


class _Draw:
    def __init__(
        self, strata_N: NDArray[np.int64], hashes_N: NDArray[np.uint64], fraction: float, strata: Sequence[Labels]
    ) -> None:
        self._held_N = np.zeros(len(hashes_N), dtype=np.bool_)
        self._strata_N = strata_N
        self._starts = np.flatnonzero(np.diff(hashes_N, prepend=~hashes_N[:1]) != 0).tolist()
        self._labels = [tuple(labels) or ("",) for labels in strata]
        self._rows: Counter[str] = Counter()
        for stratum, count in zip(*np.unique(strata_N, return_counts=True), strict=True):
            self._rows.update(dict.fromkeys(self._labels[stratum], int(count)))
        self._held: Counter[str] = Counter()
        self._total, self._target = 0, max(1, round(len(hashes_N) * fraction))
        self._shares = {label: count * fraction for label, count in self._rows.items()}
        self._quota = self._quotas()
        self._most = {label: max(self._quota[label], count // 2) for label, count in self._rows.items()}

    def hold_out(self) -> NDArray[np.bool_]:
        self._draw_shares()
        self._top_up()
        if self._total == 0:
            self._draw_smallest()
        return self._held_N

    def _quotas(self) -> dict[str, int]:
        quota = {label: min(round(self._shares[label]), count - 1) for label, count in self._rows.items()}
        rare = [label for label, count in self._rows.items() if quota[label] == 0 and count >= _MIN_ROWS]
        if len(rare) <= len(self._held_N) // _MIN_ROWS:
            quota |= dict.fromkeys(rare, 1)
        return quota

    def _draw_shares(self) -> None:
        unfilled = {label for label, quota in self._quota.items() if quota}
        for start, end, labels in self._groups():
            if not unfilled:
                return
            rarest = min(labels, key=lambda label: (self._rows[label], label))
            if len(labels) > 1 and self._total >= self._target and self._held[rarest]:
                continue
            if self._held[rarest] + labels[rarest] <= self._quota[rarest] and self._fits(labels, self._most):
                self._hold(start, end, labels)
                unfilled -= {label for label in labels if self._held[label] >= self._quota[label]}

    def _top_up(self) -> None:
        most = {label: min(self._most[label], ceil(share)) for label, share in self._shares.items()}
        for start, end, labels in self._groups():
            if self._total >= self._target:
                return
            if end - start <= self._target - self._total and self._fits(labels, most):
                self._hold(start, end, labels)

    def _draw_smallest(self) -> None:
        candidates = [
            (end - start, start, labels)
            for start, end, labels in self._groups()
            if all(self._rows[label] > count for label, count in labels.items())
        ]
        if candidates:
            size, start, labels = min(candidates, key=lambda group: group[:2])
            self._hold(start, start + size, labels)

    def _groups(self) -> Iterator[tuple[int, int, Counter[str]]]:
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
