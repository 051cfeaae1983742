"""Converts predictions to cells of a table, which is printed or saved."""

from __future__ import annotations

from typing import Any


def columns_of(item: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
    """The columns that a prediction adds to a table: label and score or, for a regression, the value.

    Prediction sets, intervals and abstentions add more columns.
    """
    if item is None:
        return {}
    more = {name: item[name] for name in ("set", "interval", "abstained") if name in item}
    return _answer(item, top_k) | more


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


def label_and_score(item: dict[str, Any], top_k: int | None = None) -> tuple[str, str]:
    """The label and score cells in a text's row. For a regression, the cells are "" and the predicted value.

    If the text has several labels, each cell contains one entry per label, separated by spaces.
    """
    if item.get("value") is not None:
        return "", f"{item['value']:.4f}"
    if item.get("abstained"):
        return "(no answer)", _shown(_best_score(item))
    scores = {entry["label"]: entry["score"] for entry in item.get("scores") or []}
    if item.get("labels") is not None and not top_k:
        return " ".join(item["labels"]) or "-", " ".join(_shown(scores.get(label, 0.0)) for label in item["labels"])
    if top_k and scores:
        return " ".join(scores), " ".join(map(_shown, scores.values()))
    best = scores.get(item["label"], _best_score(item))
    return str(item["label"]), _shown(best)


def set_of(item: dict[str, Any]) -> str:
    """An item's prediction set or, for a regression, its interval."""
    if "interval" in item:
        low, high = item["interval"]
        return f"{low:.4f} to {high:.4f}"
    return " ".join(item.get("set") or []) or "-"


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
