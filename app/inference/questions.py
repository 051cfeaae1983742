"""Typed questions about one input, answered with a version's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import InvalidRequest, did_you_mean
from app.inference.answers import AnswerReading, LabelReading, ScaleReading, SelectionReading
from app.inference.versions import ResolvedVersion

POSITIVE = frozenset(("true", "yes", "1", "positive"))  # names of a binary version's positive label, in lower case
SHOWN = 8  # the maximum number of labels in an error message
SEARCHED = 1000  # the maximum number of labels that are searched for the most similar one


@dataclass(frozen=True, slots=True)
class Predicate:
    """A question about whether something is true, answered with the probability of one label.

    `place` is the path of the question in the request, for use in error messages. `name` may be a label; otherwise, the
    version's only label or its positive label is used.
    """

    place: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class OptionChoice:
    """A question about which of several unordered options applies. `field` is the request field with the options."""

    place: str
    field: str
    options: Sequence[str | bool]


@dataclass(frozen=True, slots=True)
class Rating:
    """A question that asks for a position on an ordered scale.

    `field` is the request field with the levels, lowest first.
    """

    place: str
    field: str
    levels: Sequence[str]


TypedQuestion = Predicate | OptionChoice | Rating


@dataclass(frozen=True)
class QuestionReader:
    """Matches questions with one version's labels. `read` raises InvalidRequest if the version cannot answer."""

    version: ResolvedVersion
    positions: Mapping[str, int]  # label -> its index

    @classmethod
    def of(cls, version: ResolvedVersion) -> QuestionReader:
        return cls(version, {label: index for index, label in enumerate(version.labels)})

    def read(self, question: TypedQuestion) -> AnswerReading:
        """Return the reading that computes the answer to a question from the outputs of the version's head."""
        if self.version.config.task == "regression":
            return self._on_scale(question)
        if isinstance(question, Predicate):
            return LabelReading(self._predicate(question))
        if isinstance(question, OptionChoice):
            place = f"{question.place}.{question.field}"
            return self._selection([self._option(option, place) for option in question.options], place)
        return self._rating(question)

    def _predicate(self, question: Predicate) -> int:
        labels = self.version.labels
        if question.name is not None and question.name in self.positions:
            return self.positions[question.name]
        positive = 0 if len(labels) == 1 else positive_index(labels)
        if positive is not None:
            return positive
        hint = "" if question.name is None else did_you_mean(question.name, labels[:SEARCHED])
        raise InvalidRequest(
            f"{question.place} does not specify a label. A label is required, unless the version has two labels and "
            f"one of them is 'true', 'yes', '1' or 'positive'; set the question's name to a label of "
            f"{self.version.ref} ({self._shown()}){hint}",
            code="unknown_label",
            param=question.place,
        )

    def _rating(self, question: Rating) -> AnswerReading:
        place, labels = f"{question.place}.{question.field}", self.version.labels
        described = len(question.levels) == len(labels) and self.positions.keys().isdisjoint(question.levels)
        if described and _numeric(labels):
            # The labels are numbers, and the levels describe them, from the lowest number to the highest.
            return SelectionReading(tuple(sorted(range(len(labels)), key=lambda index: float(labels[index]))))
        return self._selection([self._option(level, place) for level in question.levels], place)

    def _on_scale(self, question: TypedQuestion) -> ScaleReading:
        if not isinstance(question, Rating):
            raise InvalidRequest(
                f"{question.place}: {self.version.ref} predicts a number, so it can only answer questions of type "
                "score",
                code="wrong_task",
                param=question.place,
            )
        levels = question.levels
        values = tuple(map(float, levels if _numeric(levels) else range(len(levels))))
        if len(set(values)) < len(values):
            place = f"{question.place}.{question.field}"
            raise InvalidRequest(f"{place} contains a level twice; levels must be unique", param=place)
        return ScaleReading(values)

    def _option(self, option: str | bool, place: str) -> int:
        """The index of the label that an option represents.

        For a binary version, true is the positive label and false is the other label. For other versions, true and
        false are the labels with these names.
        """
        if isinstance(option, bool):
            positive = positive_index(self.version.labels)
            if positive is not None:
                return positive if option else 1 - positive
            option = str(option).lower()
        index = self.positions.get(option)
        if index is not None:
            return index
        raise InvalidRequest(
            f"{place}: {option[:60]!a} is not a label of {self.version.ref}"
            + did_you_mean(option, self.version.labels[:SEARCHED], f"; its labels are {self._shown()}"),
            code="unknown_label",
            param=place,
        )

    def _selection(self, indices: list[int], place: str) -> SelectionReading:
        if len(set(indices)) < len(indices):
            twice = next(index for i, index in enumerate(indices) if index in indices[:i])
            label = self.version.labels[twice]
            raise InvalidRequest(f"{place} contains the label {label[:60]!a} twice; labels must be unique", param=place)
        return SelectionReading(tuple(indices))

    def _shown(self) -> str:
        labels = self.version.labels
        shown = ", ".join(ascii(label[:60]) for label in labels[:SHOWN])
        return shown if len(labels) <= SHOWN else f"{shown}, …"


def positive_index(labels: Sequence[str]) -> int | None:
    """The index of a binary version's positive label, or None if the labels do not determine it."""
    positive = [index for index, label in enumerate(labels) if label.casefold() in POSITIVE]
    return positive[0] if len(labels) == 2 and len(positive) == 1 else None


def _numeric(levels: Sequence[str]) -> bool:
    """Whether all levels are finite numbers."""
    try:
        return all(abs(float(level)) < float("inf") for level in levels)
    except ValueError:
        return False
