"""`PUT …/versions/{version}/probes`: the inputs with which engines compare data types."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.caller import time_limit
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import reads, replies
from app.api.openapi.parameters import OWN_MODEL
from app.errors import InvalidRequest
from app.inference import items
from app.inference.inputs import TokenizedInput, prepare
from app.inference.lengths import LengthPolicy
from app.inference.versions import ResolvedVersion
from app.wire.probes import IMPORT, LIMIT, MOST, STEPS, ProbeSet, encode

router = APIRouter(prefix="/v1/registry/models/{name}/versions", tags=["registry"])


class ProbesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 500 typical inputs of a version: texts or, for a version that reads numbers, an array with the axes batch,
    time and feature. Inputs longer than 256 tokens or steps are truncated.
    """

    input: Annotated[list[str | list[int | str | list[float]]], Meta(min_length=1, max_length=MOST)]


class ProbesObject(msgspec.Struct, frozen=True):
    """The number of probes that were stored for a version."""

    id: str
    object: str
    probes: int


_body = JsonBody(ProbesRequest)
_EXAMPLE = {"id": f"{OWN_MODEL}:1", "object": "model.version.probes", "probes": 500}


@router.put(
    "/{version}/probes",
    operation_id="set_model_version_probes",
    summary="Set the probes of a version",
    description=(
        "Stores typical inputs of the version, its probes, as token ids or numbers. With `OSTINATO_DTYPE=auto`, an "
        "engine that loads the version uses a faster data type than float32 only if the version's answers to the "
        "probes stay within fixed bounds of the float32 answers. New probes take effect the next time the version is "
        "loaded. No route returns probes, and exports do not contain them. They are deleted with the version, and "
        "with the file on which it was trained."
    ),
    response_model=None,
    openapi_extra=reads(ProbesRequest, texts={"input": ["a delight from start to end"]}),
    responses=replies(ProbesObject, _EXAMPLE),
)
async def set_probes(
    services: ServicesDep, principal: Principal, request: Request, name: str, version: int
) -> Response:
    body = await _body.read(request)
    record = await asyncio.to_thread(services.registry.get, name, version, principal)
    parsed = items.parse(body.input, "input", MOST)

    def work(resolved: ResolvedVersion) -> bytes:
        return _encoded(prepare(parsed, resolved, LengthPolicy(truncate=min(STEPS, resolved.config.context_length))))

    _, data = await services.inference.read(record.ref, principal, time_limit(request), items.size_of(parsed), work)
    await asyncio.to_thread(services.probes.store, record, data)
    return JsonReply(ProbesObject(record.ref, "model.version.probes", len(parsed)))


def _encoded(tokenized: TokenizedInput) -> bytes:
    data = encode(ProbeSet(IMPORT, tokenized.sequences, tokenized.features, standardised=False))
    if len(data) > LIMIT:
        raise InvalidRequest(
            f"input is too large: its numbers take up {len(data)} bytes; the limit is {LIMIT}", param="input"
        )
    return data
