"""Inference outputs, as JSON or as bytes after the JSON."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from app.api.http.replies import encode
from app.api.openinference import signature, tensors
from app.api.openinference.bodies import HEADER
from app.api.openinference.infer_schemas import (
    InferReply,
    InferRequest,
    OutputParameters,
    OutputTensor,
    RequestedOutput,
)
from app.errors import InvalidRequest
from app.inference.queries import ScoredBatch
from app.inference.scoring import activate, ranked

CODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": lambda data: gzip.compress(data, 1), "deflate": zlib.compress}
EXCLUDED = re.compile(r"q\s*=\s*0(\.0*)?")
LEAST = 1024  # bytes: smaller replies are not compressed


@dataclass(frozen=True, slots=True)
class OutputValues:
    """An output's elements in row-major order. `labels` are the names along the last axis, if any."""

    name: str
    shape: list[int]
    elements: Sequence[Any]
    labels: Sequence[str] = ()

    @property
    def datatype(self) -> str:
        return signature.DATATYPES[self.name]


def scored_outputs(scored: ScoredBatch) -> list[OutputValues]:
    """All outputs of a classification or regression."""
    task, labels, count = scored.version.config.task, scored.version.labels, len(scored.rows)
    if task == "regression":
        return [OutputValues(signature.VALUE, [count], [row[0] for row in scored.rows])]
    rows = [activate(row, task) for row in scored.rows]
    best = [labels[max(range(len(row)), key=row.__getitem__)] for row in rows]
    return [
        OutputValues(signature.LABEL, [count], best),
        OutputValues(signature.PROBS, [count, len(labels)], [value for row in rows for value in row], labels),
    ]


def check_outputs(requested: Sequence[RequestedOutput] | None, names: Sequence[str]) -> None:
    """Raise InvalidRequest if a requested output does not exist or cannot be sent as classes."""
    for output in requested or ():
        if output.name not in names:
            raise InvalidRequest(
                f"unknown output {output.name[:80]!a}; the version has {' and '.join(names)}", param="outputs"
            )
        if output.parameters is not None and output.parameters.classification and output.name != signature.PROBS:
            raise InvalidRequest(
                f"{output.name} cannot be returned as classes; set classification only for probs", param="outputs"
            )


def reply(
    body: InferRequest, binary: bool, name: str, version: str, values: Sequence[OutputValues], accepted: str
) -> Response:
    """Build the reply.

    With `binary`, outputs are sent as bytes, unless the request specifies otherwise for an output. `accepted` is the
    Accept-Encoding header.
    """
    written = [_written(value, binary, output) for value, output in _chosen(body.outputs, values)]
    head = InferReply(name, version, [tensor for tensor, _ in written], body.id if body.id else msgspec.UNSET)
    content = encode(head)
    headers = {}
    if any(data is not None for _, data in written):
        headers[HEADER] = str(len(content))
        content += b"".join(data or b"" for _, data in written)
    media = "application/octet-stream" if headers else "application/json"
    coding = _coding(accepted) if len(content) >= LEAST else None
    if coding is not None:
        content, headers["content-encoding"] = CODERS[coding](content), coding
    return Response(content, headers=headers, media_type=media)


def _chosen(
    requested: Sequence[RequestedOutput] | None, values: Sequence[OutputValues]
) -> list[tuple[OutputValues, OutputParameters]]:
    if not requested:
        return [(value, OutputParameters()) for value in values]
    by_name = {value.name: value for value in values}
    return [(by_name[output.name], output.parameters or OutputParameters()) for output in requested]


def _written(value: OutputValues, binary: bool, output: OutputParameters) -> tuple[OutputTensor, bytes | None]:
    """Return a tensor and its bytes, which are None if the tensor is sent as JSON."""
    if output.classification:
        value = _classes(value, output.classification)
    datatype = tensors.BYTES if output.classification else value.datatype
    if not (binary if output.binary_data is None else output.binary_data):
        return OutputTensor(value.name, datatype, value.shape, list(value.elements)), None
    data = tensors.pack(value.elements, datatype)
    size = {"binary_data_size": len(data)}
    return OutputTensor(value.name, datatype, value.shape, parameters=size), data


def _classes(value: OutputValues, count: int) -> OutputValues:
    """The highest-scoring labels of each row, as `value:index:label`."""
    width = len(value.labels)
    numbers = {label: number for number, label in enumerate(value.labels)}
    best: list[str] = []
    for start in range(0, len(value.elements), width):
        top = ranked(value.labels, value.elements[start : start + width], count)
        best += [f"{entry.score:f}:{numbers[entry.label]}:{entry.label}" for entry in top]
    return OutputValues(value.name, [value.shape[0], min(count, width)], best)


def _coding(accepted: str) -> str | None:
    """The first content coding in the Accept-Encoding header that is in CODERS and not excluded by `q=0`, or None."""
    parts = [[field.strip().lower() for field in part.split(";")] for part in accepted.split(",")]
    return next((name for name, *q in parts if name in CODERS and not any(map(EXCLUDED.fullmatch, q))), None)
