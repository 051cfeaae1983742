"""Label scores in Hugging Face's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from app.api.http.caller import Caller
from app.api.http.presence import attended
from app.api.http.services import services_of
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.scoring import LabelScore, activate, ranked, sigmoid, softmax

VALUE = "LABEL_0"  # the name that Hugging Face's pipelines give to the value of a regression
FUNCTIONS: dict[str, Any] = {"softmax": softmax, "sigmoid": sigmoid, "none": list}


async def classified(request: Request, caller: Caller, items: Sequence[Item], policy: LengthPolicy) -> ScoredBatch:
    """Classify the items."""
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, policy, "inputs")
    return await attended(request, services_of(request).inference.classify(query))


def label_scores(scored: ScoredBatch, top_k: int | None = None, function: str | None = None) -> list[list[LabelScore]]:
    """Each item's labels with their scores, highest first."""
    version = scored.version
    if version.config.task == "regression":
        return [[LabelScore(VALUE, row[0])] for row in scored.rows]

    def scores(row: list[float]) -> list[float]:
        return FUNCTIONS[function](row) if function else activate(row, version.config.task)

    return [ranked(version.labels, scores(row), top_k) for row in scored.rows]
