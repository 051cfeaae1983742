"""The reference server: plain FastAPI + torch in float32, with the service's weights. It handles one request at a time.

Usage: python -m benchmarks.plain_server CHECKPOINT_DIRECTORY PORT
"""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.torch import load_file

from app.checkpoint import directory as checkpoint
from app.tokenization.tokenizer import Tokenizer
from models.interface import Context
from models.tasks import build


class ClassifyBody(BaseModel):
    """Body of POST /v1/classify."""

    input: str


class CompletionBody(BaseModel):
    """Body of POST /v1/completions."""

    prompt: str
    max_tokens: int = 16


def create(directory: Path) -> FastAPI:
    """Create the application for one checkpoint."""
    contents = checkpoint.read(directory)
    network: Any = build(contents.config)
    network.load_state_dict(load_file(directory / "model.safetensors"))
    network.eval()
    tokenizer = Tokenizer.load(directory)
    one_at_a_time = Lock()
    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/classify")
    def classify(body: ClassifyBody) -> dict[str, Any]:
        ids = tokenizer.encode(body.input)
        with one_at_a_time, torch.inference_mode():
            logits_BC = network(torch.tensor([ids]), torch.tensor([len(ids)]))
            probs_C = logits_BC[0].softmax(-1).tolist()
        best = max(range(len(probs_C)), key=probs_C.__getitem__)
        return {"data": [{"index": 0, "label": contents.labels[best], "probs": probs_C}]}

    @app.post("/v1/completions")
    def complete(body: CompletionBody) -> dict[str, Any]:
        ids = tokenizer.encode(body.prompt)
        new: list[int] = []
        with one_at_a_time, torch.inference_mode():
            state = network.new_state(1)
            step_BT = torch.tensor([ids])
            while True:
                lengths_B = torch.tensor([step_BT.shape[1]])
                hidden_BTD = network(step_BT, Context(lengths_B=lengths_B, state=state))
                new.append(int(network.logits(hidden_BTD[:, -1]).argmax()))
                if len(new) == body.max_tokens:
                    break
                step_BT = torch.tensor([[new[-1]]])
        return {"choices": [{"index": 0, "text": tokenizer.decode(new)}], "usage": {"completion_tokens": len(new)}}

    return app


if __name__ == "__main__":
    uvicorn.run(create(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
