"""`/v2/models/{name}/infer`, with Triton's own clients."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http.aio as aio
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf

TEXTS = ["grüße 世界", "bad"]


def text_input(texts: list[str], name: str = "text", binary: bool = True) -> InferInput:
    tensor = InferInput(name, [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_), binary_data=binary)
    return tensor


def number_input(values: Any, datatype: str, binary: bool = True) -> InferInput:
    kinds = {"FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "INT64": np.int64}
    array = np.array(values, dtype=kinds[datatype])
    tensor = InferInput("series", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def expected_probs(api: Api, model: str, value: Any) -> np.ndarray[Any, Any]:
    with api.client() as client:
        items = client.post("/v1/classify", json={"model": model, "input": value}).json()["data"]
    return np.array([item["probs"] for item in items], dtype=np.float32)


@pytest.mark.parametrize("sent_as_bytes", [True, False])
@pytest.mark.parametrize("received_as_bytes", [None, True, False])
def test_texts_are_classified(
    api: Api, client: InferenceServerClient, sent_as_bytes: bool, received_as_bytes: bool | None
) -> None:
    outputs = None
    if received_as_bytes is not None:
        outputs = [InferRequestedOutput(name, binary_data=received_as_bytes) for name in ("probs", "label")]
    result = client.infer("mood", [text_input(TEXTS, binary=sent_as_bytes)], request_id="42", outputs=outputs)
    probs, labels = result.as_numpy("probs"), result.as_numpy("label")
    assert probs.dtype == np.float32 and np.allclose(probs, expected_probs(api, "mood", TEXTS), atol=1e-6)
    decoded = [value.decode() if isinstance(value, bytes) else value for value in labels]
    assert decoded == [LABELS[row.argmax()] for row in probs]
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "mood", "1")
    assert all("data" in output for output in response["outputs"]) is (received_as_bytes is False)


@pytest.mark.parametrize("first", [True, False])
def test_one_input_as_bytes_and_one_as_json(client: InferenceServerClient, shelf: Shelf, first: bool) -> None:
    shelf.classifier("pairs")
    sent = [text_input(TEXTS, binary=first), text_input(["a", "b"], "text_pair", binary=not first)]
    same = [text_input(TEXTS), text_input(["a", "b"], "text_pair")]
    mixed, whole = (client.infer("pairs", inputs).as_numpy("probs") for inputs in (sent, same))
    assert np.array_equal(mixed, whole) and len(np.unique(whole)) > 1


def test_an_output_overrides_the_request_for_bytes(api: Api, client: InferenceServerClient) -> None:
    """`binary_data_output` asks for all outputs as bytes, and `binary_data` decides for a single one."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}
    body = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    body["outputs"] = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probs"}]
    with api.client() as http:
        reply = http.post("/v2/models/mood/infer", json=body)
    size = int(reply.headers["inference-header-content-length"])
    label, probs = json.loads(reply.content[:size])["outputs"]
    assert label["data"][0] in LABELS and "parameters" not in label
    assert "data" not in probs and probs["parameters"] == {"binary_data_size": 4 * len(LABELS)}
    values = struct.unpack(f"<{len(LABELS)}f", reply.content[size:])
    assert np.allclose(values, expected_probs(api, "mood", ["good"])[0], atol=1e-6)


def test_the_label_of_a_version_with_several_labels_is_the_most_likely_one(
    client: InferenceServerClient, shelf: Shelf
) -> None:
    shelf.classifier("topics", task="multilabel")
    result = client.infer("topics", [text_input(TEXTS)])
    assert [label.decode() for label in result.as_numpy("label")] == [
        LABELS[row.argmax()] for row in result.as_numpy("probs")
    ]


@pytest.mark.parametrize(
    ("datatype", "binary"),
    [("FP32", True), ("FP64", True), ("FP16", True), ("INT64", True), ("FP32", False), ("INT64", False)],
)
def test_numbers_of_every_type(api: Api, client: InferenceServerClient, datatype: str, binary: bool) -> None:
    values = [[[1, 0], [2, 4], [3, 1]], [[4, 1], [0, 0], [8, 2]]]
    result = client.infer("waves", [number_input(values, datatype, binary)])
    assert np.allclose(result.as_numpy("probs"), expected_probs(api, "waves", values), atol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "pair", "status"),
    [
        ("FP16", [1, 2], 400), ("FP32", [1, 2.5], 200), ("FP64", [1e30, 2], 200), ("FP64", [True, 2], 400),
        ("INT64", [1, 1.5], 400), ("INT64", [1, True], 400), ("INT64", [1, "2"], 400), ("INT64", [1, 2**63], 400),
        ("INT64", [-(2**63), 2**63 - 1], 200), ("UINT8", [0, 255], 200), ("UINT8", [0, 256], 400),
        ("UINT8", [-1, 0], 400), ("INT8", [-128, 127], 200), ("INT8", [-129, 0], 400), ("BOOL", [True, False], 200),
        ("BOOL", [1, 0], 400),
    ],
)  # fmt: skip
def test_numbers_in_json_have_the_declared_type(
    api: Api, client: InferenceServerClient, datatype: str, pair: list[Any], status: int
) -> None:
    tensor = {"name": "series", "shape": [1, 1, 2], "datatype": datatype, "data": pair}
    with api.client() as http:
        reply = http.post("/v2/models/waves/infer", json={"inputs": [tensor]})
    assert reply.status_code == status, reply.text
    if status == 400:
        assert list(reply.json()) == ["error"] and datatype in reply.json()["error"]


