"""Models in Ollama's format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.registry.records import Version


class OllamaDetails(msgspec.Struct, frozen=True):
    """A version's architecture and number of parameters."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(msgspec.Struct, frozen=True):
    """A model in the list. `size` is in bytes."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails


class OllamaModels(msgspec.Struct, frozen=True):
    """The available models."""

    models: list[OllamaModel]


class RunningModel(msgspec.Struct, frozen=True):
    """A version that is loaded in an engine.

    The version remains loaded until its memory is needed for another version.
    """

    name: str
    model: str
    size: int
    size_vram: int
    digest: str
    details: OllamaDetails
    expires_at: str
    context_length: int


class RunningModels(msgspec.Struct, frozen=True):
    """The versions that are loaded in engines."""

    models: list[RunningModel]


class OllamaDescription(msgspec.Struct, frozen=True):
    """The description of a version. `capabilities` lists the kinds of requests that the version supports."""

    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, str | int | list[str]]
    capabilities: list[str]
    modified_at: str


def moment(seconds: float) -> str:
    """Format seconds since the epoch as a time in Ollama's format."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def details(architecture: str, parameters: int) -> OllamaDetails:
    """Describe a model with this architecture and number of parameters."""
    return OllamaDetails("", "safetensors", architecture, [architecture], shown(parameters), "F32")


def shown(count: int) -> str:
    """Format a number of parameters, such as 1.2M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def size_of(version: Version) -> int:
    """The total size of a version's files in bytes."""
    return sum(entry.size for entry in version.files.values())


def capabilities(version: Version) -> list[str]:
    """The kinds of requests that a version supports, under the names that Ollama uses."""
    abilities = ["completion"] if version.task == "generation" else []
    return abilities if version.architecture == "linear" else [*abilities, "embedding"]


def description(version: Version) -> OllamaDescription:
    """Describe a version for `/api/show`."""
    info: dict[str, str | int | list[str]] = {
        "general.architecture": version.architecture,
        "general.parameter_count": version.parameters,
        f"{version.architecture}.context_length": int(version.config.get("context_length", 0)),
        "ostinato.reference": version.ref,
        "ostinato.task": version.task,
        "ostinato.labels": version.labels,
    }
    return OllamaDescription(
        f"FROM {version.ref}\n",
        "",
        str(version.config.get("chat_template", "{{ .Prompt }}")),
        details(version.architecture, version.parameters),
        info,
        capabilities(version),
        moment(version.created_at),
    )


DETAILS: dict[str, Any] = {
    "parent_model": "",
    "format": "safetensors",
    "family": "lstm",
    "families": ["lstm"],
    "parameter_size": "412.0K",
    "quantization_level": "F32",
}
MODEL: dict[str, Any] = {
    "name": "demo-text-lstm:latest",
    "model": "demo-text-lstm:latest",
    "modified_at": "2026-01-31T12:00:00Z",
    "size": 1650000,
    "digest": "0" * 64,
    "details": DETAILS,
}
RUNNING: dict[str, Any] = {
    "name": "demo-text-lstm:1",
    "model": "demo-text-lstm:1",
    "size": 1650000,
    "size_vram": 0,
    "digest": "0" * 64,
    "details": DETAILS,
    "expires_at": "9999-12-31T23:59:59Z",
    "context_length": 256,
}
DESCRIPTION: dict[str, Any] = {
    "modelfile": "FROM demo-text-lstm:1\n",
    "parameters": "",
    "template": "{{ .Prompt }}",
    "details": DETAILS,
    "model_info": {"general.architecture": "lstm", "general.parameter_count": 412000},
    "capabilities": ["completion", "embedding"],
    "modified_at": "2026-01-31T12:00:00Z",
}
