"""Runs an independent load generator for OpenAI servers, `guidellm`, on every route that it can call."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from benchmarks.accept.clients import ANSWERS, SECONDS, ClientSuite, install, train
from benchmarks.accept.record import Record
from benchmarks.service import running

REQUESTS, CONNECTIONS = 200, 8
GENERATOR = ClientSuite(("guidellm>=0.8",), ())
ROUTES = {  # route -> model of `clients.train`
    "/v1/completions": "assistant-lstm",
    "/v1/chat/completions": "assistant-transformer",
    "/v1/responses": "assistant-lstm",
    "/v1/embeddings": "departments",
}


def check(record: Record, data: Path | None, folder: Path) -> None:
    program = install("guidellm", GENERATOR) / "bin" / "guidellm"
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(list(ANSWERS) * 100), encoding="utf-8")
    with running(folder / "data", ready_in=SECONDS) as service:
        train(service, folder)
        for route, model in ROUTES.items():
            generate(record, [str(program), "run"], service.url, route, model, prompts)


def generate(record: Record, command: list[str], url: str, route: str, model: str, prompts: Path) -> None:
    """Send `REQUESTS` requests to a route, and record how many succeed."""
    report = prompts.with_name("report.json")
    options = [
        "--disable-progress", "--backend", f"kind=openai_http,target={url},model={model},request_format={route}",
        "--profile", f"kind=concurrent,streams={CONNECTIONS}", "--constraint", f"kind=max_requests,count={REQUESTS}",
        "--data", f"kind=text_file,path={prompts}", "--output", f"kind=json,path={report}",
    ]  # fmt: skip
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # nothing is downloaded; the prompts are in a file
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=SECONDS)
    record.equal(f"{route}: status of guidellm", done.returncode, 0)
    if done.returncode:
        record.notes[route] = (done.stdout + done.stderr)[-3000:]
        return
    [benchmark] = json.loads(report.read_text(encoding="utf-8"))["benchmarks"]
    record.equal(f"{route}: successful requests", len(benchmark["requests"]["successful"]), REQUESTS)
    record.equal(f"{route}: failed requests", len(benchmark["requests"]["errored"]), 0)
