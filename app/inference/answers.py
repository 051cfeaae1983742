"""Readings compute the answer to a typed question from the outputs of a version's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.inference.scoring import softmax


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """The head's output for one input: the raw row and, except for regressions, its probabilities."""

    row: Sequence[float]
    probabilities: Sequence[float]


@dataclass(frozen=True, slots=True)
class LabelReading:
    """Returns the probability of one label."""

    index: int

    def probabilities(self, output: HeadOutput) -> list[float]:
        """The probability, as a list with one entry."""
        return [output.probabilities[self.index]]


@dataclass(frozen=True, slots=True)
class SelectionReading:
    """Computes a distribution over some of the labels, given that exactly one of them applies.

    The distribution is the softmax of the selected labels' logits. For classification, this restricts the distribution
    to the selected labels. For multilabel classification, whose probabilities are independent, it is the distribution
    under the condition that exactly one of the labels applies.
    """

    indices: tuple[int, ...]

    def probabilities(self, output: HeadOutput) -> list[float]:
        """One probability for each selected label, in the order of `indices`.

        The sum is computed in the version's label order, so that the result is bit-identical for any order of options.
        """
        order = sorted(self.indices)
        shares = dict(zip(order, softmax([output.row[index] for index in order]), strict=True))
        return [shares[index] for index in self.indices]

    def best(self, probabilities: Sequence[float]) -> int:
        """The position of the most probable option. Ties are resolved by label order."""
        return max(range(len(probabilities)), key=lambda i: (probabilities[i], -self.indices[i]))


@dataclass(frozen=True, slots=True)
class ScaleReading:
    """Computes a distribution over the levels of a scale from a regression's value. Levels are distinct numbers."""

    levels: tuple[float, ...]

    def probabilities(self, output: HeadOutput) -> list[float]:
        """Divide the probability between the two levels next to the value, so that their weighted mean is the value.

        Values outside the range of levels are clamped to the nearest level.
        """
        order = sorted(range(len(self.levels)), key=self.levels.__getitem__)
        value = min(max(output.row[0], self.levels[order[0]]), self.levels[order[-1]])
        shares = [0.0] * len(self.levels)
        for low, high in pairwise(order):
            if value <= self.levels[high]:
                share = (value - self.levels[low]) / (self.levels[high] - self.levels[low])
                shares[low], shares[high] = 1.0 - share, share
                return shares
        shares[order[0]] = 1.0
        return shares


AnswerReading = LabelReading | SelectionReading | ScaleReading


def confidence(probabilities: Sequence[float]) -> float:
    """The confidence in the most probable of k options: 0 if its probability is 1/k, and 1 if its probability is 1."""
    if len(probabilities) == 1:
        return 1.0
    chance = 1.0 / len(probabilities)
    return min(1.0, max(0.0, (max(probabilities) - chance) / (1.0 - chance)))


def expectation(probabilities: Sequence[float]) -> float:
    """The mean of the levels' indices, weighted by their probabilities."""
    return float(sum(index * share for index, share in enumerate(probabilities)))
