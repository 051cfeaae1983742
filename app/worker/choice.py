"""Chooses one of an auto job's trials by comparing their errors on the same validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.wording import listed, quantity

Errors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained network. `errors_N` contains one error for each validation row or part of the held-out text."""

    model: str
    parameters: int
    errors_N: Errors

    @property
    def size(self) -> tuple[bool, int]:
        """The sort key for comparing sizes.

        A linear model comes before every network, because it needs less computation per text.
        """
        return self.model != "linear", self.parameters

    @property
    def mean(self) -> float:
        """The mean error."""
        return float(self.errors_N.mean())


@dataclass(frozen=True, slots=True)
class Gap:
    """A candidate's mean error minus the best candidate's, and the standard error of this difference."""

    mean: float
    standard_error: float

    @property
    def negligible(self) -> bool:
        """Whether the difference is within one standard error, and may therefore be due to chance."""
        return self.mean <= self.standard_error


@dataclass(frozen=True, slots=True)
class TrialChoice:
    """The indices of the chosen and the best candidate, each candidate's gap, and an explanation of the choice."""

    chosen: int
    best: int
    gaps: list[Gap]
    reason: str


def choose(candidates: Sequence[Candidate]) -> TrialChoice:
    """Choose the smallest candidate whose mean error is within one standard error of the best candidate's.

    The method is the one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984, section
    3.4.3), applied to the differences between the errors on the same rows.
    """
    numbers = range(len(candidates))
    best = min(numbers, key=lambda n: (candidates[n].mean, candidates[n].size))
    gaps = [_gap(candidate, candidates[best]) for candidate in candidates]
    chosen = min((n for n in numbers if gaps[n].negligible), key=lambda n: candidates[n].size)
    return TrialChoice(chosen, best, gaps, _reason(candidates, chosen, best, gaps))


def _gap(candidate: Candidate, best: Candidate) -> Gap:
    if candidate is best:
        return Gap(0.0, 0.0)
    if len(candidate.errors_N) == len(best.errors_N):
        return Gap(candidate.mean - best.mean, _standard_error(candidate.errors_N - best.errors_N))
    # Held-out text is evaluated in parts whose length depends on the network, so the parts cannot be paired.
    both = (_standard_error(candidate.errors_N), _standard_error(best.errors_N))
    return Gap(candidate.mean - best.mean, math.hypot(*both))


def _standard_error(values_N: Errors) -> float:
    return float(values_N.std(ddof=1)) / math.sqrt(len(values_N)) if len(values_N) > 1 else 0.0


def _reason(candidates: Sequence[Candidate], chosen: int, best: int, gaps: Sequence[Gap]) -> str:
    name, count = candidates[chosen].model, quantity(len(candidates), "trial")
    if len(candidates) == 1:
        return f"{name} is the only trial that succeeded"
    if chosen == best:
        equals = [candidates[n].model for n in range(len(candidates)) if gaps[n].mean == 0.0]
        if len(equals) > 1:
            lowest = "" if len(equals) == len(candidates) else f", the lowest of {count}"
            smallest = "smaller" if len(equals) == 2 else "smallest"
            return f"{listed(equals, 'and')} have the same validation error{lowest}, and {name} is the {smallest}"
        smaller = [n for n in range(len(candidates)) if candidates[n].size < candidates[best].size]
        if not smaller:
            return f"{name} has the lowest validation error of {count}, and no trial is smaller"
        return (
            f"{name} has the lowest validation error of {count}, and the error of each smaller trial "
            f"is more than one standard error higher"
        )
    gap = gaps[chosen]
    return (
        f"{name} is smaller than {candidates[best].model}, which has the lowest validation error; the difference "
        f"between their errors, {gap.mean:.4f}, is within one standard error ({gap.standard_error:.4f})"
    )
