"""The contents of a batch's run directory, which the worker and the batch program share, and the limits of batches."""

from __future__ import annotations

import msgspec

from app.wire.trainer import DataFile

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/classify",
    "/v1/decisions",
)
MOST_REQUESTS = 50_000
MOST_BYTES = 200 * 2**20
MOST_ANSWER_BYTES = 2 * 2**30  # maximum size of all answers together; the result files take up the same space again
WINDOW, WINDOW_SECONDS = "24h", 86_400.0  # the only completion window
SPEC, INPUT = "batch.json", "inputs/requests.jsonl"
ANSWERS = "answers"  # the spool of `app.runs.batch_spool`


class BatchFault(msgspec.Struct, frozen=True):
    """The reason why a batch request has no reply: it was not sent to its route, or its reply was not stored."""

    code: str
    message: str


class BatchResponse(msgspec.Struct, frozen=True):
    """The reply of a route to one request of a batch."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class BatchAnswer(msgspec.Struct, frozen=True):
    """A line of the output file or of the error file. Either `response` or `error` is set."""

    id: str
    custom_id: str
    response: BatchResponse | None
    error: BatchFault | None


class BatchSpec(msgspec.Struct, frozen=True):
    """The batch program's input, which is the same for every attempt. `owner` is the principal of all requests."""

    endpoint: str
    owner: str
    file: DataFile
