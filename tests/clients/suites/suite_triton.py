"""`tritonclient.http`: texts, numbers, generated texts and the repository, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import numpy as np
import tritonclient.http.aio as aio
from calls import CHATS, COMPLAINT, CRASH, PROMPT, URL, WAVE, Calls, answers, classified
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

calls = Calls("tritonclient")
ADDRESS = URL.removeprefix("http://")
client: Any = InferenceServerClient(ADDRESS)
KINDS = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16}


def texts(*values: str, name: str = "text", binary: bool = True) -> Any:
    tensor = InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([v.encode() for v in values], dtype=np.object_), binary_data=binary)
    return tensor


def numbers(datatype: str, binary: bool = True) -> Any:
    array = np.array([WAVE, WAVE[::-1]], dtype=KINDS[datatype])
    tensor = InferInput("series", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def labels(result: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("label")]


def matches(row: Any, model: str, value: Any, tolerance: float = 1e-5) -> bool:
    """Whether the probabilities, in the order of the labels, are those of `/v1/classify`."""
    expected = classified(model, value)
    return np.allclose(row, [expected[label] for label in sorted(expected)], atol=tolerance)


def departments(result: Any) -> bool:
    return labels(result)[0] == "billing" and matches(result.as_numpy("probs")[0], "departments", COMPLAINT)


def fast(result: Any, tolerance: float = 1e-5) -> bool:
    probs = result.as_numpy("probs")
    return probs.shape == (2, 2) and labels(result)[0] == "fast" and matches(probs[0], "waves", WAVE, tolerance)


async def asynchronous() -> list[Any]:
    async with aio.InferenceServerClient(ADDRESS) as other:
        return [
            await other.infer("departments", [texts(COMPLAINT)]),
            await other.infer("departments", [texts(COMPLAINT, binary=False)]),
            await other.infer("waves", [numbers("FP32")]),
        ]


async def described() -> list[Any]:
    async with aio.InferenceServerClient(ADDRESS) as other:
        return [
            await other.get_server_metadata(),
            await other.get_model_metadata("waves"),
            await other.get_model_repository_index(),
            await other.get_inference_statistics("waves"),
        ]


def own_transport() -> Any:
    """Write a request and read its reply with the client, but send it with `urllib`."""
    body, length = InferenceServerClient.generate_request_body([texts(COMPLAINT)])
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
    request = urllib.request.Request(f"{URL}/v2/models/departments/infer", body, headers)
    with urllib.request.urlopen(request, timeout=120) as reply:
        header = reply.headers["inference-header-content-length"]
        return InferenceServerClient.parse_response_body(reply.read(), header_length=header and int(header))


def shared_text() -> Any:
    tensor = InferInput("text", [1], "BYTES")
    tensor.set_shared_memory("region", 64)
    return tensor


def shared_probs() -> Any:
    output = InferRequestedOutput("probs")
    output.set_shared_memory("region", 64)
    return output


calls.works(
    "is_server_live, is_server_ready, is_model_ready",
    lambda: (client.is_server_live(), client.is_server_ready(), client.is_model_ready("departments")),
    lambda states: states == (True, True, True),
)
for binary in (True, False):
    shown = "binary" if binary else "JSON"
    calls.works(
        f"infer, texts as {shown}",
        lambda b=binary: client.infer("departments", [texts(COMPLAINT, CRASH, binary=b)]),
        departments,
    )
    for kind in KINDS:
        if binary or kind != "FP16":  # the client sends FP16 as binary data only
            calls.works(
                f"infer, {kind} as {shown}",
                lambda k=kind, b=binary: client.infer("waves", [numbers(k, b)]),
                lambda result, k=kind: fast(result, 0.01 if k == "FP16" else 1e-5),
            )
calls.works(
    "infer, compressed",
    lambda: client.infer(
        "departments", [texts(COMPLAINT)], request_compression_algorithm="gzip",
        response_compression_algorithm="deflate",
    ),
    departments,
)  # fmt: skip
calls.works("async_infer", lambda: client.async_infer("departments", [texts(COMPLAINT)]).get_result(), departments)
calls.works(
    "aio: infer, texts and numbers",
    lambda: asyncio.run(asynchronous()),
    lambda results: departments(results[0]) and departments(results[1]) and fast(results[2]),
)
calls.works(
    "infer, class_count",
    lambda: (
        client.infer("departments", [texts(COMPLAINT)], outputs=[InferRequestedOutput("probs", class_count=2)])
        .as_numpy("probs")
        .tolist()
    ),
    lambda rows: len(rows[0]) == 2 and rows[0][0].decode().endswith(":billing"),
)
calls.works(
    "infer, multilabel",
    lambda: client.infer("tickets", [texts(CRASH)]).as_numpy("probs"),
    lambda probs: probs.shape == (1, 2) and matches(probs[0], "tickets", CRASH) and probs[0][1] > 0.5 > probs[0][0],
)
for model in CHATS:
    calls.works(
        f"infer, text_input ({model})",
        lambda m=model: (
            client.infer(m, [texts(PROMPT, name="text_input")], parameters={"max_tokens": 40, "temperature": 0})
            .as_numpy("text_output")[0]
            .decode()
        ),
        answers,
    )
calls.works(
    "get_model_metadata",
    lambda: client.get_model_metadata("waves"),
    lambda m: m["inputs"][0] == {"name": "series", "datatype": "FP64", "shape": [-1, -1, 2]},
)
calls.works(
    "get_model_repository_index",
    lambda: {entry["name"] for entry in client.get_model_repository_index()},
    lambda names: {"departments", "tickets", "waves", *CHATS} <= names,
)
calls.works(
    "unload_model, load_model",
    lambda: (client.unload_model("waves"), client.load_model("waves"), client.infer("waves", [numbers("FP64")]))[2],
    fast,
)
calls.works(
    "get_inference_statistics",
    lambda: client.get_inference_statistics("departments")["model_stats"][0],
    lambda stats: stats["name"] == "departments" and int(stats["inference_count"]) > 0,
)
calls.works(
    "get_server_metadata",
    client.get_server_metadata,
    lambda m: m["name"] == "ostinato" and bool(m["version"]) and "binary_tensor_data" in m["extensions"],
)
calls.works(
    "get_model_config",
    lambda: client.get_model_config("waves"),
    lambda m: m["name"] == "waves" and m["input"][0]["name"] == "series",
)
calls.works(
    "generate_request_body, parse_response_body",
    own_transport,
    departments,
)
calls.works(
    "aio: get_server_metadata, get_model_metadata, get_model_repository_index, get_inference_statistics",
    lambda: asyncio.run(described()),
    lambda descriptions: (
        descriptions[0] == client.get_server_metadata()
        and descriptions[1] == client.get_model_metadata("waves")
        and {entry["name"] for entry in descriptions[2]}
        == {entry["name"] for entry in client.get_model_repository_index()}
        and descriptions[3]["model_stats"][0]["name"] == "waves"
    ),
)
calls.refused("infer, unknown model", lambda: client.infer("nobody", [texts("a")]), "model not found: 'nobody'")
calls.refused(
    "infer, unknown input", lambda: client.infer("departments", [texts("a", name="txt")]), "did you mean 'text'"
)
calls.refused(
    "infer, sequence_id",
    lambda: client.infer("departments", [texts("a")], sequence_id=7, sequence_start=True),
    "sequence_id is not supported",
)
for name, call in {
    "register_system_shared_memory": lambda: client.register_system_shared_memory("region", "/region", 64),
    "get_system_shared_memory_status": client.get_system_shared_memory_status,
    "unregister_system_shared_memory": client.unregister_system_shared_memory,
    "register_cuda_shared_memory": lambda: client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64),
    "get_cuda_shared_memory_status": client.get_cuda_shared_memory_status,
    "unregister_cuda_shared_memory": client.unregister_cuda_shared_memory,
}.items():
    calls.refused(name, call, "send the tensors in the request")
calls.refused(
    "infer, shared memory", lambda: client.infer("departments", [shared_text()]), "send the tensors in the request"
)
calls.refused(
    "infer, output in shared memory",
    lambda: client.infer("departments", [texts("a")], outputs=[shared_probs()]),
    "send the tensors in the request",
)
DURATIONS = "GET /v2/models/stats"
TRACE = {"trace_level": ["TIMESTAMPS"]}
for name, call, message in (
    ("get_trace_settings", client.get_trace_settings, DURATIONS),
    ("update_trace_settings", lambda: client.update_trace_settings(settings=TRACE), DURATIONS),
    ("update_trace_settings, model", lambda: client.update_trace_settings("departments", TRACE), DURATIONS),
):
    calls.refused(name, call, message)
for name, call in {
    "get_log_settings": client.get_log_settings,
    "update_log_settings": lambda: client.update_log_settings({"log_info": False}),
}.items():
    calls.refused(name, call, "OSTINATO_LOG_FORMAT")
calls.report()
