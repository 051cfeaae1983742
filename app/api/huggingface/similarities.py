"""Text embeddings, and the similarity of a text to other texts."""

from __future__ import annotations

import math

import msgspec
from fastapi import Request

from app.api.http.caller import Caller
from app.api.http.presence import attended
from app.api.http.services import services_of
from app.errors import InvalidRequest
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch


class SimilarityInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text, and the texts to compare it with."""

    source_sentence: str
    sentences: list[str]


async def embedded(
    request: Request, caller: Caller, value: object, policy: LengthPolicy, dimensions: int = 0
) -> ScoredBatch:
    """Return a unit vector for each text in a request's `inputs`."""
    inference = services_of(request).inference
    items = await inference.items(value, "inputs")
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, policy, "inputs")
    return await attended(request, inference.embed(query, dimensions))


async def similarities(
    request: Request, caller: Caller, texts: SimilarityInput, policy: LengthPolicy
) -> tuple[list[float], ScoredBatch]:
    """Return the cosine similarity of the source text to each sentence."""
    if not texts.sentences:
        raise InvalidRequest("sentences is empty", param="inputs.sentences")
    scored = await embedded(request, caller, [texts.source_sentence, *texts.sentences], policy)
    source, *others = scored.rows
    return [math.fsum(a * b for a, b in zip(source, other, strict=True)) for other in others], scored


def length_policy(truncate: bool | None, direction: str | None = None) -> LengthPolicy:
    """Return the policy for texts that are too long: whether to truncate them, and on which side."""
    side = "left" if direction is not None and direction.lower() == "left" else "right"
    return LengthPolicy(truncate=-1 if truncate else None, side=side, remedy="truncate: true")


def check_normalized(normalize: bool | None) -> None:
    """Raise ValueError if a request asks for vectors that are not normalised."""
    if normalize is False:
        raise ValueError("normalize: false is not supported, because all vectors have unit length")
