"""Ordinary PyTorch programs are imported and give the same logits, or are rejected with an error that names the
part."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.errors import InvalidRequest
from app.importing.pytorch.parts import UnknownNetwork
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import ImportQuestion
from tests.importing.programs import LABELS, WORDS, Program, assert_equal, bring, ids, imported, numbers


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)


def lstm(reads: int = 4, width: int = 6, **options: Any) -> nn.LSTM:
    return nn.LSTM(reads, width, batch_first=True, **options)


def encoder(layers: int = 2, **options: Any) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def batch_norm(width: int, **options: Any) -> nn.BatchNorm1d:
    """A batch norm with random parameters, as if it had been trained."""
    norm = nn.BatchNorm1d(width, **options)
    for tensor in (norm.running_mean, norm.weight, norm.bias):
        if tensor is not None:
            nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.3, 3.0)  # type: ignore[arg-type]
    return norm.eval()


NUMERIC: dict[str, tuple[Program, dict[str, Any]]] = {
    "relu after the input layer": (
        Program(
            lambda m, x: m.fc(m.rnn(torch.relu(m.inp(x)))[0][:, -1]),
            inp=nn.Linear(4, 10), rnn=nn.GRU(10, 6, batch_first=True), fc=nn.Linear(6, 3),
        ),
        {"input_activation": "relu", "pooling": "last"},
    ),
    "tanh after an input layer that keeps the width": (
        Program(
            lambda m, x: m.fc(m.rnn(torch.tanh(m.inp(x)))[0].mean(1)),
            inp=nn.Linear(4, 4), rnn=lstm(), fc=nn.Linear(6, 3),
        ),
        {"input_activation": "tanh", "pooling": "mean"},
    ),
    "an input layer that keeps the width": (
        Program(
            lambda m, x: m.fc(m.rnn(m.inp(x))[0].mean(1)),
            inp=nn.Linear(4, 4), rnn=lstm(bidirectional=True, num_layers=2), fc=nn.Linear(12, 3),
        ),
        {"input_activation": "none", "pooling": "mean"},
    ),
    "an input layer without biases": (
        Program(
            lambda m, x: m.fc(m.rnn(functional.silu(m.inp(x)))[0].amax(1)),
            inp=nn.Linear(4, 5, bias=False), rnn=lstm(5), fc=nn.Linear(6, 3),
        ),
        {"input_activation": "silu", "pooling": "max"},
    ),
    "two head layers": (
        Program(
            lambda m, x: m.fc2(torch.relu(m.fc1(m.lstm(x)[0][:, -1]))),
            lstm=lstm(), fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 3),
        ),
        {"head_activation": "relu", "pooling": "last"},
    ),
    "two head layers, of which the last looks like an input layer": (
        Program(
            lambda m, x: m.fc2(functional.elu(m.fc1(m.lstm(x)[0][:, -1]))),
            lstm=lstm(), fc1=nn.Linear(6, 9), fc2=nn.Linear(9, 4),
        ),
        {"head_activation": "elu", "pooling": "last", "labels": "a,b,c,d"},
    ),
    "an MLP of three layers": (
        Program(
            lambda m, x: m.head(m.lstm(x)[0].mean(1)),
            lstm=lstm(), head=nn.Sequential(
                nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 3)
            ),
        ),
        {"head_activation": "gelu", "pooling": "mean"},
    ),
    "two layers without a function, the first without biases": (
        Program(
            lambda m, x: m.b(m.a(m.lstm(x)[0].mean(1))),
            lstm=lstm(), a=nn.Linear(6, 7, bias=False), b=nn.Linear(7, 3, bias=False),
        ),
        {"head_activation": "none", "pooling": "mean"},
    ),
    "three LSTMs one after the other": (
        Program(lambda m, x: m.fc(m.c(m.b(m.a(x)[0])[0])[0][:, -1]), a=lstm(bidirectional=True),
                b=lstm(12, bidirectional=True, num_layers=2), c=lstm(12, bidirectional=True), fc=nn.Linear(12, 3)),
        {"stack": "yes", "pooling": "last_step"},
    ),
    "an LSTM with projections": (
        Program(lambda m, x: m.fc(m.lstm(x)[0][:, -1]), lstm=lstm(proj_size=3), fc=nn.Linear(3, 3)),
        {"pooling": "last"},
    ),
    "projections in both directions of two layers, with an input layer and an MLP": (
        Program(
            lambda m, x: m.b(torch.relu(m.a(m.lstm(torch.tanh(m.inp(x)))[0].mean(1)))), inp=nn.Linear(4, 5),
            lstm=lstm(5, 6, proj_size=2, num_layers=2, bidirectional=True), a=nn.Linear(4, 7), b=nn.Linear(7, 3),
        ),
        {"input_activation": "tanh", "head_activation": "relu", "pooling": "mean"},
    ),
    "final states of both directions, projected": (
        Program(
            lambda m, x: m.fc(torch.cat([(h := m.lstm(x)[1][0])[-2], h[-1]], 1)),
            lstm=lstm(4, 5, proj_size=4, num_layers=3, bidirectional=True), fc=nn.Linear(8, 3),
        ),
        {"pooling": "last"},
    ),
    "attention over projections, without biases": (
        Program(
            lambda m, x: m.fc((m.attention(h := m.lstm(x)[0]).softmax(1) * h).sum(1)),
            lstm=lstm(proj_size=2, bias=False), attention=nn.Linear(2, 1), fc=nn.Linear(2, 3),
        ),
        {},
    ),
    "two LSTMs with projections, one after the other": (
        Program(lambda m, x: m.fc(m.b(m.a(x)[0])[0][:, -1]), a=lstm(proj_size=3), b=lstm(3, proj_size=3),
                fc=nn.Linear(3, 3)),
        {"stack": "yes", "pooling": "last"},
    ),
    "relu before the head": (
        Program(lambda m, x: m.fc(torch.relu(m.rnn(x)[0][:, -1])), rnn=nn.RNN(4, 6, batch_first=True),
                fc=nn.Linear(6, 3)),
        {"output_activation": "relu", "pooling": "last", "nonlinearity": "tanh"},
    ),
    "leaky relu before an MLP": (
        Program(
            lambda m, x: m.fc2(torch.sigmoid(m.fc1(functional.leaky_relu(m.gru(x)[0][:, -1])))),
            gru=nn.GRU(4, 6, batch_first=True), fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 3),
        ),
        {"output_activation": "leaky_relu", "head_activation": "sigmoid", "pooling": "last"},
    ),
    "attention by one layer": (
        Program(
            lambda m, x: m.fc((m.attention(h := m.lstm(x)[0]).softmax(1) * h).sum(1)),
            lstm=lstm(), attention=nn.Linear(6, 1), fc=nn.Linear(6, 3),
        ),
        {},
    ),
    "attention by two layers over both directions": (
        Program(
            lambda m, x: m.fc((m.score(torch.tanh(m.proj(h := m.lstm(x)[0]))).softmax(1) * h).sum(1)),
            lstm=lstm(bidirectional=True), proj=nn.Linear(12, 5), score=nn.Linear(5, 1, bias=False),
            fc=nn.Linear(12, 3),
        ),
        {"pooling_activation": "tanh"},
    ),
    "attention by one layer that reads the tanh of the steps, and tanh before the head": (
        Program(
            lambda m, x: m.fc(torch.tanh((m.attn(torch.tanh(h := m.lstm(x)[0])).softmax(1) * h).sum(1))),
            lstm=lstm(bidirectional=True), attn=nn.Linear(12, 1), fc=nn.Linear(12, 3),
        ),
        {"pooling_input_activation": "tanh", "output_activation": "tanh"},
    ),
    "attention by two layers that read the relu of the steps": (
        Program(
            lambda m, x: m.fc((m.b(torch.tanh(m.a(torch.relu(h := m.gru(x)[0])))).softmax(1) * h).sum(1)),
            gru=nn.GRU(4, 6, batch_first=True), a=nn.Linear(6, 5), b=nn.Linear(5, 1), fc=nn.Linear(6, 3),
        ),
        {"pooling_input_activation": "relu", "pooling_activation": "tanh"},
    ),
    "attention over an encoder, with an MLP": (
        Program(
            lambda m, x: m.head((m.attn(h := m.encoder(m.inp(x))).softmax(1) * h).sum(1)),
            inp=nn.Linear(4, 8), encoder=encoder(), attn=nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 1)),
            head=nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)),
        ),
        {
            "pooling_activation": "relu", "head_activation": "tanh", "heads": 2, "activation": "relu",
            "norm_first": "no", "positions": "none", "input_activation": "none",
        },
    ),
    "one encoder layer": (
        Program(lambda m, x: m.head(m.layer(x).mean(1)),
                layer=nn.TransformerEncoderLayer(4, 2, 16, batch_first=True), head=nn.Linear(4, 3)),
        {"heads": 2, "pooling": "mean", "activation": "relu", "norm_first": "no", "positions": "none"},
    ),
    "one encoder layer without biases, pre-norm": (
        Program(
            lambda m, x: m.head(m.block(torch.relu(m.inp(x)))[:, 0]), inp=nn.Linear(4, 8),
            block=nn.TransformerEncoderLayer(8, 4, 16, batch_first=True, norm_first=True, activation="gelu",
                                             bias=False),
            head=nn.Linear(8, 3),
        ),
        {
            "heads": 4, "pooling": "first", "activation": "gelu", "norm_first": "yes", "positions": "none",
            "input_activation": "relu",
        },
    ),
    "a list with one encoder layer": (
        Program(lambda m, x: m.head(m.layers[0](x).amax(1)),
                layers=nn.ModuleList([nn.TransformerEncoderLayer(4, 1, 16, batch_first=True)]), head=nn.Linear(4, 3)),
        {"heads": 1, "pooling": "max", "activation": "relu", "norm_first": "no", "positions": "none"},
    ),
    "a norm after the encoder": (
        Program(lambda m, x: m.head(m.ln_f(m.encoder(m.inp(x))).mean(1)), inp=nn.Linear(4, 8), encoder=encoder(),
                ln_f=nn.LayerNorm(8), head=nn.Linear(8, 3)),
        {
            "heads": 2, "pooling": "mean", "activation": "relu", "norm_first": "no", "positions": "none",
            "input_activation": "none", "norm": "steps",
        },
    ),
    "a norm of the vector that the head reads": (
        Program(lambda m, x: m.head(m.after(m.encoder(m.inp(x)).mean(1))), inp=nn.Linear(4, 8), encoder=encoder(),
                after=nn.LayerNorm(8), head=nn.Linear(8, 3)),
        {
            "heads": 2, "pooling": "mean", "activation": "relu", "norm_first": "no", "positions": "none",
            "input_activation": "none", "norm": "pooled",
        },
    ),
    "a norm after an LSTM, with another epsilon": (
        Program(lambda m, x: m.fc(m.norm(m.lstm(x)[0]).amax(1)), lstm=lstm(), norm=nn.LayerNorm(6, eps=1e-2),
                fc=nn.Linear(6, 3)),
        {"norm": "steps", "norm_eps": 1e-2, "pooling": "max"},
    ),
    "a batch norm before the head": (
        Program(lambda m, x: m.fc(m.bn(m.lstm(x)[0][:, -1])), lstm=lstm(), bn=batch_norm(6), fc=nn.Linear(6, 3)),
        {"pooling": "last"},
    ),
    "batch norms without parameters around a function": (
        Program(
            lambda m, x: m.fc2(m.b(torch.relu(m.a(m.fc1(m.lstm(x)[0][:, -1]))))), lstm=lstm(),
            fc1=nn.Linear(6, 5, bias=False), a=batch_norm(5, affine=False, eps=0.1), b=batch_norm(5, eps=0.1),
            fc2=nn.Linear(5, 3),
        ),
        {
            "pooling": "last", "head_activation": "relu", "batch_norm": "after:fc1+before:fc2", "batch_norm_eps": 0.1,
        },
    ),
    "a batch norm after the input layer": (
        Program(
            lambda m, x: m.fc(m.lstm(torch.tanh(m.bn(m.inp(x).transpose(1, 2)).transpose(1, 2)))[0][:, -1]),
            inp=nn.Linear(4, 5), bn=batch_norm(5), lstm=lstm(5), fc=nn.Linear(6, 3),
        ),
        {"pooling": "last", "input_activation": "tanh"},
    ),
    "a batch norm of the numbers": (
        Program(
            lambda m, x: m.fc(m.lstm(m.inp(m.bn(x.transpose(1, 2)).transpose(1, 2)))[0][:, -1]),
            bn=batch_norm(4), inp=nn.Linear(4, 5), lstm=lstm(5), fc=nn.Linear(6, 3),
        ),
        {"pooling": "last", "input_activation": "none"},
    ),
    "a batch norm after an encoder": (
        Program(
            lambda m, x: m.head(m.bn(m.encoder(m.inp(x)).mean(1))), inp=nn.Linear(4, 8), encoder=encoder(),
            bn=batch_norm(8), head=nn.Linear(8, 3),
        ),
        {
            "heads": 2, "pooling": "mean", "activation": "relu", "norm_first": "no", "positions": "none",
            "input_activation": "none", "batch_norm": "before:head",
        },
    ),
    "a norm before a function and an MLP": (
        Program(
            lambda m, x: m.fc2(torch.relu(m.fc1(torch.relu(m.norm(m.lstm(x)[1][0].flatten(1)))))), lstm=lstm(),
            norm=nn.LayerNorm(6), fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 3),
        ),
        {"norm": "pooled", "output_activation": "relu", "head_activation": "relu", "pooling": "last"},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", NUMERIC)
def test_a_program_that_reads_numbers(name: str, tmp_path: Path) -> None:
    program, answers = NUMERIC[name]
    own = {} if "labels" in answers else {"labels": LABELS}
    with torch.no_grad():
        for parameter in program.parameters():  # with the initial ones and zeros, swapped norms would have no effect
            parameter.add_(torch.randn_like(parameter) * 0.3)
    converted = bring(program, tmp_path, answers=answers, **own)
    assert_equal(program, tmp_path, numbers())
    assert " → " in converted.computation
    assumed = ("output_activation", "pooling_input_activation", "norm_eps", "batch_norm_eps", "labels")
    asked = {name for name in answers if name not in assumed}
    if asked:
        with pytest.raises(ImportQuestion) as caught:
            bring(program, tmp_path, **own)
        assert asked <= {question.field for question in caught.value.questions}


@pytest.mark.parametrize(
    ("answers", "named"),
    [({"pooling": "max"}, "the maximum"), ({"pooling": "last", "output_activation": "relu"}, "a function before"),
     ({"pooling": "last", "norm": "pooled"}, "a norm"),
     ({"pooling_input_activation": "tanh"}, "a function before the attention scores")],
)  # fmt: skip
def test_a_projection_that_is_not_followed_by_a_matrix_is_refused(
    answers: dict[str, str], named: str, tmp_path: Path
) -> None:
    parts: dict[str, nn.Module] = {"lstm": lstm(proj_size=3), "fc": nn.Linear(3, 3)}
    parts |= {"norm": nn.LayerNorm(3)} if "norm" in answers else {}
    parts |= {"attention": nn.Linear(3, 1)} if "pooling_input_activation" in answers else {}
    with pytest.raises(UnknownNetwork, match=f"proj_size and {named}"):
        bring(Program(lambda m, x: x, **parts), tmp_path, labels=LABELS, answers=answers)


def test_attention_is_described_in_plain_words(tmp_path: Path) -> None:
    program = Program(lambda m, x: x, lstm=lstm(), attention=nn.Linear(6, 1), fc=nn.Linear(6, 3))
    converted = bring(program, tmp_path, labels=LABELS)
    assert any(line.startswith("pooling=attention: 'attention' scores the steps") for line in converted.assumed)
    assert "sum of the steps, weighted by the softmax of attention → fc" in converted.computation
    before = "pooling_input_activation=none: no function is applied to the steps before 'attention'"
    assert any(line.startswith(before) for line in converted.assumed)
    (tmp_path / "tanh").mkdir()
    converted = bring(program, tmp_path / "tanh", labels=LABELS, answers={"pooling_input_activation": "tanh"})
    assert "weighted by the softmax of tanh, attention → fc" in converted.computation


@pytest.mark.parametrize(
    ("function", "shown"),
    [("relu", "relu"), ("gelu", "gelu (exact)"), ("elu", "elu (alpha 1)"), ("leaky_relu", "leaky_relu (slope 0.01)")],
)
def test_the_parameters_of_functions_are_stated_everywhere(function: str, shown: str, tmp_path: Path) -> None:
    program = Program(
        lambda m, x: x, inp=nn.Linear(4, 5), rnn=lstm(5), attention=nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 1)),
        fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 3),
    )  # fmt: skip
    fields = ("input_activation", "pooling_activation", "output_activation", "head_activation")
    computation = bring(program, tmp_path, labels=LABELS, answers=dict.fromkeys(fields, function)).computation
    assert computation.count(f", {shown}") == 3 and f" → {shown} → " in computation


def test_the_parameters_of_functions_inside_an_encoder_are_stated(tmp_path: Path) -> None:
    program = Program(lambda m, x: x, enc=encoder(activation="gelu"), fc=nn.Linear(8, 3))
    answers = {"heads": "2", "activation": "gelu", "norm_first": "no", "pooling": "mean", "positions": "none"}
    assert ", gelu (exact), post-norm" in bring(program, tmp_path, labels=LABELS, answers=answers).computation


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_a_cell_is_a_layer(kind: Any, tmp_path: Path) -> None:
    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in x.unbind(1):
            state = m.cell(step, state)
        return m.out(state[0] if isinstance(state, tuple) else state)  # type: ignore[no-any-return]

    program = Program(run, cell=kind(4, 6), out=nn.Linear(6, 3))
    answers = {"pooling": "last"} | ({"nonlinearity": "tanh"} if kind is nn.RNNCell else {})
    bring(program, tmp_path, labels=LABELS, answers=answers)
    assert_equal(program, tmp_path, numbers())


def test_two_cells_are_layers(tmp_path: Path) -> None:
    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        first = second = None
        for step in x.unbind(1):
            first = m.cell1(step, first)
            second = m.cell2(first[0], second)
        return m.out(second[0])  # type: ignore[no-any-return, index]

    program = Program(run, cell1=nn.LSTMCell(4, 6), cell2=nn.LSTMCell(6, 6), out=nn.Linear(6, 3))
    bring(program, tmp_path, labels=LABELS, answers={"pooling": "last", "stack": "yes"})
    assert_equal(program, tmp_path, numbers())
    state = {name: program.state_dict()[name] for name in sorted(program.state_dict(), reverse=True)}
    (tmp_path / "again").mkdir()
    bring(state, tmp_path / "again", labels=LABELS, answers={"pooling": "last", "stack": "yes"})
    assert_equal(program, tmp_path / "again", numbers())
    with pytest.raises(UnknownNetwork, match="only one is supported"):
        bring(program, tmp_path, labels=LABELS, answers={"pooling": "last", "stack": "no"})


@pytest.mark.parametrize("function", ["none", "relu", "tanh", "gelu", "sigmoid", "silu", "elu", "leaky_relu"])
def test_a_layer_after_the_embedding_becomes_part_of_it(function: str, tmp_path: Path) -> None:
    apply = (lambda x: x) if function == "none" else getattr(functional, function)
    program = Program(
        lambda m, x: m.fc(m.lstm(apply(m.lin(m.emb(x))))[0][:, -1]),
        emb=nn.Embedding(30, 5), lin=nn.Linear(5, 4), lstm=lstm(), fc=nn.Linear(6, 3),
    )  # fmt: skip
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    answers = {"pooling": "last", "lowercase": "no", "split": "whitespace", "input_activation": function}
    bring(program, tmp_path, labels=LABELS, vocabulary=tmp_path / "words.json", answers=answers)
    assert_equal(program, tmp_path, ids())


@pytest.mark.parametrize("layer", [False, True])
def test_one_hot_vectors_are_tokens(layer: bool, tmp_path: Path) -> None:
    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        vectors = functional.one_hot(x, 30).float()
        return m.fc(m.rnn(torch.relu(m.inp(vectors)) if layer else vectors)[0][:, -1])  # type: ignore[no-any-return]

    parts: dict[str, nn.Module] = {"inp": nn.Linear(30, 5)} if layer else {}
    program = Program(run, **parts, rnn=nn.RNN(5 if layer else 30, 6, batch_first=True), fc=nn.Linear(6, 3))
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    answers = {"pooling": "last", "lowercase": "no", "split": "whitespace", "nonlinearity": "tanh", "input": "one_hot"}
    answers |= {"input_activation": "relu"} if layer else {}
    bring(program, tmp_path, labels=LABELS, vocabulary=tmp_path / "words.json", answers=answers)
    assert_equal(program, tmp_path, ids())


@pytest.mark.parametrize(("labels", "task"), [(["no", "yes"], None), (["no", "yes"], "classification"), (["x"], None)])
def test_one_logit(labels: list[str], task: str | None, tmp_path: Path) -> None:
    """The logit is converted to the probability of the second of two labels, or to that of the only label."""
    program = Program(lambda m, x: m.fc(m.lstm(x)[0][:, -1]), lstm=lstm(), fc=nn.Linear(6, 1, bias=task is None))
    answers = {"pooling": "last"} | ({"task": task} if task else {})
    config = bring(program, tmp_path, labels=labels, answers=answers).checkpoint.config
    rows = numbers()
    with torch.no_grad():
        logits = torch.cat([program(row[None]) for row in rows])
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        answer = imported(tmp_path / "out")(padded, torch.tensor([len(row) for row in rows]))
    if len(labels) == 1:
        assert config.task == "multilabel"
        torch.testing.assert_close(answer, logits, atol=1e-5, rtol=0)
    else:
        assert (config.task, config.classes) == ("classification", 2)
        torch.testing.assert_close(answer.softmax(1)[:, 1:], logits.sigmoid(), atol=1e-6, rtol=0)


def test_one_logit_without_labels_is_asked(tmp_path: Path) -> None:
    program = Program(lambda m, x: m.fc(m.lstm(x)[0][:, -1]), lstm=lstm(), fc=nn.Linear(6, 1))
    with pytest.raises(ImportQuestion) as caught:
        bring(program, tmp_path, answers={"pooling": "last"})
    assert [question.field for question in caught.value.questions] == ["task", "labels"]


def test_a_file_without_order_leaves_the_order_to_the_user(tmp_path: Path) -> None:
    """With one number per step, the last layer of the head could also be an input layer. The order of the tensors does
    not show this, because safetensors sorts them by name."""
    from safetensors.torch import save_file

    from app.importing.convert import convert

    program = Program(
        lambda m, x: m.b(torch.relu(m.a(m.lstm(x)[0][:, -1]))), lstm=lstm(1), a=nn.Linear(6, 5), b=nn.Linear(5, 1)
    )
    save_file(program.state_dict(), tmp_path / "model.safetensors")
    answers = {"pooling": "last", "task": "regression", "head_activation": "relu"}
    with pytest.raises(ImportQuestion, match=r"body>a>b, b>body>a|b>body>a, body>a>b"):
        convert(tmp_path / "model.safetensors", tmp_path / "out", fields=answers)
    convert(tmp_path / "model.safetensors", tmp_path / "out", fields=answers | {"layers": "body>a>b"})
    assert_equal(program, tmp_path, numbers(1))
    (tmp_path / "ordered").mkdir()
    assumed = bring(program, tmp_path / "ordered", answers=answers).assumed
    assert any(line.startswith("layers=body>a>b: the order") for line in assumed)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "a CNN before the LSTM": (
        Program(lambda m, x: x, conv1=nn.Conv1d(4, 4, 3), lstm=lstm(), fc=nn.Linear(6, 3)),
        "convolutions",
    ),
    "a two-dimensional CNN": (Program(lambda m, x: x, c=nn.Conv2d(1, 4, 3), rnn=lstm(), fc=nn.Linear(6, 3)), "nn.Conv"),
    "a CNN with batch norms": (
        Program(
            lambda m, x: x,
            c=nn.Conv2d(1, 4, 3),
            bn=nn.BatchNorm2d(4),
            c2=nn.Conv2d(4, 4, 3),
            bn2=nn.BatchNorm2d(4),
            rnn=lstm(),
            fc=nn.Linear(6, 3),
        ),
        "it has convolutions (nn.Conv)",
    ),
    "a CNN with a batch norm that fits the head": (
        Program(lambda m, x: x, c=nn.Conv1d(4, 6, 3), bn=nn.BatchNorm1d(6), rnn=lstm(6), fc=nn.Linear(6, 3)),
        "it has convolutions (nn.Conv)",
    ),
    "a decoder": (
        Program(
            lambda m, x: x,
            fc=nn.Linear(8, 3),
            decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, batch_first=True), 2),
        ),
        "it has nn.TransformerDecoder layers",
    ),
    "one decoder layer": (
        Program(lambda m, x: x, layer=nn.TransformerDecoderLayer(8, 2, 12, batch_first=True), fc=nn.Linear(8, 3)),
        "it has nn.TransformerDecoder layers",
    ),
    "a Transformer of encoder and decoder": (
        Program(lambda m, x: x, t=nn.Transformer(8, 2, 1, 1, 12, batch_first=True), fc=nn.Linear(8, 3)),
        "it has nn.TransformerDecoder layers",
    ),
    "attention under a decoder's name": (
        Program(lambda m, x: x, lstm=lstm(), multihead_attn=nn.MultiheadAttention(6, 2), fc=nn.Linear(6, 3)),
        "an nn.MultiheadAttention outside an encoder layer",
    ),
    "a batch norm between two bodies": (
        Program(lambda m, x: x, lstm=lstm(), bn=nn.BatchNorm1d(6), gru=lstm(6, 6), fc=nn.Linear(6, 3, bias=False)),
        "batch normalisation",
    ),
    "attention of its own": (
        Program(lambda m, x: x, lstm=lstm(), mha=nn.MultiheadAttention(6, 2), fc=nn.Linear(6, 3)),
        "nn.MultiheadAttention",
    ),
    "two LSTMs side by side": (
        Program(lambda m, x: x, a=lstm(), b=lstm(), fc=nn.Linear(6, 3)),
        "different kinds or widths",
    ),
    "two LSTMs of different widths": (
        Program(lambda m, x: x, a=lstm(), b=lstm(6, 5), fc=nn.Linear(5, 3)),
        "different kinds or widths",
    ),
    "an LSTM that writes what another one reads": (
        Program(lambda m, x: x, encoder=lstm(6, 6), decoder=lstm(6, 6), table=nn.Embedding(9, 6), fc=nn.Linear(6, 9)),
        "it has an encoder and a decoder",
    ),
    "an LSTM and a GRU": (
        Program(lambda m, x: x, a=lstm(), b=nn.GRU(6, 6), fc=nn.Linear(6, 3)),
        "2 recurrent networks",
    ),
    "a recurrent network and a Transformer": (
        Program(lambda m, x: x, a=lstm(4, 8), b=encoder(), fc=nn.Linear(8, 3)),
        "recurrent network and a Transformer",
    ),
    "two norms": (
        Program(lambda m, x: x, a=nn.LayerNorm(6), lstm=lstm(), b=nn.LayerNorm(6), fc=nn.Linear(6, 3)),
        "one norm",
    ),
    "a norm of the input": (Program(lambda m, x: x, n=nn.LayerNorm(4), lstm=lstm(), fc=nn.Linear(6, 3)), "one norm"),
    "an RMS norm": (Program(lambda m, x: x, lstm=lstm(), n=nn.RMSNorm(6), fc=nn.Linear(6, 3)), "n.weight"),
    "mean and maximum side by side": (
        Program(lambda m, x: x, lstm=lstm(), fc=nn.Linear(12, 3)),
        "the first layer of the head must have 6 inputs",
    ),
    "two input layers": (
        Program(lambda m, x: x, a=nn.Linear(3, 5), b=nn.Linear(5, 4), lstm=lstm(), fc=nn.Linear(6, 3)),
        "several input layers",
    ),
    "no recurrent network": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), "no nn.RNN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_program_that_cannot_be_represented_is_refused_by_its_part(name: str, tmp_path: Path) -> None:
    program, named = REFUSED[name]
    with pytest.raises(UnknownNetwork) as caught:
        bring(program, tmp_path, labels=LABELS, answers={"pooling": "last"})
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("fc.weight", math.nan, "fc.weight (3, 6): 1 NaN, 0 infinite"),
        ("lstm.bias_hh_l0", math.inf, "lstm.bias_hh_l0 (24,): 0 NaN, 1 infinite"),
        ("lstm.weight_ih_l0", -math.inf, "lstm.weight_ih_l0 (24, 4): 0 NaN, 1 infinite"),
        ("fc.bias", 1e300, "fc.bias (3,): 0 NaN, 1 infinite"),
    ],
)
def test_weights_that_are_not_finite_are_refused(part: str, value: float, named: str, tmp_path: Path) -> None:
    program = Program(lambda m, x: x, lstm=lstm(), fc=nn.Linear(6, 3)).double()
    state = program.state_dict()
    state[part].view(-1)[0] = value
    with pytest.raises(ForeignFileInvalid) as caught:
        bring(state, tmp_path, labels=LABELS, answers={"pooling": "last"})
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heads", "2"), ("activation", "relu"), ("norm_first", "yes"), ("nonlinearity", "relu"), ("lowercase", "no"),
        ("positions", "none"), ("head_activation", "relu"), ("input_activation", "relu"), ("norm", "steps"),
        ("first_id", "2"), ("norm_eps", "1e-5"), ("padding", "none"), ("final_activation", "none"),
    ],
)  # fmt: skip
def test_an_answer_that_changes_nothing_is_refused(field: str, value: str, tmp_path: Path) -> None:
    program = Program(lambda m, x: x, lstm=lstm(), fc=nn.Linear(6, 3))
    with pytest.raises(InvalidRequest, match=f"^{field}: this has no effect on the network"):
        bring(program, tmp_path, labels=LABELS, answers={"pooling": "last", field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("input", "minmax"), ("final_activation", "sigmoid"), ("pooling", "middle")]
)
def test_an_answer_that_cannot_be_represented_is_refused(field: str, value: str, tmp_path: Path) -> None:
    program = Program(lambda m, x: x, lstm=lstm(), fc=nn.Linear(6, 1))
    with pytest.raises(InvalidRequest, match=f"{field}={value}: must be one of"):
        bring(program, tmp_path, answers={"pooling": "last", "task": "regression", field: value})
