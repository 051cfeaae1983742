"""Sends 100,000 hostile requests and 2,000 hostile checkpoints and tokenizers to a running service.

Half of the requests are well-formed with wrong values, and half have damaged bytes. Each accepted checkpoint is run. No
reply may be an unexpected 5xx error, no program may end, and memory use must not grow after the first tenth.
`FUZZ_SEED` sets the random seed. `FUZZ_SHARE` is the share of everything to send, such as 0.01 for a short run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.accept.record import Record
from benchmarks.hostile_checkpoints import TEXTS, archive, drawn, valid
from benchmarks.hostile_requests import EXPECTED, Requests, Tally, send_all
from benchmarks.service import Service, checked, running, wait_until

SEED, SHARE = int(os.environ.get("FUZZ_SEED", "1")), float(os.environ.get("FUZZ_SHARE", "1"))
REQUESTS, CHECKPOINTS = int(100_000 * SHARE), int(2_000 * SHARE)
AT_ONCE = 48  # connections at a time
MEMORY = 100.0  # maximum growth of the memory of the API and the engine after the first tenth, in MiB
RETURN_SECONDS = 120.0  # time limit for releasing memory
SECRETS = {"mallory": "secret-of-mallory", "ops": "secret-of-ops"}
SETTINGS = {
    "OSTINATO_API_KEYS": ",".join(f"{name}:{secret}" for name, secret in SECRETS.items()),
    "OSTINATO_KEY_SCOPES": "mallory:infer+train+registry,ops:operator",
    "OSTINATO_MODEL_MEMORY": "256",
    "OSTINATO_PREFIX_MEMORY": "32",
    "OSTINATO_DEFAULT_MODEL": "demo-sentiment-lstm",
    "OSTINATO_CHAT_FALLBACK": "1",
    "OSTINATO_TRAINING_MEMORY": "1",  # too little for any training run, so that training does not slow down the check
}
LABELS = ("negative", "neutral", "positive")
MODELS: dict[str, dict[str, Any]] = {
    "demo-sentiment-rnn": {"architecture": "rnn", "labels": LABELS},
    "demo-sentiment-lstm": {"architecture": "lstm", "labels": LABELS},
    "demo-sentiment-transformer": {"architecture": "transformer", "labels": LABELS, "heads": 2, "context_length": 512},
    "demo-text-lstm": {"architecture": "lstm", "task": "generation", "classes": 0, "labels": (), "context_length": 512},
}
NOT_DELETED = ("/v1/registry", "/v1/models")


def client(service: Service, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {SECRETS[name]}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=120)


def prepare(http: httpx.Client, folder: Path) -> dict[str, list[str]]:
    """Register the models in the OpenAPI document's examples, and upload a file. Returns values for path parameters."""
    for name, network in MODELS.items():
        content = archive(valid(folder / name, network), random.Random(SEED))
        checked(http.post(f"/v1/registry/models/{name}/versions", files={"file": ("a.tar", content)}))
    checked(http.put("/v1/registry/models/demo-text-lstm/aliases/champion", json={"version": 1}))
    table = b"text,label\n" + b"".join(b"some text %d,%d\n" % (n, n % 2) for n in range(50))
    form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.csv", table)}}
    file = checked(http.post("/v1/files", **form))["id"]  # type: ignore[arg-type]
    body = {"model": "demo-sentiment-lstm", "input": "a"}
    wait_until(lambda: http.post("/v1/classify", json=body).is_success, 120, "an answer")
    names = list(MODELS)
    return {
        "name": names,
        "model": names,
        "version": ["1"],
        "alias": ["champion"],
        "file_id": [file],
        "path": ["config.json"],
    }


def returned(service: Service, before: float) -> float:
    """Wait up to RETURN_SECONDS for memory to be released. Returns its growth in MiB, compared with `before`."""
    end = time.monotonic() + RETURN_SECONDS
    while (growth := service.resident() - before) > MEMORY / 2 and time.monotonic() < end:
        time.sleep(0.5)
    return growth


def pids(service: Service) -> dict[str, int]:
    """Return the process ids of the permanent programs; a trainer or a batch program ends with its job."""
    listed = {entry["program"]: entry["pid"] for entry in service.programs()}
    return {name: pid for name, pid in listed.items() if name.startswith(("api", "engine", "worker"))}


