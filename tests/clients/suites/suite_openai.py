"""The `openai` package: chats, responses, completions, embeddings, moderations, decisions, models, files and jobs."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from typing import Any

import openai
from calls import ANSWER, CHATS, COMPLAINT, CRASH, MESSAGES, PROMPT, QUESTION, URL, Calls, answers

client: Any = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
calls = Calls("openai")
SECONDS = 300.0  # patience for a job
TRAINING = {"training": {"batch_size": 8, "max_steps": 4, "width": 8, "layers": 1, "eval_every": 2}}
TABLE = b"text,label\n" + b"".join(b"good %d,yes\nbad %d,no\n" % (n, n) for n in range(50))
UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")
ENDLESS = {"training": {"max_steps": 1_000_000}}


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


def until(condition: Callable[[Any], bool], retrieve: Callable[[], Any]) -> Any:
    """Retrieve an object until it satisfies the condition. Raises TimeoutError after SECONDS."""
    end = time.monotonic() + SECONDS
    while not condition(actual := retrieve()):
        if time.monotonic() > end:
            raise TimeoutError(f"still {actual.status} after {SECONDS:g} s")
        time.sleep(0.2)
    return actual


async def asynchronous(model: str) -> tuple[list[str], list[float]]:
    """Return four texts, and a vector."""
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0) as other:
        asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "temperature": 0}
        text: dict[str, Any] = {"model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 40}
        whole = await other.chat.completions.create(**asked)
        chunks = [chunk async for chunk in await other.chat.completions.create(**asked, stream=True)]
        response = await other.responses.create(model=model, input=QUESTION, temperature=0)
        completed = await other.completions.create(**text)
        vectors = await other.embeddings.create(model="departments", input=COMPLAINT)
    joined = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    texts = [whole.choices[0].message.content or "", joined, response.output_text, completed.choices[0].text]
    return texts, vectors.data[0].embedding


for model in CHATS:
    calls.works(
        f"AsyncOpenAI: chat whole and stream, responses, completions, embeddings ({model})",
        lambda m=model: asyncio.run(asynchronous(m)),
        lambda pair: len(pair[0]) == 4 and all(map(answers, pair[0])) and unit(pair[1]),
    )
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
file = client.files.create(file=("a.csv", TABLE), purpose="fine-tune")
calls.works("files.create", lambda: file, lambda f: f.bytes == len(TABLE))
calls.works("files.list", lambda: [f.id for f in client.files.list()], lambda ids: file.id in ids)
calls.works("files.content", lambda: client.files.content(file.id).read(), lambda b: b == TABLE)
calls.works(
    "files.retrieve", lambda: client.files.retrieve(file.id), lambda f: (f.id, f.filename) == (file.id, "a.csv")
)


def upload(*parts: bytes) -> tuple[Any, bytes]:
    """Upload a file in parts. Returns the upload, and the content of its file."""
    begun = client.uploads.create(
        bytes=sum(map(len, parts)), filename="parts.csv", mime_type="text/csv", purpose="fine-tune"
    )
    ids = [client.uploads.parts.create(begun.id, data=part).id for part in parts]
    done = client.uploads.complete(begun.id, part_ids=ids)
    return done, client.files.content(done.file.id).read()


calls.works(
    "uploads.create, parts.create, complete",
    lambda: upload(b"text,la", b"bel\na,b\nc,d\n"),
    lambda pair: (
        pair[0].status == "completed" and pair[0].file.filename == "parts.csv" and pair[1] == b"text,label\na,b\nc,d\n"
    ),
)
calls.works(
    "uploads.cancel",
    lambda: client.uploads.cancel(
        client.uploads.create(bytes=9, filename="a.csv", mime_type="text/csv", purpose="fine-tune").id
    ),
    lambda u: u.status == "cancelled",
)
jobs = client.fine_tuning.jobs
marks = {"suite": f"openai {openai.__version__}"}
job = jobs.create(model="lstm", training_file=file.id, metadata=marks, extra_body=ENDLESS)
calls.works("fine_tuning.jobs.create", lambda: job, lambda j: j.status in ("validating_files", "queued", "running"))
calls.works("fine_tuning.jobs.retrieve", lambda: jobs.retrieve(job.id), lambda j: (j.id, j.metadata) == (job.id, marks))
calls.works("fine_tuning.jobs.list", lambda: [j.id for j in jobs.list(limit=2)], lambda ids: job.id in ids)
calls.works(
    "fine_tuning.jobs.list, metadata", lambda: [j.id for j in jobs.list(metadata=marks)], lambda ids: ids == [job.id]
)
calls.works(
    "fine_tuning.jobs.list_events",
    lambda: [event.message for event in jobs.list_events(job.id)],
    lambda messages: all(messages) and len(messages) > 0,
)
calls.works(
    "fine_tuning.jobs.pause",
    lambda: (jobs.pause(job.id), until(lambda j: j.status == "paused", lambda: jobs.retrieve(job.id)))[1],
    lambda j: (j.id, j.status) == (job.id, "paused"),
)
calls.works("fine_tuning.jobs.resume", lambda: jobs.resume(job.id), lambda j: (j.id, j.status) == (job.id, "queued"))
calls.works(
    "fine_tuning.jobs.cancel",
    lambda: (jobs.cancel(job.id), until(lambda j: j.status == "cancelled", lambda: jobs.retrieve(job.id)))[1],
    lambda j: (j.id, j.status) == (job.id, "cancelled"),
)
calls.refused("fine_tuning.jobs.retrieve, unknown job", lambda: jobs.retrieve("ftjob-none"), "ftjob-none")
short = jobs.create(model="lstm", training_file=file.id, suffix="short", extra_body=TRAINING)
ended = until(lambda j: j.status in ("succeeded", "failed"), lambda: jobs.retrieve(short.id))
calls.works(
    "fine_tuning.jobs.create, until its model is ready",
    lambda: ended,
    lambda j: j.status == "succeeded" and client.models.retrieve(j.fine_tuned_model).id == j.fine_tuned_model,
)
calls.works(
    "fine_tuning.jobs.checkpoints.list",
    lambda: [(c.step_number, c.fine_tuning_job_id) for c in jobs.checkpoints.list(short.id)],
    lambda actual: actual[0] == (4, short.id),
)
calls.works(
    "models.delete",
    lambda: client.models.delete(ended.fine_tuned_model),
    lambda d: d.deleted and ended.fine_tuned_model not in [m.id for m in client.models.list()],
)
calls.works(
    "files.delete",
    lambda: client.files.delete(file.id),
    lambda d: (d.id, d.deleted) == (file.id, True) and file.id not in [f.id for f in client.files.list()],
)
calls.refused("files.retrieve, deleted file", lambda: client.files.retrieve(file.id), file.id)
calls.refused("chat.completions.create, unknown model", lambda: chat("nobody"), "model not found: 'nobody'")
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
for field, value in {"previous_response_id": "resp_1", "background": True}.items():
    calls.refused(
        f"responses.create, {field}",
        lambda f=field, v=value: client.responses.create(model=CHATS[0], input=QUESTION, **{f: v}),
        "responses are not stored",
    )


def batch_of(*texts: str) -> Any:
    """Create a batch of requests for vectors."""
    lines = [
        {
            "custom_id": f"request-{number}", "method": "POST", "url": "/v1/embeddings",
            "body": {"model": "departments", "input": text},
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
    content = "\n".join(map(json.dumps, lines)).encode()
    requests = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=requests.id, endpoint="/v1/embeddings", completion_window="24h")


def run_batch() -> tuple[Any, list[Any]]:
    """Return a finished batch, and the lines of its output file."""
    batch = batch_of(COMPLAINT)
    done = until(lambda b: b.status not in UNDER_WAY, lambda: client.batches.retrieve(batch.id))
    return done, [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]


def cancel_batch() -> Any:
    batch = client.batches.cancel(batch_of(*[COMPLAINT] * 20_000).id)
    return until(lambda b: b.status not in UNDER_WAY, lambda: client.batches.retrieve(batch.id))


def right_vector(line: Any) -> bool:
    """Whether an output line has the vector that the route returns."""
    expected = client.embeddings.create(model="departments", input=COMPLAINT).data[0].embedding
    actual = line["response"]["body"]["data"][0]["embedding"]
    return all(math.isclose(*pair, abs_tol=1e-4) for pair in zip(actual, expected, strict=True))


calls.works(
    "batches.create, retrieve, output",
    run_batch,
    lambda done: (
        done[0].status == "completed"
        and len(done[1]) == 1
        and done[1][0]["custom_id"] == "request-0"
        and right_vector(done[1][0])
    ),
)
calls.works("batches.list", lambda: client.batches.list().data, lambda data: data[0].status == "completed")
calls.works("batches.cancel", cancel_batch, lambda b: b.status == "cancelled")
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
