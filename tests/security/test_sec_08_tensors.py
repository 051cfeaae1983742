"""SEC-08: binary tensors whose bytes, shapes or numbers are wrong are refused, and the engine sees none of them."""

from __future__ import annotations

import json
import math
import struct
from itertools import product
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.openinference.infer_schemas import InferRequest
from app.errors import InvalidRequest
from app.wire import engine as wire
from tests.api.rendered import is_rendered
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

WIDTH = 2
SIZES = {"BOOL": 1, "INT8": 1, "UINT16": 2, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8, "BYTES": 1}
FLOATS = {"FP16": "e", "FP32": "f", "FP64": "d"}
HUGE = 2**31 - 1


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Any:
    shelf.classifier("mood")
    shelf.classifier("waves", input="features", features=WIDTH, vocab_size=None)
    with api.client() as client:
        yield client


def send(
    client: httpx.Client, shape: list[Any], datatype: str, data: bytes, size: Any = None, model: str = "waves"
) -> httpx.Response:
    name = "series" if model == "waves" else "text"
    declared = len(data) if size is None else size
    tensor = {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": declared}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return client.post(f"/v2/models/{model}/infer", content=head + data, headers=headers)


def test_numbers_that_are_not_finite(client: httpx.Client) -> None:
    for (datatype, format), value in product(FLOATS.items(), (math.nan, math.inf, -math.inf)):
        reply = send(client, [1, 1, WIDTH], datatype, struct.pack(f"<2{format}", 1.0, value))
        assert is_rendered(reply, InvalidRequest), (datatype, value, reply.text)


SHAPES = [
    [], [0], [1], [0, 0, 0], [0, WIDTH], [5, 0, WIDTH], [1, 1, 0], [HUGE, HUGE, WIDTH], [HUGE] * 4, [1, HUGE, HUGE],
    [-1, 1, WIDTH], [2**31, 1, WIDTH], [2**63, 1, WIDTH], [1, 1, WIDTH, 1], [1] * 5, [1, 1, 1.5], ["1", 1, WIDTH],
    [1, 1, WIDTH + 1], [True, 1, WIDTH], None, 3,
]  # fmt: skip


def test_shapes_that_no_input_has(client: httpx.Client, engine: FakeEngine) -> None:
    for shape, (datatype, size), model in product(SHAPES, SIZES.items(), ("waves", "mood")):
        if model == "mood" and shape == [1]:
            continue  # a shape of texts
        for data in (b"", b"\0" * size * WIDTH):
            reply = send(client, shape, datatype, data, model=model)
            assert is_rendered(reply, InvalidRequest), (shape, datatype, model, reply.text)
    assert not any(isinstance(message, wire.Score) for message in engine.received)


def test_sizes_that_differ_from_the_bytes(client: httpx.Client) -> None:
    data = struct.pack("<2f", 1.0, 2.0)
    assert send(client, [1, 1, WIDTH], "FP32", data).status_code == 200
    for size in (0, 1, 7, 9, 16, HUGE, -1, 2**31, 2**64, "8", 1.5):
        reply = send(client, [1, 1, WIDTH], "FP32", data, size)
        assert is_rendered(reply, InvalidRequest), (size, reply.text)


def test_texts_with_unusual_bytes(client: httpx.Client) -> None:
    """NUL is an ordinary character. Bytes that are not UTF-8, such as half of a surrogate pair, are refused."""
    for text, accepted in (
        (b"", False), (b"\0", True), (b"a\0b", True), (b"\xff\xfe", False), (b"\xed\xa0\x80", False),
        ("\U0010ffff".encode(), True),
    ):  # fmt: skip
        reply = send(client, [1], "BYTES", struct.pack("<I", len(text)) + text, model="mood")
        assert reply.status_code == 200 if accepted else is_rendered(reply, InvalidRequest), (text, reply.text)


def test_lengths_of_texts_that_exceed_the_bytes(client: httpx.Client) -> None:
    for length in (2**32 - 1, 2**31, 5):
        reply = send(client, [1], "BYTES", struct.pack("<I", length) + b"abcd", model="mood")
        assert is_rendered(reply, InvalidRequest), reply.text
    sparse = struct.pack("<I", 0) * 1000  # many empty texts
    assert is_rendered(send(client, [1000], "BYTES", sparse, model="mood"), InvalidRequest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    datatype=st.sampled_from(sorted(SIZES)),
    data=st.binary(max_size=40),
    model=st.sampled_from(["waves", "mood"]),
)
def test_any_bytes(client: httpx.Client, shape: list[int], datatype: str, data: bytes, model: str) -> None:
    reply = send(client, shape, datatype, data, model=model)
    assert reply.status_code == 200 or is_rendered(reply, InvalidRequest), (reply.status_code, reply.text)
    if reply.status_code == 200:
        assert math.prod(shape) * SIZES[datatype] in (len(data), 0) or datatype == "BYTES"


def test_other_ways_to_send_bytes_are_not_accepted(client: httpx.Client) -> None:
    """Base64 and shared memory are refused: only the bytes after the JSON may contain a binary tensor."""
    assert InferRequest.__struct_config__.forbid_unknown_fields
    tensor = {"name": "series", "shape": [1, 1, WIDTH], "datatype": "FP32"}
    for more in ({"data": "AACAPwAAAEA="}, {"b64": "AACAPw=="}):
        reply = client.post("/v2/models/waves/infer", json={"inputs": [tensor | more]})
        assert is_rendered(reply, InvalidRequest), reply.text
    elsewhere = {"parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 8}}
    for body in (
        {"inputs": [tensor | elsewhere]},
        {"inputs": [tensor | {"data": [0.0] * WIDTH}], "outputs": [{"name": "probs"} | elsewhere]},
    ):
        reply = client.post("/v2/models/waves/infer", json=body)
        assert is_rendered(reply, InvalidRequest) and "send the tensors in the request" in reply.json()["error"]
