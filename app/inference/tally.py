"""Counts the labels of classified inputs and sums their confidence, by version, with little work for each request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.inference.versions import ResolvedVersion
from app.traffic import VersionTraffic

MOST_PENDING = 4096  # maximum number of outputs that are kept before they are counted
MOST_VERSIONS = 1000
LARGEST = 700.0  # the exponential of a logit between -LARGEST and LARGEST is finite and not zero


class _VersionTally:
    """The counts of one version. `labels[i]` is the number of answers with the label of index i."""

    __slots__ = ("confidence", "labels", "texts", "version")

    def __init__(self, version: ResolvedVersion) -> None:
        self.version = version
        self.texts, self.confidence = 0, 0.0
        self.labels = [0] * len(version.labels)

    def add(self, rows: Sequence[Sequence[float]]) -> None:
        """Count the rows and, unless they are the values of a regression, their labels."""
        self.texts += len(rows)
        task = self.version.config.task
        if task == "multilabel":
            self._add_several(rows)
        elif task != "regression":
            self._add_one_each(rows)

    def _add_one_each(self, rows: Sequence[Sequence[float]]) -> None:
        exp, labels, confidence = math.exp, self.labels, 0.0
        for row in rows:
            top = max(row)
            labels[row.index(top)] += 1
            if -LARGEST < top < LARGEST:
                confidence += exp(top) / sum(map(exp, row))
            else:
                confidence += 1.0 / sum(exp(logit - top) for logit in row)
        self.confidence += confidence

    def _add_several(self, rows: Sequence[Sequence[float]]) -> None:
        threshold = min(max(self.version.threshold, 1e-9), 1 - 1e-9)
        least = math.log(threshold / (1 - threshold))
        for row in rows:
            for index, logit in enumerate(row):
                self.labels[index] += logit >= least
            top = max(row)
            self.confidence += 1.0 / (1.0 + math.exp(-top)) if top >= 0 else math.exp(top) / (1.0 + math.exp(top))


class Tally:
    """Counts the answers to classifications since the last call of `take`. Call all methods on the event loop."""

    def __init__(self) -> None:
        self._pending: list[tuple[ResolvedVersion, list[list[float]]]] = []
        self._numbers = 0
        self._tallies: dict[str, _VersionTally] = {}

    def add(self, version: ResolvedVersion, rows: list[list[float]]) -> None:
        """Keep a version's outputs, one row for each input. They are counted later, in bulk."""
        self._pending.append((version, rows))
        self._numbers += len(rows) * len(rows[0])
        if self._numbers > MOST_PENDING:
            self._count()

    def take(self) -> dict[str, VersionTraffic]:
        """Return the counts of each version, by reference, and reset all counts."""
        self._count()
        tallies, self._tallies = self._tallies, {}
        return {ref: _traffic(tally) for ref, tally in tallies.items()}

    def _count(self) -> None:
        pending, self._pending, self._numbers = self._pending, [], 0
        for version, rows in pending:
            tally = self._tallies.get(version.ref)
            if tally is None:
                if len(self._tallies) >= MOST_VERSIONS:
                    continue
                tally = self._tallies[version.ref] = _VersionTally(version)
            tally.add(rows)


def _traffic(tally: _VersionTally) -> VersionTraffic:
    names = tally.version.labels
    labels = {names[index]: count for index, count in enumerate(tally.labels) if count}
    return VersionTraffic(tally.version.record.owner, texts=tally.texts, labels=labels, confidence=tally.confidence)
