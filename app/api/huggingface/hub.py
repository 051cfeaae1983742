"""The inference API: `POST /models/{name}`, and `POST /` for the default model. The task depends on the version."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_types import NoText
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.services import services_of
from app.api.http.vectors import encoded, shortened
from app.api.huggingface.details import GenerationReply, StreamEvent
from app.api.huggingface.generate import EVENTS, WHOLE
from app.api.huggingface.parameters import HubParameters
from app.api.huggingface.predict import Direction
from app.api.huggingface.queries import TaskQuery
from app.api.huggingface.scores import classified, label_scores
from app.api.huggingface.similarities import (
    SimilarityInput,
    check_normalized,
    embedded,
    length_policy,
    similarities,
)
from app.api.huggingface.texts import generated
from app.api.openapi.describe import NUMBER, list_schema, reads, replies_json, schema_of
from app.errors import InvalidRequest
from app.inference.items import Pair
from app.inference.scoring import LabelScore

router = APIRouter(tags=["Hugging Face"])
CLASSIFICATION, GENERATION = "text-classification", "text-generation"
FEATURES, SIMILARITY = "feature-extraction", "sentence-similarity"
TASKS = (CLASSIFICATION, GENERATION, FEATURES, SIMILARITY)


class HubInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text or a pair of texts (`text`, `text_pair`), or a text and the texts to compare it with (`source_sentence`,
    `sentences`)."""

    text: str | None = None
    text_pair: str | None = None
    source_sentence: str | None = None
    sentences: list[str] | None = None

    @property
    def pair(self) -> Pair:
        """The text and, if there is one, the second text of the pair. Raises InvalidRequest if `text` is missing."""
        if self.text is None:
            raise InvalidRequest("inputs.text is missing", param="inputs.text")
        return Pair(self.text, self.text_pair)

    @property
    def comparison(self) -> SimilarityInput:
        """The texts to compare. Raises InvalidRequest if one of the two fields is missing."""
        if self.source_sentence is None or self.sentences is None:
            raise InvalidRequest("inputs must contain both source_sentence and sentences", param="inputs")
        return SimilarityInput(self.source_sentence, self.sentences)


class HubRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to run a version.

    `inputs` is a text, a {text, text_pair} object, or a list of these; for similarities, a {source_sentence, sentences}
    object; for a version that reads numbers, an array with the axes batch, time and feature. `stream` applies only to
    generated text, `dimensions` only to embeddings, and `truncate` to everything but generated text.
    """

    inputs: str | HubInput | list[str | HubInput | list[list[float]]]
    parameters: HubParameters | None = None
    stream: bool | None = False
    options: dict[str, Any] | None = None
    normalize: Annotated[bool, Meta(extra_json_schema={"enum": [True]})] | None = None
    truncate: bool | None = None
    truncation_direction: Direction | None = None
    prompt_name: NoText | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Annotated[str, Meta(extra_json_schema={"enum": ["float"]})] | None = None

    def __post_init__(self) -> None:
        check_normalized(self.normalize)
        if self.encoding_format not in (None, "float"):
            raise ValueError("encoding_format must be float")


_body = JsonBody(HubRequest)
_SCORED = [[{"label": "positive", "score": 0.91}, {"label": "negative", "score": 0.09}]]
_RESPONSES = replies_json(
    {
        "description": "Lists of scored labels, a list with the generated text, vectors, or similarities",
        "anyOf": [
            list_schema(list_schema(schema_of(LabelScore))),
            list_schema(schema_of(GenerationReply)),
            list_schema(list_schema(NUMBER)),
            list_schema(NUMBER),
        ],
    },
    {"text classification": _SCORED, "text generation": [WHOLE], "feature extraction": [[0.12, -0.98, 0.16]]},
    named=True,
    stream=EVENTS,
    event=StreamEvent,
)
_DOCS: dict[str, Any] = {
    "description": (
        "Classifies, continues, embeds or compares texts, in the formats of `huggingface_hub.InferenceClient`. The "
        "task is the version's task, unless the path or `?task=` specifies another one, or `inputs` contains "
        "`source_sentence`. `POST /` uses the model named by `?model=`, the header `X-Model` or "
        "`OSTINATO_DEFAULT_MODEL`."
    ),
    "response_model": None,
    "responses": _RESPONSES,
}
_CLASSIFY = {"inputs": "I love this!", "parameters": {"top_k": 2}}
_COMPARE = {"inputs": {"source_sentence": "good", "sentences": ["fine", "bad"]}}


@router.post(
    "/models/{name}",
    operation_id="hub_model",
    summary="Ask a model (Hugging Face)",
    openapi_extra=reads(HubRequest, text=_CLASSIFY, comparison=_COMPARE),
    **_DOCS,
)
async def hub_model(request: Request, name: str, task: TaskQuery = None) -> Response:
    return await _answer(request, name, task)


@router.post(
    "/models/{name}/pipeline/{task}",
    operation_id="hub_pipeline",
    summary="Ask a model for one task (Hugging Face)",
    openapi_extra=reads(HubRequest, text={"inputs": "I love this!"}),
    **_DOCS,
)
async def hub_pipeline(request: Request, name: str, task: str) -> Response:
    return await _answer(request, name, task)


@router.post("/", include_in_schema=False)
async def hub_default_model(request: Request, task: TaskQuery = None) -> Response:
    return await _answer(request, None, task)


async def _answer(request: Request, model: str | None, task: str | None) -> Response:
    body, caller = await _body.read(request), Caller.read(request, model)
    if task is not None and task not in TASKS:
        raise InvalidRequest(f"task must be one of {', '.join(TASKS)}", param="task")
    if task is None:
        task = await _own_task(request, caller, body)
    if task == GENERATION:
        if not isinstance(body.inputs, str):
            raise InvalidRequest("inputs must be one text, because the model generates text", param="inputs")
        parameters = body.parameters or HubParameters()
        return await generated(request, caller, body.inputs, parameters, bool(body.stream), listed=True)
    if task == CLASSIFICATION:
        return await _classified(request, caller, body)
    return await (_embedded if task == FEATURES else _compared)(request, caller, body)


async def _own_task(request: Request, caller: Caller, body: HubRequest) -> str:
    """Return the task of a request that does not name one: similarity for a comparison, or the version's task."""
    if isinstance(body.inputs, HubInput) and body.inputs.source_sentence is not None:
        return SIMILARITY
    version = await services_of(request).inference.versions.get(caller.reference, caller.principal)
    return {"generation": GENERATION, "embedding": FEATURES}.get(version.config.task, CLASSIFICATION)


def _plain(body: HubRequest) -> Any:
    """Return the inputs as a list, with each object converted to a pair."""
    entries = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    return [entry.pair if isinstance(entry, HubInput) else entry for entry in entries]


async def _classified(request: Request, caller: Caller, body: HubRequest) -> Response:
    items = await services_of(request).inference.items(_plain(body), "inputs")
    policy = length_policy(body.truncate, body.truncation_direction)
    parameters = body.parameters or HubParameters()
    scored = await classified(request, caller, items, policy, parameters.top_k)
    scores = await label_scores(scored, parameters.top_k, parameters.function_to_apply)
    return JsonReply(scores, answer_headers(scored.version.ref, sum(scored.lengths), scored.timing))


async def _embedded(request: Request, caller: Caller, body: HubRequest) -> Response:
    policy = length_policy(body.truncate, body.truncation_direction)
    scored = await embedded(request, caller, _plain(body), policy, body.dimensions or 0)
    rows = scored.rows if body.dimensions is None else [shortened(row, body.dimensions) for row in scored.rows]
    return JsonReply(await encoded(rows), answer_headers(scored.version.ref, sum(scored.lengths), scored.timing))


async def _compared(request: Request, caller: Caller, body: HubRequest) -> Response:
    if not isinstance(body.inputs, HubInput):
        raise InvalidRequest("inputs must be an object with source_sentence and sentences", param="inputs")
    policy = length_policy(body.truncate, body.truncation_direction)
    scores, scored = await similarities(request, caller, body.inputs.comparison, policy)
    return JsonReply(scores, answer_headers(scored.version.ref, sum(scored.lengths), scored.timing))
