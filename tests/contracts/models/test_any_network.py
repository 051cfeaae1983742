"""Networks with random configurations have the same outputs after they are saved and loaded, alone and in pieces."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from models import parameters
from models.choices import CHOICES, NETWORKS, RECURRENT, TRAINABLE
from models.config import ModelConfig
from models.interface import Context
from models.linear import LinearClassifier
from models.tasks import Classifier, LanguageModel
from tests.models.configurations import NGRAMS, TOKEN_NGRAMS, batch, built, loss, targets


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    values: dict[str, Any] = {name: draw(st.sampled_from(options)) for name, options in CHOICES.items()}
    values["architecture"], values["task"] = draw(st.sampled_from(NETWORKS)), draw(st.sampled_from(TRAINABLE))
    groups, repeats = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    heads = groups * repeats
    values |= {"heads": heads, "kv_heads": groups, "width": heads * 2 * draw(st.integers(1, 4))}
    for name in ("norm_first", "final_norm", "bias", "tie_embeddings", "head_bias", "bidirectional"):
        values[name] = draw(st.booleans())
    recurrent = values["architecture"] in RECURRENT
    if values["task"] == "generation":
        values |= {"input": "tokens", "bidirectional": False, "classes": 0, "output_activation": "none"}
        values["output_norm"] = "none" if values["output_norm"] == "pooled" else values["output_norm"]
    else:
        values["classes"] = 1 if values["task"] == "regression" else draw(st.integers(1, 4))
        values["bidirectional"] |= values["pooling"] == "first"
        values["pooling_width"] = draw(st.sampled_from((0, 3))) if values["pooling"] == "attention" else 0
        values["head_widths"] = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
        values["head_norm"] = values["head_widths"] != () and draw(st.booleans())
    if values["task"] == "generation" or values["pooling"] != "attention":
        values["pooling_input_activation"] = "none"
    if values["pooling"] == "first" and not recurrent and values["architecture"] != "transformer":
        values["pooling"] = "mean"
    if recurrent and not (values["task"] == "generation" and values["tie_embeddings"]):
        values["input_width"] = draw(st.sampled_from((0, 3, 5)))
    if values["input"] == "tokens":
        values["input_activation"] = "none"
    if values["architecture"] == "transformer":
        for name in ("input_norm", "qk_norm", "qkv_bias", "norm_bias", "first_norm"):
            values[name] = draw(st.booleans())
        values["first_norm"] |= not values["norm_first"]
        if values["task"] != "generation":
            values |= {"attention_window": draw(st.integers(1, 3)), "global_every": draw(st.integers(0, 2))}
        values |= {"head_width": draw(st.sampled_from((0, 2, 6))), "rotary_skip": draw(st.integers(0, 2))}
        values["rotary_scaling"] = draw(st.sampled_from(((), (4.0,), (4.0, 1.0, 4.0, 8.0))))
        if values["input"] == "tokens" and values["task"] != "generation":
            values["token_types"] = draw(st.integers(0, 3))
    values |= {"layers": draw(st.integers(1, 3)), "inner": draw(st.sampled_from((0, 6))), "context_length": 12}
    if values["input"] == "tokens" and draw(st.booleans()):
        values |= TOKEN_NGRAMS if values["task"] == "generation" else NGRAMS
    size = {"vocab_size": draw(st.integers(2, 30))} if values["input"] == "tokens" else {"features": 3}
    return ModelConfig(**values, **size, dropout=draw(st.sampled_from((0.0, 0.2))))


lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple)


@settings(max_examples=40)
@given(config=configs(), lengths=lengths, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_network_trains_saves_loads_and_continues(
    config: ModelConfig, lengths: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    network = built(config)
    inputs, lengths_B = batch(config, lengths)
    dense = [parameter for name, parameter in network.named_parameters() if not name.startswith("ngrams.")]
    optimizer = torch.optim.AdamW([parameter for parameter in dense if parameter.requires_grad], lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        expected = inputs if config.task == "generation" else targets(config, len(lengths))
        value = loss(network, inputs, lengths_B, expected)
        assert value.isfinite()
        value.backward()
        optimizer.step()
    again = built(config, initialised=False).eval()
    again.load_state_dict(load(save(network.eval().state_dict())))
    assert {name: tuple(value.shape) for name, value in again.state_dict().items()} == parameters.shapes(config)
    assert not isinstance(network, LinearClassifier) and not isinstance(again, LinearClassifier)
    with torch.inference_mode():
        hidden_BTD = network.hidden(inputs, Context(lengths_B))
        assert torch.equal(again.hidden(inputs, Context(lengths_B)), hidden_BTD)
        for row, length in enumerate(lengths):
            alone_TD = again.hidden(inputs[row : row + 1, :length], Context())[0]
            torch.testing.assert_close(alone_TD, hidden_BTD[row, :length], atol=1e-4, rtol=1e-4)
        if not isinstance(again, LanguageModel):
            check_alone(again, inputs, lengths)
        if isinstance(again, LanguageModel):
            check_in_pieces(again, inputs, lengths, again(inputs, Context(lengths_B)), data)


def check_alone(network: Classifier, inputs: torch.Tensor, lengths: tuple[int, ...]) -> None:
    """Compare the outputs of a batch with the outputs of each row, computed alone and without padding."""
    together_BC = network(inputs, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone_1C = network(inputs[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(alone_1C[0], together_BC[row], atol=1e-4, rtol=1e-4)


def check_in_pieces(
    network: LanguageModel, ids_BT: torch.Tensor, lengths: tuple[int, ...], whole_BTD: torch.Tensor, data: st.DataObject
) -> None:
    """Read each row up to a random point, continue all rows together, and compare with a single pass."""
    firsts = [data.draw(st.integers(0, length)) for length in lengths]
    state = network.new_state(len(lengths))
    network(ids_BT, Context(torch.tensor(firsts), state))
    rests = torch.nn.utils.rnn.pad_sequence(
        [ids_BT[row, first:length] for row, (first, length) in enumerate(zip(firsts, lengths, strict=True))],
        batch_first=True,
    )
    counts = [length - first for first, length in zip(firsts, lengths, strict=True)]
    if not max(counts):
        return
    hidden_BTD = network(rests, Context(torch.tensor(counts), state))
    for row, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        torch.testing.assert_close(
            hidden_BTD[row, : length - first], whole_BTD[row, first:length], atol=1e-4, rtol=1e-4
        )
