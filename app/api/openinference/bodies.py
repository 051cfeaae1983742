"""Request bodies of `infer`: JSON, optionally followed by the bytes of tensors."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from fastapi import Request

from app.api.http.bodies import JsonBody
from app.api.openinference import tensors
from app.api.openinference.infer_schemas import InferParameters, InferRequest, InputTensor
from app.errors import InvalidRequest

INLINE = 100_000  # inputs with more elements and bytes in total than this are decoded in a worker thread
HEADER = "inference-header-content-length"
DIGITS = re.compile("[0-9]{1,10}")
_body = JsonBody(InferRequest, media=("application/octet-stream",))  # the type that Triton's client sends


def parameters_of(body: InferRequest) -> InferParameters:
    """The parameters of the request. Raises InvalidRequest if one of them is invalid."""
    try:
        return msgspec.convert(body.parameters or {}, InferParameters)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"parameters: {error}", param="parameters") from None


async def read_body(request: Request) -> tuple[InferRequest, list[list[Any]]]:
    """Return the request and each input's elements. Raises InvalidRequest or UnsupportedMedia."""
    length = request.headers.get(HEADER)
    if length is None:
        body = await _body.read(request)
        return body, await _read(body, b"")
    payload = await request.body()
    if not DIGITS.fullmatch(length) or int(length) > len(payload):
        raise InvalidRequest(f"{HEADER} must be the length of the JSON in bytes, at most {len(payload)}", param=HEADER)
    body = _body.decode(payload[: int(length)])
    return body, await _read(body, payload[int(length) :])


async def _read(body: InferRequest, binary: bytes) -> list[list[Any]]:
    """Decode the inputs, in a thread if they are large."""
    if len(binary) + sum(tensors.size_of(tensor.shape) for tensor in body.inputs) <= INLINE:
        return _elements(body, binary)
    return await asyncio.to_thread(_elements, body, binary)


def _elements(body: InferRequest, binary: bytes) -> list[list[Any]]:
    """Each input's elements. The bytes of binary inputs are concatenated in the order of the inputs."""
    place, elements = 0, []
    for tensor in body.inputs:
        size = None if tensor.parameters is None else tensor.parameters.binary_data_size
        if size is None:
            elements.append(_from_json(tensor))
            continue
        elements.append(_from_bytes(tensor, binary[place : place + size], size))
        place += size
    if place != len(binary):
        raise InvalidRequest(f"the inputs require {place} bytes after the JSON, but the request has {len(binary)}")
    return elements


def _from_bytes(tensor: InputTensor, data: bytes, size: int) -> list[Any]:
    if tensor.data is not None:
        raise InvalidRequest(f"input {tensor.name!a} has both data and binary_data_size", param="inputs")
    if len(data) < size:
        raise InvalidRequest(f"input {tensor.name!a} has fewer bytes than its binary_data_size, {size}", param="inputs")
    count = tensors.size_of(tensor.shape)
    if tensor.datatype == tensors.BYTES:
        if count > size:  # even an empty text takes up the four bytes of its length
            raise InvalidRequest(f"input {tensor.name!a} ends before its last element", param="inputs")
        return list(tensors.texts(data, count, tensor.name))
    return list(tensors.numbers(data, tensor.datatype, count, tensor.name))


def _from_json(tensor: InputTensor) -> list[Any]:
    if tensor.data is None:
        raise InvalidRequest(f"input {tensor.name!a} has no data", param="inputs")
    elements = tensors.flat(tensor.data)
    count = tensors.size_of(tensor.shape)
    if len(elements) != count:
        raise InvalidRequest(
            f"input {tensor.name!a} has {len(elements)} elements, but its shape requires {count}", param="inputs"
        )
    tensors.check_elements(elements, tensor.datatype, tensor.name)
    return elements
