"""Label scores in Hugging Face's format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from fastapi import Request

from app.api.http.caller import Caller
from app.api.http.large_replies import build_reply, check_reply_size
from app.api.http.presence import attended
from app.api.http.replies import encode_each
from app.api.http.services import services_of
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.scoring import LabelScore, activate, ranked, sigmoid, softmax
from app.inference.versions import ResolvedVersion

VALUE = "LABEL_0"  # the name that Hugging Face's pipelines give to the value of a regression
FUNCTIONS: dict[str, Any] = {"softmax": softmax, "sigmoid": sigmoid, "none": list}


async def classified(
    request: Request, caller: Caller, items: Sequence[Item], policy: LengthPolicy, top_k: int | None = None
) -> ScoredBatch:
    """Classify the items. Raises InvalidRequest if the reply, with `top_k` scores for each item, would be too large."""

    def check(version: ResolvedVersion) -> None:
        labels = len(version.labels)
        check_reply_size(len(items), labels, min(top_k or labels, labels), "inputs")

    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, policy, "inputs")
    return await attended(request, services_of(request).inference.classify(query, check))


async def label_scores(scored: ScoredBatch, top_k: int | None = None, function: str | None = None) -> list[msgspec.Raw]:
    """Return each item's labels with their scores, highest first. Each list of LabelScore is encoded as JSON."""
    version = scored.version

    def scores(row: list[float]) -> list[LabelScore]:
        if version.config.task == "regression":
            return [LabelScore(VALUE, row[0])]
        values = FUNCTIONS[function](row) if function else activate(row, version.config.task)
        return ranked(version.labels, values, top_k)

    return await build_reply(scored, partial(encode_each, map(scores, scored.rows)))
