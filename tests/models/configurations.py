"""Configurations of every architecture and option, and functions that run their networks."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from app.training.loop.batches import IGNORED, Batch
from app.training.loop.objective import build_objective
from models.choices import ARCHITECTURES, CHOICES, NETWORKS, RECURRENT
from models.config import ModelConfig
from models.tasks import Classifier, LanguageModel, TaskNetwork, build

SMALL: dict[str, Any] = {"layers": 2, "width": 16, "heads": 4, "context_length": 32}
VARIANTS: dict[str, dict[str, Any]] = {
    "rnn": {"architecture": "rnn"},
    "rnn-relu": {"architecture": "rnn", "nonlinearity": "relu"},
    "lstm": {"architecture": "lstm"},
    "lstm-narrow-input": {"architecture": "lstm", "input_width": 8, "tie_embeddings": False},
    "gru": {"architecture": "gru"},
    "transformer": {"architecture": "transformer"},
    "transformer-grouped": {"architecture": "transformer", "kv_heads": 2},
    "transformer-gpt": {
        "architecture": "transformer", "norm": "layer", "positions": "learned", "activation": "gelu", "bias": True,
    },
    "transformer-post": {
        "architecture": "transformer", "norm_first": False, "final_norm": False, "positions": "sinusoidal",
        "activation": "relu", "norm": "layer", "tie_embeddings": False, "head_bias": False,
    },
    "transformer-bert": {
        "architecture": "transformer", "norm_first": False, "final_norm": False, "positions": "learned",
        "activation": "gelu", "norm": "layer", "bias": True, "input_norm": True, "norm_eps": 1e-12,
    },
    "transformer-gpt2": {
        "architecture": "transformer", "norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True,
        "head_bias": False,
    },
    "transformer-wide-heads": {
        "architecture": "transformer", "kv_heads": 2, "head_width": 6, "qk_norm": True, "rotary_base": 5e5,
        "rotary_scaling": (4.0, 1.0, 4.0, 16.0),
    },
    "transformer-partly-rotary": {
        "architecture": "transformer", "qkv_bias": True, "rotary_skip": 2, "rotary_scaling": (2.0,),
    },
    "transformer-modern": {
        "architecture": "transformer", "norm": "layer", "norm_bias": False, "first_norm": False, "input_norm": True,
        "activation": "geglu",
    },
}  # fmt: skip

LOCAL = {"attention_window": 2, "global_every": 2, "local_rotary_base": 100.0}  # only for networks that read both ways
PARTS: dict[str, dict[str, Any]] = {  # which only networks with one output vector have
    "deep": {
        "head_widths": (6, 4), "head_activation": "gelu", "output_norm": "pooled", "output_activation": "relu",
        "input_activation": "relu", "head_norm": True,
    },
    "scored": {
        "pooling": "attention", "pooling_width": 5, "pooling_input_activation": "relu",
        "output_norm": "steps", "input_activation": "tanh",
        "head_widths": (7,),
    },
}  # fmt: skip
LENGTHS = (11, 1, 7, 4)
NGRAMS = {"ngram_buckets": 64, "ngram_characters": 3, "ngram_words": 2}
TOKEN_NGRAMS = {"ngram_buckets": 64, "ngram_tokens": 3}


def generators() -> dict[str, ModelConfig]:
    variants = VARIANTS | {"gru-normed": {"architecture": "gru", "output_norm": "steps"}}
    variants |= {f"{name}-ngrams": {"architecture": name, **TOKEN_NGRAMS} for name in NETWORKS}
    return {name: ModelConfig(task="generation", vocab_size=23, **SMALL | v) for name, v in variants.items()}


def classifiers() -> dict[str, ModelConfig]:
    """Every combination of architecture, pooling, direction and input, and every task once for each architecture."""
    inputs: dict[str, dict[str, Any]] = {
        "tokens": {"input": "tokens", "vocab_size": 23},
        "features": {"input": "features", "features": 5},
    }
    configs = {}
    for (name, variant), pooling, (kind, sizes) in itertools.product(
        VARIANTS.items(), CHOICES["pooling"], inputs.items()
    ):
        for both in (False, True) if variant["architecture"] in RECURRENT else (False,):
            options = SMALL | variant | sizes | {"pooling": pooling, "bidirectional": both, "classes": 3}
            options |= LOCAL if name == "transformer-modern" else {}
            if pooling == "first" and options["architecture"] != "transformer" and not both:
                continue  # in a network that reads from left to right, the first step depends on no other
            key = f"{name}-{pooling}-{kind}" + ("-both" if both else "")
            configs[key] = ModelConfig(task="classification", **options)
    typed = VARIANTS["transformer-bert"] | {"token_types": 2, "separator_id": 7, "pooling": "first", "classes": 3}
    configs["transformer-typed"] = ModelConfig(task="classification", **SMALL | inputs["tokens"] | typed)
    for architecture in NETWORKS:
        options = SMALL | inputs["features"] | {"architecture": architecture}
        configs[f"{architecture}-multilabel"] = ModelConfig(task="multilabel", classes=4, **options)
        configs[f"{architecture}-regression"] = ModelConfig(task="regression", classes=1, **options)
        for name, parts in PARTS.items():
            configs[f"{architecture}-{name}"] = ModelConfig(task="classification", classes=3, **options | parts)
        if architecture in RECURRENT:  # without a projection
            configs[f"{architecture}-bare"] = ModelConfig(task="classification", classes=3, **options, input_width=5)
    return configs


def with_branches() -> dict[str, ModelConfig]:
    """Every architecture with an n-gram branch, and the linear model, each for every task."""
    tasks = {"classification": 3, "multilabel": 4, "regression": 1}
    return {
        f"{architecture}-{task}-ngrams": ModelConfig(
            architecture=architecture, task=task, classes=classes, vocab_size=23, **SMALL | NGRAMS
        )
        for architecture in ARCHITECTURES
        for task, classes in tasks.items()
    }


def generator(config: ModelConfig) -> LanguageModel:
    network = built(config).eval()
    assert isinstance(network, LanguageModel)
    return network


def classifier(config: ModelConfig) -> Classifier:
    network = built(config).eval()
    assert isinstance(network, Classifier)
    return network


def built(config: ModelConfig, *, initialised: bool = True) -> TaskNetwork:
    """Build a network. If it has an n-gram branch, it also gets the bytes of each token."""
    network = build(config, initialised=initialised)
    if config.ngram_buckets:
        torch.nn.init.normal_(network.get_parameter("ngrams.weight"))  # a new branch has only zeros
    if config.ngram_buckets and not isinstance(network, LanguageModel):
        assert network.ngrams is not None
        network.ngrams.bind_tokens(
            [f"{chr(97 + i % 7)}{' ' * (i % 3 == 0)}".encode() for i in range(config.vocab_size)]
        )
    return network


def batch(config: ModelConfig, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Random inputs and their lengths. Padding is also random, because results must not depend on it."""
    lengths_B = torch.tensor(lengths)
    shape = (len(lengths), max(lengths))
    if config.input == "tokens":
        return torch.randint(config.vocab_size, shape), lengths_B
    return torch.randn(*shape, config.features), lengths_B


def targets(config: ModelConfig, rows: int = len(LENGTHS)) -> Tensor:
    if config.task == "regression":
        return torch.randn(rows)
    if config.task == "multilabel":
        return torch.randint(2, (rows, config.classes))
    return torch.arange(rows) % config.classes


def loss(
    network: TaskNetwork,
    inputs: Tensor,
    lengths_B: Tensor,
    targets: Tensor,
    weights_C: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """The mean loss of a batch, as in the trainer. For a language model, it is the mean over all real steps."""
    if isinstance(network, LanguageModel):
        targets = targets.masked_fill(torch.arange(targets.shape[1]) >= lengths_B[:, None], IGNORED)
        whole = Batch.of_text(inputs, lengths_B, targets)
    else:
        whole = Batch(inputs, lengths_B, targets)
    objective = build_objective(network, None if weights_C is None else weights_C.tolist(), smoothing)
    return objective(whole).total / max(1.0, objective.weight(whole))
