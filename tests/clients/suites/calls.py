"""Records what the calls of one client return. Runs in the client's own environment, so it needs nothing else."""

from __future__ import annotations

import json
import math
import sys
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

URL = sys.argv[1] if len(sys.argv) > 1 else ""
ANSWER, QUESTION = "Grüner Tee 緑茶.", "drink?"  # what the assistants have learnt
MESSAGES = [{"role": "user", "content": QUESTION}]
PROMPT = f"user: {QUESTION}\nassistant:"
COMPLAINT = "I was charged twice on my card"  # a message for the department `billing`
CRASH = "the app crashes at start"  # a ticket about a `bug`
WAVE = [[round(math.sin(1.2 * t), 3), t / 20] for t in range(20)]  # a sequence of the label `fast`
CHATS = ("assistant-lstm", "assistant-transformer")


class Calls:
    """The calls of one client, printed as JSON at the end."""

    def __init__(self, package: str, title: str = "") -> None:
        self.client, self.results = f"{title or package} {version(package)}", list[dict[str, str]]()

    def works(self, name: str, call: Callable[[], Any], right: Callable[[Any], Any] = bool) -> None:
        """A call whose return value satisfies `right`."""
        try:
            value = call()
            self._add(name, "works" if right(value) else "FAILED", repr(value)[:300])
        except Exception as error:
            self._add(name, "FAILED", f"{type(error).__name__}: {error}"[:300])

    def refused(self, name: str, call: Callable[[], Any], message: str) -> None:
        """A call that raises an error of the client whose text contains `message`."""
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

    def missing(self, name: str, why: str) -> None:
        """A call that this release of the client does not have."""
        self._add(name, "missing", why)

    def report(self) -> None:
        print(json.dumps(self.results))

    def _add(self, name: str, result: str, detail: str) -> None:
        shown = detail if result != "works" else ""
        self.results.append({"client": self.client, "call": name, "result": result, "detail": shown})


def answers(text: str | None) -> bool:
    """Whether a text is what the assistants have learnt."""
    return (text or "").strip() == ANSWER


def classified(model: str, value: Any) -> dict[str, float]:
    """Return the probability of each label, from the native route."""
    body = json.dumps({"model": model, "input": [value]}).encode()
    request = urllib.request.Request(f"{URL}/v1/classify", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        [item] = json.load(reply)["data"]
    return {score["label"]: score["score"] for score in item["scores"]}
