"""Converts predictions to the cells of tables that are printed or saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.wording import quantity, shortest

_NO_ANSWER = "(no answer)"


@dataclass
class LabelCounts:
    """Counts the rows that have no label, although they have a text."""

    rows: int = 0
    abstained: int = 0  # rows whose score is too low for an option such as --max-risk
    below: int = 0  # rows without any label whose score reaches the threshold

    def add(self, item: dict[str, Any] | None) -> None:
        """Count the item of a row; None if the row has no text."""
        self.rows += 1
        if item is not None and item.get("abstained"):
            self.abstained += 1
        elif item is not None and item.get("labels") == []:
            self.below += 1

    def sentence(self, options: Mapping[str, Any]) -> str:
        """Return how many rows have no label, and why, or "" if there are none. `options` are those of the request."""
        names = {"abstain_below": "--abstain-below", "max_risk": "--max-risk"}
        used = " and ".join(f"{name} {options[key]:g}" for key, name in names.items() if key in options)
        reasons = (
            (self.abstained, f"the highest score is too low for {used or 'the version'}"),
            (self.below, "no score reaches the threshold"),
        )
        return "; ".join(self._part(count, reason) for count, reason in reasons if count)

    def _part(self, count: int, reason: str) -> str:
        verb = "has" if count == 1 else "have"
        return f"{count:,} of {quantity(self.rows, 'row')} {verb} no label, because {reason}"


def columns_of(item: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
    """The columns that a prediction adds to a table: label and score or, for a regression, the value.

    Prediction sets, intervals and abstentions add more columns.
    """
    if item is None:
        return {}
    more = {name: item[name] for name in ("set", "interval", "abstained") if name in item}
    return {name: _plain(value) for name, value in (_answer(item, top_k) | more).items()}


def _plain(value: Any) -> Any:
    """Round a number, or the numbers in a list, to the precision of the network. Return other values unchanged."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return shortest(value) if isinstance(value, float) else value


def _answer(item: dict[str, Any], top_k: int | None) -> dict[str, Any]:
    if item.get("value") is not None:
        return {"value": item["value"]}
    if item.get("abstained"):
        return {"label": None, "score": _best_score(item)}
    scores = {entry["label"]: entry["score"] for entry in item.get("scores") or []}
    if item.get("labels") is None and not top_k:
        return {"label": item["label"], "score": scores.get(item["label"], _best_score(item))}
    labels = list(scores) if top_k else item["labels"]
    return {"label": labels, "score": [scores.get(label, 0.0) for label in labels]}


def answers_of(
    items: Sequence[dict[str, Any] | None], top_k: int | None = None, *, with_sets: bool = False
) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a printed table of predictions. The row of an item that is None is blank.

    For a regression, the column is the value. For other tasks, the columns are the label and its score, or a single
    column if a text may have several labels. With `with_sets`, the last column contains prediction sets or intervals.
    """
    answer: Callable[[dict[str, Any]], list[str]]
    answers = [item for item in items if item is not None]
    if is_value := any(item.get("value") is not None for item in answers):
        columns, answer = ["value"], _value
    elif (top_k or 1) > 1 or any(item.get("labels") is not None for item in answers):
        columns, answer = ["labels and scores"], partial(_labels_and_scores, is_top=bool(top_k))
    else:
        columns, answer = ["label", "score"], _label_and_score
    columns += ["interval" if is_value else "set"] * with_sets
    blank = [""] * len(columns)
    return columns, [blank if i is None else [*answer(i), *([_set_of(i)] if with_sets else [])] for i in items]


def _value(item: dict[str, Any]) -> list[str]:
    return [f"{item['value']:.4f}"]


def _label_and_score(item: dict[str, Any]) -> list[str]:
    if item.get("abstained"):
        return [_NO_ANSWER, _shown(_best_score(item))]
    scores = {entry["label"]: entry["score"] for entry in item.get("scores") or []}
    return [str(item["label"]), _shown(scores.get(item["label"], _best_score(item)))]


def _labels_and_scores(item: dict[str, Any], *, is_top: bool) -> list[str]:
    """One cell with the labels of a text and their scores. With `is_top`, all labels of the reply are shown."""
    if item.get("abstained"):
        return [f"{_NO_ANSWER} {_shown(_best_score(item))}"]
    scores = {entry["label"]: entry["score"] for entry in item.get("scores") or []}
    labels = list(scores) if (is_top and scores) or item.get("labels") is None else item["labels"]
    return [", ".join(f"{label} {_shown(scores.get(label, 0.0))}" for label in labels) or "-"]


def _set_of(item: dict[str, Any]) -> str:
    """An item's prediction set or, for a regression, its interval."""
    if "interval" in item:
        low, high = item["interval"]
        return f"{low:.4f} to {high:.4f}"
    return ", ".join(item.get("set") or []) or "-"


def shorten(text: Any, width: int = 70) -> str:
    """Shorten a text or a pair of texts to `width` characters."""
    if text is None:
        return ""
    shown = " | ".join(text.values()) if isinstance(text, dict) else str(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def _shown(score: float) -> str:
    """Format a score with three decimal places. Only a score of exactly 1 is shown as 1.000."""
    return f"{min(score, 0.999) if score < 1 else score:.3f}"


def _best_score(item: dict[str, Any]) -> float:
    scores: list[float] = [entry["score"] for entry in item.get("scores") or []] or item.get("probs") or [0.0]
    return max(scores)
