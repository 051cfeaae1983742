"""Computes the answers of a checkpoint in two ways: with an engine, and directly from its files."""

from __future__ import annotations

import json
import math
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional

from app.checkpoint import directory as checkpoint
from app.engine.host import EngineHost
from app.engine.limits import StepLimits
from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from models.config import ModelConfig
from models.interface import Context
from models.tasks import LanguageModel, build
from tests.engine.test_host import Immediate, Replies

Sequence = list[int] | list[list[float]]  # token ids, or numeric steps
PEER = b"peer"


class ServedCheckpoint:
    """An engine that has loaded a checkpoint directory and then `others`, but answers only for the first."""

    def __init__(self, directory: Path, *others: Path) -> None:
        self.replies = Replies()
        self.host = EngineHost(StepLimits(512, 4, 16), Immediate(), self.replies)
        self.digest, *_ = [self._load(each) for each in (directory, *others)]
        self._ids = map(str, count())

    @property
    def shares(self) -> bool:
        """Whether the version shares the network of its base."""
        return self.host.versions[self.digest].loaded.shared is not None

    def _load(self, directory: Path) -> str:
        files = checkpoint.manifest(directory)
        digest, hashes = checkpoint.digest(files), {name: entry.sha256 for name, entry in files.items()}
        self.host.receive(PEER, wire.Load(digest, str(directory), hashes, "trained:1"))
        self.host.collect_loads()
        (loaded,) = self.replies.all[digest]
        assert isinstance(loaded, wire.Loaded), loaded
        return digest

    def scores(self, rows: list[Sequence]) -> list[list[float]]:
        """The raw outputs of a classifier, or the value of a regression in the original units."""
        id_ = next(self._ids)
        if isinstance(rows[0][0], int):
            message = wire.Score(id_, self.digest, "local", sequences=rows)  # type: ignore[arg-type]
        else:
            arrays = [np.asarray(row, dtype="<f8") for row in rows]
            steps = [wire.FeatureSequence(*array.shape, array.tobytes(), "f8") for array in arrays]
            message = wire.Score(id_, self.digest, "local", features=steps)
        self._run(message)
        answer = self.replies.final(id_)
        assert isinstance(answer, wire.Scored), answer
        return answer.scores

    def logprobs(self, ids: list[int]) -> list[float]:
        """The log-probability of each token except for the first, and the first token of the greedy continuation."""
        id_ = next(self._ids)
        params = wire.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, ignore_eos=True)
        self._run(wire.Generate(id_, self.digest, "local", ids, params))
        assert isinstance(self.replies.final(id_), wire.Finished), self.replies.final(id_)
        entries = [entry for m in self.replies.all[id_] if isinstance(m, wire.Tokens) for entry in m.prompt_logprobs]
        return [entry.logprob for entry in entries if entry.logprob is not None]

    def _run(self, message: Any) -> None:
        self.host.receive(PEER, message)
        while self.host.busy:
            self.host.step()


def plain_scores(directory: Path, rows: list[Sequence]) -> list[list[float]]:
    """Compute each row separately with the exported weights, using the scales in config.json."""
    raw, network = _loaded(directory)
    scaling, target = raw.get("normalization"), raw.get("target") or {"mean": 0.0, "std": 1.0}
    scores = []
    for row in rows:
        inputs = torch.tensor([row])
        if scaling:
            wide = inputs.double() - torch.tensor(scaling["mean"], dtype=torch.float64)
            inputs = (wide / torch.tensor(scaling["std"], dtype=torch.float64)).float()
        with torch.no_grad():
            scores_C = network(inputs, torch.tensor([len(row)]))[0] * target["std"] + target["mean"]
        scores.append(scores_C.tolist())
    return scores


def plain_logprobs(directory: Path, ids: list[int]) -> list[float]:
    _, network = _loaded(directory)
    assert isinstance(network, LanguageModel)
    with torch.no_grad():
        logits_TV = network.logits(network(torch.tensor([ids]), Context()))[0]
    logprobs_TV = functional.log_softmax(logits_TV, -1)
    return [float(logprobs_TV[step, id_]) for step, id_ in enumerate(ids[1:])]


def _loaded(directory: Path) -> tuple[dict[str, Any], Any]:
    raw = json.loads((directory / "config.json").read_text())
    network: Any = build(ModelConfig.from_dict(raw), initialised=False)
    network.load_state_dict(load_file(directory / "model.safetensors"))
    if raw.get("ngram_buckets") and raw["task"] != "generation":
        network.ngrams.bind_tokens(pieces(Tokenizer.load(directory)))
    return raw, network.eval()


def near(one: list[Any], two: list[Any], tolerance: float = 1e-4) -> bool:
    """Whether all pairs of numbers are close, relative to their size."""
    first, second = np.asarray(one, dtype=float).ravel(), np.asarray(two, dtype=float).ravel()
    pairs = zip(first, second, strict=True)
    return all(math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in pairs)