@pytest.mark.parametrize("binary", [True, False])
def test_numbers_of_the_declared_type_keep_their_digits(
    client: InferenceServerClient, engine: FakeEngine, binary: bool
) -> None:
    values = [[[123456700.25, 123456700.5]]]
    [declared] = client.get_model_metadata("waves")["inputs"]
    client.infer("waves", [number_input(values, declared["datatype"], binary)])
    [request] = [message for message in engine.received if isinstance(message, wire.Score)]
    assert [np.frombuffer(series.data, series.dtype).tolist() for series in request.features] == [[*values[0][0]]]


@pytest.mark.parametrize("binary", [True, False])
def test_the_values_of_a_regression(
    api: Api, client: InferenceServerClient, shelf: Shelf, engine: FakeEngine, binary: bool
) -> None:
    """The values are sent as FP64: in FP32, a time in seconds could be wrong by a minute."""
    shelf.classifier("arrival", task="regression", labels=(), classes=1)
    engine.classes = 1
    value = client.infer("arrival", [text_input(TEXTS)], outputs=[InferRequestedOutput("value", binary_data=binary)])
    with api.client() as http:
        items = http.post("/v1/classify", json={"model": "arrival", "input": TEXTS}).json()["data"]
    assert value.as_numpy("value").dtype == np.float64
    assert value.as_numpy("value").tolist() == [item["value"] for item in items]
    [output] = client.get_model_metadata("arrival")["outputs"]
    assert output == {"name": "value", "datatype": "FP64", "shape": [-1]}


def test_the_classification_extension(api: Api, client: InferenceServerClient) -> None:
    for binary in (True, False):
        outputs = [InferRequestedOutput("probs", binary_data=binary, class_count=2)]
        classes = client.infer("mood", [text_input(TEXTS)], outputs=outputs).as_numpy("probs")
        assert classes.shape == (2, 2)
        for row, probs in zip(classes, expected_probs(api, "mood", TEXTS), strict=True):
            first = row[0].decode() if binary else row[0]
            value, index, label = first.split(":")
            assert float(value) == pytest.approx(probs.max(), abs=1e-5)
            assert int(index) == probs.argmax() and label == LABELS[int(index)]


def test_pairs_and_generated_text(client: InferenceServerClient, shelf: Shelf) -> None:
    shelf.classifier("pairs")
    pair = [text_input(["it rains"]), text_input(["rain is falling"], "text_pair")]
    assert client.infer("pairs", pair).as_numpy("probs").shape == (1, 3)
    texts = client.infer("echo", [text_input(["ab", "c"], "text_input")]).as_numpy("text_output")
    assert [text.decode() for text in texts] == ["ab" * 8, "c" * 16]


def test_the_parameters_of_generated_texts(client: InferenceServerClient, engine: FakeEngine) -> None:
    def continued(**parameters: Any) -> list[str]:
        result = client.infer("echo", [text_input(["abcd", "xy"], "text_input")], parameters=parameters)
        return [text.decode() for text in result.as_numpy("text_output")]

    assert continued(max_tokens=3, temperature=0, top_k=4, seed=7) == ["abc", "xyx"]
    sent = [message.params for message in engine.received if isinstance(message, wire.Generate)]
    assert {(params.max_tokens, params.temperature, params.top_k) for params in sent} == {(3, 0, 4)}
    assert continued(max_tokens=6, stop="ca") == ["abcdab", "xyxyxy"] and continued(max_tokens=6, stop="da")[0] == "abc"
    with pytest.raises(InferenceServerException, match=r"parameters: .*max_tokens"):
        continued(max_tokens=0)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_may_be_compressed(client: InferenceServerClient, algorithm: str) -> None:
    result = client.infer(
        "mood", [text_input(TEXTS * 100)], request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )  # fmt: skip
    assert result.as_numpy("probs").shape == (200, 3) and len(result.as_numpy("label")) == 200