def ended(service: Service, programs: dict[str, int]) -> list[str]:
    """Return the programs that have been restarted or are missing."""
    now = pids(service)
    return [name for name, pid in programs.items() if now.get(name) != pid]


def try_checkpoint(http: httpx.Client, number: int, content: bytes) -> list[httpx.Response]:
    """Import an archive, and run the version if it is accepted. Returns all replies."""
    name = f"odd-{number}"
    replies = [http.post(f"/v1/registry/models/{name}/versions", files={"file": ("a.tar", content)})]
    if replies[0].is_success:
        texts, limit = list(TEXTS), {"max_tokens": 8}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/classify": {"input": texts[2]},
            "/classify": {"input": [text for text in texts if text]},
            "/tokenize": {"prompt": texts[4]},
            "/detokenize": {"tokens": [0, 1, 2, 3, 5]},
            "/v1/embeddings": {"input": texts[5]},
            "/v1/completions": {"prompt": texts[2], **limit},
            "/v1/chat/completions": {"messages": [{"role": "user", "content": texts[7]}], **limit},
        }
        replies += [http.post(path, json={"model": name, **body}) for path, body in bodies.items()]
        replies += [http.get(f"/v1/registry/models/{name}/versions"), http.get(f"/v2/models/{name}")]
        replies.append(http.delete(f"/v1/registry/models/{name}/versions/1"))
    return replies


def fuzz_checkpoints(
    http: httpx.Client, service: Service, draw: random.Random
) -> tuple[Counter[str], list[str], float]:
    """Try all checkpoints. Returns the number of imports with each status, the findings, and the growth of memory."""
    statuses: Counter[str] = Counter()
    findings: list[str] = []
    before, programs = 0.0, pids(service)
    for number in range(CHECKPOINTS):
        kind, content = drawn(draw)
        replies = try_checkpoint(http, number, content)
        statuses[f"{kind}: {replies[0].status_code}"] += 1
        bad = [r for r in replies if r.status_code >= 500 and r.headers.get("x-error-code") not in EXPECTED]
        if bad or pids(service) != programs:
            findings.append(f"{number} ({kind}): " + "; ".join(f"{r.request.url.path} {r.text[:300]}" for r in bad))
            wait_until(service.ready, RETURN_SECONDS, "readiness after a finding")
            programs = pids(service)
        if number == CHECKPOINTS // 10:
            before = service.resident()
    return statuses, findings, returned(service, before)


def fuzz_requests(record: Record, service: Service, existing: dict[str, list[str]]) -> None:
    document = httpx.get(f"{service.url}/openapi.json", timeout=60).json()
    requests = Requests(document, SEED, SECRETS["mallory"], existing, NOT_DELETED)
    tallies, before = [], 0.0
    for share in (0.1, 0.9):
        count = int(REQUESTS * share)
        tallies.append(asyncio.run(send_all(service.url, requests, count, at_once=AT_ONCE, expected=EXPECTED)))
        before = before or service.resident()
    growth = returned(service, before)
    whole = Tally(tallies[0].replies + tallies[1].replies, tallies[0].findings + tallies[1].findings)
    record.notes["replies to requests"] = dict(whole.replies.most_common())
    record.notes["memory after a tenth of the requests, MiB"] = round(before, 1)
    findings = [f"{ending}: {request[:2000]!r}" for ending, request in whole.findings[:20]]
    record.equal("requests: unexpected errors and missing answers", findings, [])
    record.at_most("requests: memory, MiB", growth, MEMORY)


def check(record: Record, data: Path | None, folder: Path) -> None:
    with running(folder / "data", settings=SETTINGS, ready_in=300) as service, client(service, "mallory") as mallory:
        existing = prepare(mallory, folder)
        programs = pids(service)
        fuzz_requests(record, service, existing)
        record.equal("requests: programs that ended", ended(service, programs), [])
        outcome = fuzz_checkpoints(mallory, service, random.Random(SEED))
        record.notes["imports of checkpoints"] = dict(sorted(outcome[0].items()))
        record.equal("checkpoints: unexpected errors and ended programs", outcome[1][:20], [])
        record.at_most("checkpoints: memory, MiB", outcome[2], MEMORY)
        record.equal("checkpoints: programs that ended", ended(service, programs), [])
