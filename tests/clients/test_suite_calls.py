"""The suites of existing clients accept only vectors that equal those of the service."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest

from benchmarks.accept.clients import SUITES

VECTORS = {"a": [0.6, 0.8], "b": [-0.8, 0.6]}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `calls` of the suites, with a fake service that returns VECTORS."""
    spec = spec_from_file_location("suite_calls", SUITES / "calls.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def posted(path: str, **body: Any) -> Any:
        assert path == "/v1/embeddings" and body["encoding_format"] == "float"
        return {"data": [{"embedding": VECTORS[text]} for text in body["input"]]}

    monkeypatch.setattr(module, "_posted", posted)
    yield module


def test_vectors_are_those_of_a_direct_request(calls: ModuleType) -> None:
    assert calls.same_vectors([VECTORS["a"], VECTORS["b"]], "a", "b")
    assert calls.same_vectors([[0.6 + 5e-7, 0.8]], "a")


@pytest.mark.parametrize(
    "changed",
    [
        lambda a, b: [b, a],
        lambda a, b: [a],
        lambda a, b: [a, b, b],
        lambda a, b: [a, b[:1]],
        lambda a, b: [a, [b[0], b[1] + 2e-6]],
        lambda a, b: [a, [-x for x in b]],
    ],
    ids=["swapped", "missing", "surplus", "short", "inexact", "negative"],
)
def test_other_vectors_fail(calls: ModuleType, changed: Callable[..., Any]) -> None:
    assert not calls.same_vectors(changed(VECTORS["a"], VECTORS["b"]), "a", "b")


def test_base64_contains_single_floats(calls: ModuleType) -> None:
    assert calls.floats(base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()) == [0.5, -2.0]


class Client:
    """A client with one call, which is refused."""

    def refuse(self, *values: int) -> None:
        raise ValueError(f"no {values}")


def test_a_call_that_a_release_lacks_is_missing_and_not_refused(calls: ModuleType) -> None:
    made = calls.Calls("pytest")
    made.refused_if_any("refuse", Client(), "no (1,)", 1)
    made.refused_if_any("refuse", Client(), "another error", 1)
    made.refused_if_any("other.refuse", Client(), "no")
    assert [entry["result"] for entry in made.results] == ["refused", "FAILED", "missing"]