def test_a_version_and_a_time_limit(client: InferenceServerClient, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    response = client.infer("mood", [text_input(["a"])], model_version="1").get_response()
    assert response["model_version"] == "1"
    assert client.infer("mood:2", [text_input(["a"])]).get_response()["model_version"] == "2"
    engine.hold()
    with pytest.raises(InferenceServerException, match="time limit"):
        client.infer("mood", [text_input(["a"])], timeout=100_000)
    engine.release()


def test_the_asynchronous_client(api: Api, client: InferenceServerClient) -> None:
    async def ask() -> Any:
        async with aio.InferenceServerClient(api.url.removeprefix("http://")) as other:
            assert await other.is_server_live() and await other.is_model_ready("mood")
            several = [await other.infer("mood", [text_input(TEXTS, binary=binary)]) for binary in (True, False)]
            compressed = await other.infer(
                "mood", [text_input(TEXTS * 100)], request_compression_algorithm="deflate",
                response_compression_algorithm="gzip",
            )  # fmt: skip
            return [result.as_numpy("probs").shape for result in (*several, compressed)]

    assert asyncio.run(ask()) == [(2, 3), (2, 3), (200, 3)]


def refused(api: Api, tensor: dict[str, Any], model: str = "mood", **more: Any) -> str:
    with api.client() as client:
        reply = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], **more})
    assert reply.status_code == 400 and list(reply.json()) == ["error"], reply.text
    return str(reply.json()["error"])


def test_requests_that_do_not_fit_are_refused(api: Api, client: InferenceServerClient) -> None:
    good = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    assert "did you mean 'text'?" in refused(api, {**good, "name": "txt"})
    assert "2 elements, but its shape requires 1" in refused(api, {**good, "data": ["a", "b"]})
    assert "not BYTES" in refused(api, {**good, "data": [1]})
    assert "must be BYTES" in refused(api, {**good, "datatype": "FP32", "data": [1]})
    assert "[N] or [N, 1]" in refused(api, {**good, "shape": [1, 1, 1]})
    assert "no data" in refused(api, {key: value for key, value in good.items() if key != "data"})
    assert "unknown output 'x'; the version has label and probs" in refused(api, good, outputs=[{"name": "x"}])
    label = {"name": "label", "parameters": {"classification": 1}}
    assert "classification only for probs" in refused(api, good, outputs=[label])
    assert "sequence_id is not supported" in refused(api, good, parameters={"sequence_id": 7})
    series = {"name": "series", "shape": [1, 1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    assert "[N, steps, 2]" in refused(api, series, "waves")
    assert "float32" in refused(api, {**series, "shape": [1, 1, 2], "data": [1e300, 0]}, "waves")
    with pytest.raises(InferenceServerException, match="nobody") as missing:
        client.infer("nobody", [text_input(["a"])])
    assert missing.value.status() == "404"


@pytest.mark.parametrize(
    ("binary", "size", "words"),
    [
        (struct.pack("<I", 9) + b"a", 5, "ends inside element 0"),
        (b"ab", 2, "ends before element 0"),
        (struct.pack("<I", 1) + b"a", 9, "fewer bytes than"),
        (struct.pack("<I", 1) + b"ab", 6, "1 more bytes"),
        (struct.pack("<I", 1) + b"a" + b"rest", 5, "5 bytes after the JSON, but the request has 9"),
        (struct.pack("<I", 1) + b"\xff", 5, "not UTF-8"),
    ],
)
def test_damaged_bytes_are_refused(
    api: Api, client: InferenceServerClient, binary: bytes, size: int, words: str
) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with api.client() as http:
        headers = {"inference-header-content-length": str(len(head))}
        reply = http.post("/v2/models/mood/infer", content=head + binary, headers=headers)
        assert reply.status_code == 400 and words in reply.json()["error"]
        for length in ("x", "99999", "-1"):
            wrong = http.post(
                "/v2/models/mood/infer", content=head, headers={"inference-header-content-length": length}
            )
            assert wrong.status_code == 400 and "length of the JSON" in wrong.json()["error"]


def test_absurd_lengths_and_nested_lists_are_refused(api: Api) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES"}
    nested = "[" * 400 + '"a"' + "]" * 400
    with api.client() as client:
        url, body = "/v2/models/mood/infer", json.dumps({"inputs": [tensor | {"data": ["a"]}]})
        headers = {"inference-header-content-length": "9" * 5000, "content-type": "application/octet-stream"}
        long = client.post(url, content=body, headers=headers)
        assert (long.status_code, "must be the length of the JSON" in long.text) == (400, True)
        deep = client.post(url, json={"inputs": [tensor | {"data": json.loads(nested)}]})
        assert (deep.status_code, "levels of nested lists" in deep.text) == (400, True)
