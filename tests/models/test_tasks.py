"""Complete networks: saved weights, seeds, initial weights, mixed precision, and invalid configurations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import catalog, parameters
from models.choices import NETWORKS
from models.config import ModelConfig
from models.constraints import ConfigError
from models.interface import Context
from models.linear import LinearClassifier
from models.tasks import LanguageModel, build
from tests.models.configurations import (
    SMALL,
    batch,
    built,
    classifier,
    classifiers,
    generator,
    generators,
    loss,
    targets,
    with_branches,
)

EVERY = {f"generate-{name}": config for name, config in generators().items()} | classifiers() | with_branches()
every_config = pytest.mark.parametrize("config", EVERY.values(), ids=EVERY.keys())


@every_config
def test_saved_weights_are_those_documented_and_give_the_same_network(config: ModelConfig, tmp_path: Path) -> None:
    network = built(config).eval()
    weights = network.state_dict()
    assert {name: tuple(value.shape) for name, value in weights.items()} == parameters.shapes(config)
    assert parameters.count(config) == sum(value.numel() for value in network.parameters())
    save_file(weights, tmp_path / "model.safetensors")
    again = built(ModelConfig.from_dict(config.to_dict()), initialised=False).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    inputs, lengths_B = batch(config)
    if not isinstance(network, LinearClassifier):
        assert torch.equal(network.embed(inputs, lengths_B), again.embed(inputs, lengths_B))
    if not isinstance(network, LanguageModel):
        assert torch.equal(network(inputs, lengths_B), again(inputs, lengths_B))


@every_config
def test_a_seed_determines_every_weight(config: ModelConfig) -> None:
    one, two, other = (build(config, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2))
    torch.manual_seed(1)
    assert all(torch.equal(value, two[name]) and value.isfinite().all() for name, value in one.items())
    # A linear model begins with zeros.
    assert any(not torch.equal(value, other[name]) for name, value in one.items()) or config.architecture == "linear"
    assert all(torch.equal(value, one[name]) for name, value in build(config).state_dict().items())


@every_config
def test_a_network_to_be_loaded_is_not_initialised(config: ModelConfig) -> None:
    state = torch.get_rng_state()
    assert build(config, initialised=False).training
    assert torch.equal(torch.get_rng_state(), state)


def test_building_networks_does_not_import_the_compiler() -> None:
    """If torch's compiler were imported, the first request to an engine would wait for several seconds."""
    code = "import sys; from models.tasks import build; from models.config import ModelConfig as M;"
    code += "[build(M(architecture=a, task='generation', vocab_size=9, width=8)) for a in ('lstm', 'transformer')];"
    code += "sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_recurrent_matrices_begin_orthogonal_and_forget_gates_open() -> None:
    for name in ("rnn", "lstm", "gru"):
        weights = generator(generators()[name]).state_dict()
        for gate in weights["body.rnn.weight_hh_l1"].split(16):
            torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=1e-5)
        bias = sum(weights[f"body.rnn.bias_{kind}_l1"] for kind in ("ih", "hh"))
        assert bias.tolist() == ([0.0] * 16 + [1.0] * 16 + [0.0] * 32 if name == "lstm" else [0.0] * len(bias))


@torch.inference_mode()
def test_hidden_vectors_of_a_new_transformer_do_not_grow_with_depth() -> None:
    for layers in (1, 24):
        config = ModelConfig(
            architecture="transformer", task="generation", vocab_size=50, width=64, layers=layers, final_norm=False
        )
        hidden_BTD = generator(config)(torch.randint(50, (4, 16)), Context())
        assert hidden_BTD.std() < 1.5


@pytest.mark.parametrize("architecture", NETWORKS)
def test_dropout_is_applied_in_training_only(architecture: str) -> None:
    options = SMALL | {"architecture": architecture, "dropout": 0.5}
    network = build(ModelConfig(task="classification", vocab_size=23, classes=3, **options))
    inputs, lengths_B = batch(network.config)
    assert not torch.equal(network(inputs, lengths_B), network(inputs, lengths_B))
    network.eval()
    assert torch.equal(network(inputs, lengths_B), network(inputs, lengths_B))
    network.dropout.train()  # the dropout before the head, which every architecture has
    assert not torch.equal(network(inputs, lengths_B), network(inputs, lengths_B))


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("task", ["generation", "classification"])
def test_mixed_precision_gives_every_weight_a_gradient(architecture: str, task: str) -> None:
    options = SMALL | {"architecture": architecture, "dropout": 0.1, "bidirectional": task == "classification"}
    config = ModelConfig(task=task, vocab_size=23, classes=3, pooling="attention", **options)
    network = build(config)
    inputs, lengths_B = batch(config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(network, inputs, lengths_B, inputs if task == "generation" else targets(config))
    value.backward()
    assert value.dtype == torch.float32
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_bidirectional_bodies_have_no_state() -> None:
    for name in ("lstm-mean-tokens-both", "transformer-mean-tokens"):
        with pytest.raises(TypeError, match="whole sequences"):
            classifier(EVERY[name]).body.new_state(1)


def test_every_body_is_in_the_catalog() -> None:
    with_body = [config for config in EVERY.values() if config.architecture != "linear"]
    for config in with_body:
        assert isinstance(build(config).body, catalog.body_class(catalog.body_name(config)))
    assert {catalog.body_name(config) for config in with_body} == set(catalog.BODIES)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("architecture", {"architecture": "no-such-network"}),
        ("vocab_size", {"vocab_size": 0}),
        ("classes", {"task": "classification"}),
        ("classes", {"task": "regression", "classes": 2}),
        ("classes", {"task": "classification", "classes": -1}),
        ("pooling", {"task": "classification", "classes": 2, "architecture": "gru", "pooling": "first"}),
        ("bidirectional", {"architecture": "gru", "bidirectional": True}),
        ("input", {"input": "features", "features": 3}),
        ("heads", {"heads": 3}),
        ("heads", {"width": 12, "heads": 4}),
        ("kv_heads", {"kv_heads": 3}),
        ("kv_heads", {"kv_heads": -4}),
        ("inner", {"inner": -1}),
        ("input_width", {"input_width": 8}),
        ("tie_embeddings", {"architecture": "gru", "input_width": 8}),
        ("width", {"width": 15, "heads": 5, "positions": "sinusoidal"}),
        ("dropout", {"dropout": 1.0}),
        ("norm_eps", {"norm_eps": 0.0}),
        ("layers", {"layers": 0}),
        ("layers", {"layers": True}),
        ("layers", {"layers": "2"}),
        ("bias", {"bias": 1}),
    ],
)
def test_an_impossible_configuration_is_refused_by_field(field: str, values: dict[str, object]) -> None:
    possible = {"architecture": "transformer", "task": "generation", "vocab_size": 9, "width": 16}
    ModelConfig.from_dict(possible)
    with pytest.raises(ConfigError, match=f"^{re.escape(field)}: ") as caught:
        ModelConfig.from_dict(possible | values)
    assert caught.value.field == field


@pytest.mark.parametrize("missing", ["architecture", "task"])
def test_architecture_and_task_are_required(missing: str) -> None:
    values = {"architecture": "gru", "task": "generation", "vocab_size": 9}
    del values[missing]
    with pytest.raises(ConfigError, match=f"{missing}: is missing"):
        ModelConfig.from_dict(values)
