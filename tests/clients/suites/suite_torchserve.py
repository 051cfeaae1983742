"""TorchServe's routes, called with `requests` as there is no client: texts, numbers, generated texts, models."""

from __future__ import annotations

import math
from typing import Any

import requests
from calls import CHATS, COMPLAINT, CRASH, PROMPT, URL, WAVE, Calls, answers, classified

calls = Calls("requests", "TorchServe's routes, with requests")


def sent(method: str, path: str, **options: Any) -> Any:
    """Return the reply. Raises RuntimeError with the body of the reply if its status is an error."""
    reply = requests.request(method, f"{URL}{path}", timeout=120, **options)
    if not reply.ok:
        raise RuntimeError(f"{reply.status_code} {reply.text}")
    return reply


def predicted(model: str, **options: Any) -> Any:
    return sent("POST", f"/predictions/{model}", **options).json()


def matches(actual: dict[str, float], model: str, value: Any) -> bool:
    expected = classified(model, value)
    return actual.keys() == expected.keys() and all(math.isclose(actual[k], expected[k], abs_tol=1e-6) for k in actual)


calls.works(
    "POST /predictions, raw text",
    lambda: predicted("departments", data=COMPLAINT.encode(), headers={"content-type": "text/plain"}),
    lambda actual: next(iter(actual)) == "billing" and matches(actual, "departments", COMPLAINT),
)
calls.works(
    "POST /predictions, form",
    lambda: predicted("departments/1.0", files={"data": ("a.txt", COMPLAINT.encode())}),
    lambda actual: matches(actual, "departments", COMPLAINT),
)
calls.works(
    "PUT /predictions, raw text",
    lambda: sent("PUT", "/predictions/departments", data=COMPLAINT.encode()).json(),
    lambda actual: matches(actual, "departments", COMPLAINT),
)
calls.works(
    "POST /predictions, instances",
    lambda: predicted("departments", json={"instances": [{"data": COMPLAINT}, {"data": CRASH}]})["predictions"],
    lambda actual: (
        len(actual) == 2 and matches(actual[0], "departments", COMPLAINT) and matches(actual[1], "departments", CRASH)
    ),
)
calls.works(
    "POST /predictions, multilabel",
    lambda: predicted("tickets", json={"data": CRASH}),
    lambda actual: actual["bug"] > 0.5 > actual["billing"] and matches(actual, "tickets", CRASH),
)
calls.works(
    "POST /predictions, numbers",
    lambda: predicted("waves", json={"data": [WAVE]})[0],
    lambda actual: next(iter(actual)) == "fast" and matches(actual, "waves", WAVE),
)
for model in CHATS:
    calls.works(
        f"POST /predictions, text ({model})",
        lambda m=model: sent(
            "POST", f"/predictions/{m}", json={"data": PROMPT, "max_new_tokens": 40, "temperature": 0}
        ).content.decode(),
        answers,
    )
calls.works("GET /ping", lambda: sent("GET", "/ping").json(), lambda state: state == {"status": "Healthy"})
calls.works(
    "GET /models/{name}",
    lambda: sent("GET", "/models/departments").json()[0],
    lambda m: (m["modelName"], m["modelVersion"]) == ("departments", "1"),
)
calls.works(
    "GET /models",
    lambda: {m["modelName"] for m in sent("GET", "/models").json()["models"]},
    lambda names: {"departments", "waves", *CHATS} <= names,
)
calls.refused("POST /predictions, unknown model", lambda: predicted("nobody", data="a"), "model not found: 'nobody'")
calls.refused("POST /models", lambda: sent("POST", "/models?url=a.mar"), "models are not registered by URL")
calls.report()
