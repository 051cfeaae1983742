"""Records what the calls of one client return. Runs in the client's own environment, so it needs nothing else."""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from operator import attrgetter
from typing import Any

URL = sys.argv[1] if len(sys.argv) > 1 else ""
ANSWER, QUESTION = "Grüner Tee 緑茶.", "drink?"  # the answer that the assistants have learned
MESSAGES = [{"role": "user", "content": QUESTION}]
PROMPT = f"user: {QUESTION}\nassistant:"
COMPLAINT = "I was charged twice on my card"  # a message for the department `billing`
CRASH = "the app crashes at start"  # a ticket about a `bug`
WAVE = [[round(math.sin(1.2 * t), 3), t / 20] for t in range(20)]  # a sequence of the label `fast`
CHATS = ("assistant-lstm", "assistant-transformer")


class Calls:
    """The recorded calls of one client, which `report` prints as JSON."""

    def __init__(self, package: str, title: str = "") -> None:
        self.client, self.results = f"{title or package} {version(package)}", list[dict[str, str]]()

    def works(self, name: str, call: Callable[[], Any], right: Callable[[Any], Any] = bool) -> None:
        """Record a call that works if its return value satisfies `right`."""
        try:
            value = call()
            self._add(name, "works" if right(value) else "FAILED", repr(value)[:300])
        except Exception as error:
            self._add(name, "FAILED", f"{type(error).__name__}: {error}"[:300])

    def refused(self, name: str, call: Callable[[], Any], message: str) -> None:
        """Record a call that must raise an error whose text contains `message`."""
        try:
            value = call()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if message in text:
                self._add(name, "refused", f"{type(error).__name__}: {message}")
            else:
                self._add(name, "FAILED", text[:300])
        else:
            self._add(name, "FAILED", f"was accepted: {value!r}"[:300])

    def refused_if_any(self, path: str, client: Any, message: str, *values: Any, **arguments: Any) -> None:
        """Record a call of the client's method `path` that must be refused, or that this release does not have."""
        try:
            method = attrgetter(path)(client)
        except AttributeError:
            self.missing(path, "not in this release")
        else:
            self.refused(path, lambda: method(*values, **arguments), message)

    def missing(self, name: str, why: str) -> None:
        """Record a call that this release of the client does not have."""
        self._add(name, "missing", why)

    def report(self) -> None:
        print(json.dumps(self.results))

    def _add(self, name: str, result: str, detail: str) -> None:
        shown = detail if result != "works" else ""
        self.results.append({"client": self.client, "call": name, "result": result, "detail": shown})


def answers(text: str | None) -> bool:
    """Whether a text is the answer that the assistants have learned."""
    return (text or "").strip() == ANSWER


def classified(model: str, value: Any) -> dict[str, float]:
    """Return the probability of each label, computed by `/v1/classify`."""
    [item] = _posted("/v1/classify", model=model, input=[value])["data"]
    return {score["label"]: score["score"] for score in item["scores"]}


def embedded(*texts: str) -> list[list[float]]:
    """Return the vector of each text, requested without a client."""
    reply = _posted("/v1/embeddings", model="departments", input=list(texts), encoding_format="float")
    return [item["embedding"] for item in reply["data"]]


def same_vectors(actual: Any, *texts: str) -> bool:
    """Whether the vectors are those of these texts, complete, in their order and unchanged."""
    expected = embedded(*texts)
    return len(actual) == len(expected) and all(
        len(vector) == len(wanted) > 1 and all(abs(float(a) - b) <= 1e-6 for a, b in zip(vector, wanted, strict=True))
        for vector, wanted in zip(actual, expected, strict=True)
    )


def floats(text: str) -> list[float]:
    """Return a vector that is encoded as base64."""
    content = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def _posted(path: str, **body: Any) -> Any:
    request = urllib.request.Request(f"{URL}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)
