"""`POST /v1/moderations`: finds the labels of a multilabel version that apply to a text, in OpenAI's format."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.fields import Truncation
from app.api.http.large_replies import build_reply, check_reply_size
from app.api.http.neutral_fields import MODERATIONS
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, encode_each, new_id
from app.api.http.services import services_of
from app.api.openapi.describe import Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.scoring import activate
from app.inference.versions import ResolvedVersion

router = APIRouter(tags=["classification"])
_NEEDS = "Needs a version with several labels per text, such as the one in docs/multilabel.md"


class ModerationPart(msgspec.Struct, frozen=True):
    """A part of a text. Images are not supported."""

    type: Annotated[str, Meta(extra_json_schema={"enum": ["text"]})]
    text: str | None = None


class ModerationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts to moderate: one text, a list of texts, or the parts of one text. The version must be multilabel.

    `truncate_prompt_tokens` is the number of tokens to which each text is truncated; -1 truncates it to the version's
    context length.
    """

    input: str | Annotated[list[str | ModerationPart], Meta(min_length=1)]
    model: str | None = None
    truncate_prompt_tokens: Truncation | None = None


class Moderation(msgspec.Struct, frozen=True):
    """One text's labels. A label applies if its score is at least the version's threshold."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class ModerationReply(msgspec.Struct, frozen=True):
    """Each text's labels, in the order of the texts."""

    id: str
    model: str
    results: list[Moderation]


_body = JsonBody(ModerationRequest, MODERATIONS)
_EXAMPLE: dict[str, Any] = {
    "id": "modr-0f3a",
    "model": "tickets",
    "results": [
        {
            "flagged": True,
            "categories": {"bug": True, "billing": False},
            "category_scores": {"bug": 0.93, "billing": 0.08},
            "category_applied_input_types": {"bug": ["text"], "billing": ["text"]},
        }
    ],
}


@router.post(
    "/v1/moderations",
    operation_id="create_moderation",
    summary="Find the labels that apply to texts",
    description="Returns the score of every label for each text, and the labels that apply. Requires a multilabel "
    "version. A text is flagged if at least one label applies.",
    response_model=None,
    openapi_extra=reads(
        ModerationRequest, one_text=Noted({"model": "tickets", "input": "the app crashes at start"}, _NEEDS)
    ),
    responses=replies(ModerationReply, _EXAMPLE),
)
async def create_moderation(request: Request) -> Response:
    body = await _body.read(request)
    caller, inference = Caller.read(request, body.model), services_of(request).inference
    items = await inference.items(_texts(body), "input")
    policy = LengthPolicy(truncate=body.truncate_prompt_tokens)
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, policy)

    def check(version: ResolvedVersion) -> None:
        _check(version, len(items))

    scored = await attended(request, inference.classify(query, check))
    return await build_reply(scored, partial(_reply, caller.reference, scored))


def _reply(reference: str, scored: ScoredBatch) -> Response:
    results: list[Any] = encode_each(_moderation(scored.version, row) for row in scored.rows)
    headers = answer_headers(scored.version.ref, sum(scored.lengths), scored.timing)
    return JsonReply(ModerationReply(new_id("modr"), reference, results), headers)


def _texts(body: ModerationRequest) -> str | list[str]:
    """A request's texts. A list of parts is treated as one text."""
    if isinstance(body.input, str):
        return body.input
    texts = [entry for entry in body.input if isinstance(entry, str)]
    if len(texts) == len(body.input):
        return texts
    if texts:
        raise InvalidRequest("input mixes texts and parts of a text; send only one kind", param="input")
    return "\n".join(
        _part(entry, f"input[{i}]") for i, entry in enumerate(body.input) if isinstance(entry, ModerationPart)
    )


def _part(part: ModerationPart, place: str) -> str:
    if part.type != "text":
        message = f"{place} is of type {part.type[:60]!a}, which is not supported; send only parts of type text"
        raise InvalidRequest(message, param=f"{place}.type")
    if part.text is None:
        raise InvalidRequest(f"{place}.text is missing", param=f"{place}.text")
    return part.text


def _check(version: ResolvedVersion, texts: int) -> None:
    """Reject a version that is not multilabel, and a reply that would be too large."""
    if version.config.task != "multilabel":
        raise InvalidRequest(
            f"{version.ref} is for {version.config.task}, but moderation requires a multilabel version, which has an "
            "independent score for each label; use POST /v1/classify instead",
            code="wrong_task",
            param="model",
        )
    check_reply_size(texts, len(version.labels), 2 * len(version.labels), "input")  # a category and a score per label


def _moderation(version: ResolvedVersion, row: list[float]) -> Moderation:
    scores = dict(zip(version.labels, activate(row, "multilabel"), strict=True))
    categories = {label: score >= version.threshold for label, score in scores.items()}
    return Moderation(any(categories.values()), categories, scores, {label: ["text"] for label in scores})
