"""Warns about numbers in features that are so far from the others that the others hardly differ after scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.training.data.collector import Place
from app.training.data.missing_marks import missing_marks
from app.training.data.outliers import FAR, FEWEST

_ROW_STEPS = 64  # the largest number of steps that the sample takes from the beginning of a row
_SAMPLE = 128  # the number of rows after which the sample drops every second row
_NUMBERS = 1 << 20  # the sample has about this many numbers at most, unless a row has more than 2**16 features
_MOST_FEATURES = 5  # the number of features that are reported


@dataclass(slots=True)
class FeatureExtremes:
    """The smallest and the largest number of each feature, with the places of their rows, and a sample of the steps."""

    _lowest_F: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _highest_F: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _places: dict[tuple[int, bool], Place] = field(default_factory=dict)  # (feature, whether it is the largest number)
    _sample: list[NDArray[np.float64]] = field(default_factory=list)
    _rows: int = 0
    _stride: int = 1  # the sample contains every row whose number is a multiple of this

    def add(self, steps_TF: NDArray[np.float64], place: Place) -> None:
        """Take a row's steps into account. All rows have the same number of features."""
        if not self._rows:
            self._lowest_F, self._highest_F = np.full(steps_TF.shape[1], np.inf), np.full(steps_TF.shape[1], -np.inf)
        low_F, high_F = steps_TF.min(0), steps_TF.max(0)
        self._places |= {(int(f), False): place for f in np.flatnonzero(low_F < self._lowest_F)}
        self._places |= {(int(f), True): place for f in np.flatnonzero(high_F > self._highest_F)}
        self._lowest_F, self._highest_F = np.minimum(self._lowest_F, low_F), np.maximum(self._highest_F, high_F)
        if self._rows % self._stride == 0:
            features = max(1, steps_TF.shape[1])
            self._sample.append(steps_TF[: max(1, min(_ROW_STEPS, _NUMBERS // (_SAMPLE * features)))].copy())
            if len(self._sample) > max(2 * FEWEST, min(_SAMPLE, _NUMBERS // features)):
                self._sample, self._stride = self._sample[::2], 2 * self._stride
        self._rows += 1

    def remark(self, names: Sequence[str] = ()) -> None:
        """Warn about each feature with a number far from the others. `names` are the names of the features' columns."""
        if not self._sample or sum(map(len, self._sample)) < FEWEST:
            return
        steps_SF = np.concatenate(self._sample)
        marks = self._tell_marks(names, steps_SF)
        with np.errstate(all="ignore"):
            quartiles_3F = np.percentile(steps_SF, (25, 50, 75), axis=0)
        reported = 0
        for f, (low, median, high) in enumerate(quartiles_3F.T):
            is_largest = self._highest_F[f] - median >= median - self._lowest_F[f]
            value = float(self._highest_F[f] if is_largest else self._lowest_F[f])
            is_far = high > low and abs(value - median) > FAR * (high - low)
            if not is_far or value == marks.get(f) or reported >= _MOST_FEATURES:
                continue
            reported += 1
            self._tell(names[f] if names else "", f, value, (float(low), float(high)), bool(is_largest))

    def _tell_marks(self, names: Sequence[str], steps_SF: NDArray[np.float64]) -> dict[int, float]:
        """Warn about numbers that stand for missing values, and return them by feature."""
        marks = {}
        for f, (mark, share, low, high) in list(missing_marks(steps_SF).items())[:_MOST_FEATURES]:
            marks[f] = mark
            shown = repr(names[f]) if names else str(f + 1)
            is_extreme = mark in (self._lowest_F[f], self._highest_F[f])
            place = self._places[f, mark > high]
            message = (
                f"has numbers that probably stand for missing values: about {100 * share:.0f} % of the numbers of "
                f"feature {shown} are {mark:g}, and the others are between {low:g} and {high:g}; if they do, fill in "
                "these values or leave out their rows, because they are read as measured numbers"
            )
            where = place.where if is_extreme else ""
            place.layout.source.remark(f"missing_marks {shown}", message, where, level="warn")
        return marks

    def _tell(self, name: str, f: int, value: float, middle: tuple[float, float], is_largest: bool) -> None:
        place = self._places[f, is_largest]
        shown = repr(name) if name else str(f + 1)
        message = (
            f"feature {shown} has the number {value:g}, far from the others (half of them are between "
            f"{middle[0]:g} and {middle[1]:g}); a single such number makes the differences between the others very "
            "small, so check it"
        )
        place.layout.source.remark(f"feature_outliers {shown}", message, place.where, level="warn")
