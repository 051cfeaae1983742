"""With the same weights, networks compute the same results as PyTorch's modules, so that imports are correct."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.interface import Context
from models.layers import MLP, rotated
from models.tasks import build
from tests.models.configurations import classifier, generator

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BLOCK = {
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "linear1.": "mlp.up.",
    "linear2.": "mlp.down.",
    "norm1.": "norm_attention.",
    "norm2.": "norm_mlp.",
}


@pytest.mark.parametrize(
    ("architecture", "layers", "both"), list(itertools.product(TORCH, (1, 2, 3), (False, True))), ids=str
)
@torch.inference_mode()
def test_recurrent_networks_equal_those_of_torch(architecture: str, layers: int, both: bool) -> None:
    theirs = TORCH[architecture](5, 8, layers, batch_first=True, bidirectional=both).eval()
    head = nn.Linear(16 if both else 8, 3)
    config = ModelConfig(
        architecture=architecture, task="classification", input="features", features=5, input_width=5, width=8,
        layers=layers, bidirectional=both, classes=3, pooling="last",
    )  # fmt: skip
    ours = classifier(config)
    copied = {f"body.rnn.{name}": value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(copied | {f"head.{name}": value for name, value in head.state_dict().items()})
    x_BTF, lengths_B = torch.randn(4, 9, 5), torch.tensor([9, 3, 6, 1])
    packed = nn.utils.rnn.pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    output, last = theirs(packed)
    hidden_BTD, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    ours_BTD = ours.body.forward(x_BTF, Context(lengths_B))
    for row, length in enumerate(lengths_B.tolist()):
        torch.testing.assert_close(ours_BTD[row, :length], hidden_BTD[row, :length], atol=1e-5, rtol=1e-5)
    h_n = last[0] if architecture == "lstm" else last
    last_BD = torch.cat((h_n[-2], h_n[-1]), 1) if both else h_n[-1]
    torch.testing.assert_close(ours(x_BTF, lengths_B), head(last_BD), atol=1e-5, rtol=1e-5)
    full = ours.body.forward(x_BTF, Context())
    torch.testing.assert_close(full, theirs(x_BTF)[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_an_rnn_with_relu_equals_that_of_torch() -> None:
    theirs = nn.RNN(8, 8, 2, nonlinearity="relu", batch_first=True)
    config = ModelConfig(architecture="rnn", nonlinearity="relu", task="generation", vocab_size=11, width=8, layers=2)
    ours = generator(config)
    ours.body.load_state_dict({f"rnn.{name}": value for name, value in theirs.state_dict().items()})
    x_BTD, state = torch.randn(2, 6, 8), ours.new_state(2)
    steps = [ours.body.forward(x_BTD[:, t : t + 1], Context(None, state)) for t in range(6)]
    torch.testing.assert_close(torch.cat(steps, 1), theirs(x_BTD)[0], atol=1e-5, rtol=1e-5)


def translated(name: str) -> str:
    if not name.startswith("layers."):
        return f"body.{name}"
    for old, new in BLOCK.items():
        name = name.replace(old, new)
    return name.replace("layers.", "body.blocks.")


class Tutorial(nn.Module):
    """A Transformer classifier with learned positions, written as in tutorials of PyTorch."""

    def __init__(self, norm_first: bool, activation: str, final_norm: bool) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(30, 16), nn.Embedding(12, 16)
        layer = nn.TransformerEncoderLayer(
            16, 4, 40, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first
        )
        norm = nn.LayerNorm(16) if final_norm else None
        self.encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)
        for parameter in self.parameters():  # norms and biases too: equal values would hide that two were exchanged
            nn.init.normal_(parameter, std=0.3)

    def forward(self, ids_BT: Tensor, padding_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT) + self.position.weight[: ids_BT.shape[1]]
        hidden_BTD = self.encoder(x_BTD, src_key_padding_mask=padding_BT)
        real_BT1 = (~padding_BT)[:, :, None]
        return self.head((hidden_BTD * real_BT1).sum(1) / real_BT1.sum(1))


@pytest.mark.parametrize(
    ("norm_first", "activation", "final_norm"),
    list(itertools.product((False, True), ("relu", "gelu"), (False, True))),
)
def test_a_transformer_encoder_equals_that_of_torch(norm_first: bool, activation: str, final_norm: bool) -> None:
    theirs = Tutorial(norm_first, activation, final_norm)
    config = ModelConfig(
        architecture="transformer", task="classification", vocab_size=30, classes=3, layers=2, width=16, heads=4,
        inner=40, context_length=12, norm="layer", norm_first=norm_first, final_norm=final_norm, positions="learned",
        activation=activation, bias=True,
    )  # fmt: skip
    ours = classifier(config)
    names = {"embedding.": "input.embedding.", "position.": "body.positions.", "head.": "head."}
    copied = {}
    for name, value in theirs.state_dict().items():
        part = next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), None)
        copied[part or translated(name.removeprefix("encoder."))] = value
    ours.load_state_dict(copied)
    ids_BT, lengths_B = torch.randint(30, (4, 12)), torch.tensor([12, 1, 7, 5])
    padding_BT = torch.arange(12) >= lengths_B[:, None]
    # With gradients, so that torch does not take its fused path, whose GELU may be the approximation with tanh.
    torch.testing.assert_close(ours(ids_BT, lengths_B), theirs(ids_BT, padding_BT), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_grouped_heads_equal_repeated_heads() -> None:
    """Grouped-query attention equals attention whose keys and values are repeated for every head."""
    options = {"architecture": "transformer", "task": "generation", "vocab_size": 11, "width": 16, "heads": 4}
    grouped, full = (build(ModelConfig(**options, layers=1, kv_heads=kv)).eval() for kv in (2, 4))  # type: ignore[arg-type]
    weights = grouped.state_dict()
    queries, keys, values = weights["body.blocks.0.attention.qkv.weight"].split((16, 8, 8))
    repeated = [part.view(2, 4, 16).repeat_interleave(2, 0).reshape(16, 16) for part in (keys, values)]
    full.load_state_dict(weights | {"body.blocks.0.attention.qkv.weight": torch.cat([queries, *repeated])})
    ids_BT = torch.randint(11, (2, 7))
    torch.testing.assert_close(grouped(ids_BT, Context()), full(ids_BT, Context()), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_gate_is_the_first_half_of_up() -> None:
    mlp = MLP(ModelConfig(architecture="transformer", task="generation", vocab_size=5, width=8, heads=2, inner=6))
    x_BTD = torch.randn(2, 3, 8)
    gate, up = mlp.up.weight.split(6)
    expected = (nn.functional.silu(x_BTD @ gate.T) * (x_BTD @ up.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x_BTD), expected)


@torch.inference_mode()
def test_rotary_positions_are_rotations_of_complex_numbers() -> None:
    body = generator(ModelConfig(architecture="transformer", task="generation", vocab_size=5, width=16, heads=2)).body
    x_BTHK, positions_T = torch.randn(1, 6, 2, 8), torch.arange(3, 9)
    pairs = torch.complex(x_BTHK[..., :4], x_BTHK[..., 4:])
    angles = positions_T[:, None] * 10_000.0 ** (-torch.arange(4) / 4)
    expected = pairs * torch.polar(torch.ones(6, 4), angles)[:, None]
    rotated_BTHK = rotated(x_BTHK, *body._rotations(x_BTHK, positions_T, 9))
    torch.testing.assert_close(torch.complex(rotated_BTHK[..., :4], rotated_BTHK[..., 4:]), expected)
