"""Compares the feature columns of a table with those that a version was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.training.data.layouts import Layout
from app.training.data.usual_names import quoted


def other_features(training: dict[str, Any], version: str, layout: Layout) -> str:
    """Return a warning if a table's feature columns differ from those of a version, in name or order; otherwise "".

    A network only knows the positions of the features. `training` is the unchecked content of the version's
    `training.json`, and `version` names the version in the warning. Imported versions do not store the columns.
    """
    trained, present = _trained_features(training), list(layout.steps)
    if not trained or len(trained) != len(present) or trained == present:
        return ""
    message = (
        f"has the features {quoted(present)}, but {version} was trained with {quoted(trained)}, and features are "
        "matched by their order, not by their names; "
    )
    if sorted(trained) == sorted(present):
        return f"{message}set columns.features to {','.join(trained)!r}, otherwise the predictions are wrong"
    return f"{message}check that these columns contain the same quantities in the same order"


def _trained_features(training: dict[str, Any]) -> Sequence[str]:
    """Return the names of the feature columns in `training.json`, or [] if it does not contain them."""
    value: Any = training
    for key in ("data", "report", "columns", "features"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) and all(isinstance(name, str) for name in value) else []
