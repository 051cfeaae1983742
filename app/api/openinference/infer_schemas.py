"""The request and reply of `/v2/models/{name}/infer`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.api.openinference.sampling import InferSampling

Length = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TensorShape = Annotated[list[Length], Meta(min_length=1, max_length=4)]
Datatype = Literal[
    "BYTES", "BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "FP16", "FP32", "FP64"
]
Parameters = dict[str, Any]
SHARED_MEMORY = (
    "shared memory is not supported, because the service may run on another machine; send the tensors in the request, "
    "as bytes (binary_data=True in tritonclient) or as JSON"
)


class TensorParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that inputs and outputs share. Tensors in shared memory are refused."""

    shared_memory_region: Annotated[str, Meta(extra_json_schema={"maxLength": 0})] | None = None

    def __post_init__(self) -> None:
        if self.shared_memory_region:
            raise ValueError(SHARED_MEMORY)


class InputParameters(TensorParameters, frozen=True):
    """`binary_data_size` is the number of bytes that the tensor occupies after the JSON."""

    binary_data_size: Length | None = None


class InputTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input. `data` contains the elements, nested or in one list, unless the request sends them as bytes. `FP16`
    can be sent only as bytes."""

    name: str
    shape: TensorShape
    datatype: Datatype
    data: list[Any] | None = None
    parameters: InputParameters | None = None


class OutputParameters(TensorParameters, frozen=True):
    """With `binary_data`, the output is sent as bytes after the JSON. `classification` is the number of highest-scoring
    labels to return, each as `value:index:label`."""

    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class RequestedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output that the client requests."""

    name: str
    parameters: OutputParameters | None = None


class InferParameters(InferSampling, frozen=True, kw_only=True):
    """The request parameters that have an effect. Those of `InferSampling` apply to generated texts."""

    binary_data_output: bool | None = None
    timeout: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    sequence_id: int | str | None = None

    def __post_init__(self) -> None:
        if self.sequence_id:
            raise ValueError(
                "sequence_id is not supported, because versions keep no state between requests; send the whole "
                "sequence in one request"
            )


class InferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to run a version. `GET /v2/models/{name}` lists the inputs and outputs of the model. Without `outputs`,
    all outputs are returned.

    The parameter `binary_data_output: true` requests all outputs as bytes, and `timeout` is a time limit in
    microseconds. Models that generate texts accept the parameters of `generate`, such as `max_tokens` and
    `temperature`. `sequence_id` is not supported, because versions keep no state between requests.
    """

    inputs: Annotated[list[InputTensor], Meta(min_length=1, max_length=2)]
    outputs: Annotated[list[RequestedOutput], Meta(max_length=8)] | None = None
    id: str | None = None
    parameters: Parameters | None = None


class OutputTensor(msgspec.Struct, frozen=True):
    """An output. The output's elements are in `data`, in row-major order, or in the bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class InferReply(msgspec.Struct, frozen=True):
    """A version's outputs."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET


REQUEST: dict[str, Any] = {
    "id": "42",
    "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["I love this!", "Not my thing."]}],
}
REPLY: dict[str, Any] = {
    "model_name": "demo-sentiment-lstm",
    "model_version": "1",
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["positive", "negative"]},
        {"name": "probs", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 0.8, 0.2]},
    ],
    "id": "42",
}
