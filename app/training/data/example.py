"""A checked row of training data: its input, target and split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, UNASSIGNED = 0, 1, 2, 3
SPLIT_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A segment of a text on which a language model is trained.

    The loss is computed over the tokens of turns whose `learned` is true; all other turns are context. If `ended` is
    true, the text is followed by the end token.
    """

    text: str
    learned: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a row: its labels, or its value for regression.

    `listed` is true if the labels come from a list, or from columns of zeros and ones. If `listed` is false, the label
    may consist of several labels, joined by a delimiter. `typed` contains the labels that are not written as text, but
    as numbers, dates or true/false.
    """

    labels: tuple[str, ...] = ()
    value: float = 0.0
    listed: bool = False
    typed: tuple[str, ...] = ()


NOTHING = Target()


@dataclass(frozen=True, slots=True)
class Example:
    """One checked row. The input of a row is either `text` (with an optional `pair`), `turns` or `features_TF`.

    `where` is the row's place in the file, such as 'line 7'. `series` is the name of the series, if the input is read
    from several rows. `notes` are keys of `notes.MESSAGES` that describe how the
    row was handled.
    """

    where: str
    text: str = ""
    pair: str | None = None
    turns: tuple[Turn, ...] = ()
    features_TF: NDArray[np.float64] | None = None
    target: Target = NOTHING
    split: int = UNASSIGNED
    notes: tuple[str, ...] = ()
    series: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the target."""
        return self.target.labels

    @property
    def value(self) -> float:
        """The value of the target."""
        return self.target.value

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the input, in order. For numeric features, this is one empty string."""
        if self.turns:
            return tuple(turn.text for turn in self.turns)
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def usable(self) -> bool:
        """Whether the row has any input to learn from."""
        if self.turns:
            return any(turn.text for turn in self.turns if turn.learned)
        return self.features_TF is not None or bool(self.text.strip())
