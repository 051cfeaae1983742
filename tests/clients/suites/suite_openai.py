"""The `openai` package: chats, responses, completions, embeddings, moderations, decisions, models, files and jobs."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import openai
from calls import ANSWER, CHATS, COMPLAINT, CRASH, MESSAGES, PROMPT, QUESTION, URL, Calls, answers

client: Any = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
calls = Calls("openai")
BATCH_SECONDS = 300.0  # for one request


def chat(model: str, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, **options)


def joined(model: str, **options: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chat(model, stream=True, **options))


def streamed_response(model: str) -> str:
    events = client.responses.create(model=model, input=QUESTION, temperature=0, stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def completion(model: str, **options: Any) -> Any:
    return client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=40, **options)


def unit(vector: list[float]) -> bool:
    return len(vector) > 1 and math.isclose(math.fsum(x * x for x in vector), 1, abs_tol=1e-3)


for model in CHATS:
    calls.works(f"chat.completions.create ({model})", lambda m=model: chat(m).choices[0].message.content, answers)
    calls.works(f"chat.completions.create, stream ({model})", lambda m=model: joined(m), answers)
    calls.works(
        f"chat.completions.create, stop across tokens ({model})",
        lambda m=model: (joined(m, stop=["er T"]), chat(m, stop=["er T"]).choices[0].message.content),
        lambda pair: pair == ("Grün", "Grün"),
    )
    calls.works(
        f"responses.create ({model})",
        lambda m=model: client.responses.create(model=m, input=QUESTION, temperature=0).output_text,
        answers,
    )
    calls.works(f"responses.create, stream ({model})", lambda m=model: streamed_response(m), answers)
    calls.works(f"completions.create ({model})", lambda m=model: completion(m).choices[0].text, answers)
    calls.works(
        f"completions.create, stream ({model})",
        lambda m=model: "".join(chunk.choices[0].text for chunk in completion(m, stream=True)),
        answers,
    )
calls.works(
    "chat.completions.create, logprobs",
    lambda: chat(CHATS[0], logprobs=True).choices[0].logprobs.content,
    lambda tokens: bytes(b for t in tokens for b in t.bytes).decode().strip() == ANSWER,
)
calls.works(
    "embeddings.create",
    lambda: client.embeddings.create(model="departments", input=[COMPLAINT, CRASH]).data,
    lambda data: len(data) == 2 and all(unit(item.embedding) for item in data),
)
calls.refused(
    "embeddings.create, token ids",
    lambda: client.embeddings.create(model="departments", input=[[1, 2]]),
    "the input contains token ids",
)
calls.works(
    "moderations.create",
    lambda: client.moderations.create(model="tickets", input=CRASH).results[0],
    lambda result: result.flagged and result.categories.to_dict() == {"billing": False, "bug": True},
)
if hasattr(client, "decisions"):
    choices = [{"value": "delivery"}, {"value": "billing"}]
    questions = [
        {"type": "choice", "name": "department", "instructions": "?", "choices": choices},
        {"type": "predicate", "name": "billing", "instructions": "?"},
        {"type": "score", "name": "scale", "instructions": "?", "levels": [{"label": "account"}, {"label": "billing"}]},
    ]
    calls.works(
        "decisions.create",
        lambda: client.decisions.create(model="departments", input=COMPLAINT, questions=questions).answers,
        lambda a: a[0].choice == "billing" and a[1].probability > 0.5 and a[2].score > 0.5 and a[0].confidence > 0,
    )
calls.works(
    "models.list", lambda: [m.id for m in client.models.list()], lambda ids: {"departments", *CHATS} <= set(ids)
)
calls.works("models.retrieve", lambda: client.models.retrieve("departments:1"), lambda m: m.id == "departments:1")
file = client.files.create(file=("a.csv", b"text,label\ngood,yes\nbad,no\n" * 20), purpose="fine-tune")
calls.works("files.create", lambda: file, lambda f: f.bytes == 20 * 27)
calls.works("files.list", lambda: [f.id for f in client.files.list()], lambda ids: file.id in ids)
calls.works("files.content", lambda: client.files.content(file.id).read(), lambda b: b.startswith(b"text,label\n"))
job = client.fine_tuning.jobs.create(model="lstm", training_file=file.id, metadata={"suite": "openai"})
calls.works("fine_tuning.jobs.create", lambda: job, lambda j: j.status in ("validating_files", "queued", "running"))
calls.works(
    "fine_tuning.jobs.list", lambda: client.fine_tuning.jobs.list(limit=2), lambda p: job.id in [j.id for j in p]
)
calls.works("fine_tuning.jobs.list_events", lambda: next(iter(client.fine_tuning.jobs.list_events(job.id))).message)
calls.works("fine_tuning.jobs.cancel", lambda: client.fine_tuning.jobs.cancel(job.id), lambda j: j.id == job.id)
calls.refused("chat.completions.create, unknown model", lambda: chat("nobody"), "NotFoundError")
calls.refused("chat.completions.create, classifier", lambda: chat("departments"), "generation requires")
for field, value in {"tools": [{"type": "function", "function": {"name": "f"}}], "audio": {"voice": "a"}}.items():
    calls.refused(
        f"chat.completions.create, {field}", lambda f=field, v=value: chat(CHATS[0], **{f: v}), "is not supported"
    )
calls.refused(
    "responses.create, store",
    lambda: client.responses.create(model=CHATS[0], input=QUESTION, store=True),
    "responses are not stored",
)


def run_batch() -> tuple[Any, list[Any]]:
    """Return a finished batch, and the lines of its output file."""
    body = {"model": "departments", "input": COMPLAINT}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/embeddings", "body": body}
    file = client.files.create(file=("requests.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    end = time.monotonic() + BATCH_SECONDS
    while batch.status in ("validating", "in_progress", "finalizing"):
        if time.monotonic() > end:
            raise TimeoutError(f"the batch is still {batch.status} after {BATCH_SECONDS:g} s")
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch, client.files.content(batch.output_file_id).text.splitlines()


calls.works(
    "batches.create, retrieve, output",
    run_batch,
    lambda done: done[0].status == "completed" and json.loads(done[1][0])["custom_id"] == "one",
)
calls.works("batches.list", lambda: client.batches.list().data, lambda data: data[0].status == "completed")
if hasattr(getattr(client, "webhooks", None), "create"):
    hook = {"name": "suite", "url": "https://example.com/webhooks", "event_types": ["batch.completed"]}
    endpoint = client.webhooks.create(**hook)
    calls.works("webhooks.create", lambda: endpoint, lambda e: e.signing_secret.startswith("whsec_"))
    calls.works("webhooks.retrieve", lambda: client.webhooks.retrieve(endpoint.id), lambda e: e.url == hook["url"])
    calls.works("webhooks.update", lambda: client.webhooks.update(endpoint.id, name="a"), lambda e: e.name == "a")
    calls.works("webhooks.list", lambda: [e.id for e in client.webhooks.list()], lambda ids: endpoint.id in ids)
    calls.works(
        "webhooks.rotate_secret",
        lambda: client.webhooks.rotate_secret(endpoint.id).signing_secret,
        lambda secret: secret != endpoint.signing_secret,
    )
    calls.works(
        "webhooks.event_types.list", lambda: client.webhooks.event_types.list().data, lambda d: "batch.failed" in d
    )
    calls.refused(
        "webhooks.create, private address",
        lambda: client.webhooks.create(**{**hook, "url": "https://10.0.0.1/webhooks"}),
        "url must not resolve to a loopback",
    )
    calls.works("webhooks.delete", lambda: client.webhooks.delete(endpoint.id), lambda d: d.deleted)
else:
    calls.missing("webhooks.create", "this release only verifies signatures")
calls.report()
