"""Converted networks compute what the original networks compute in PyTorch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from app.checkpoint import directory as checkpoint
from app.errors import InvalidRequest
from app.importing.convert import convert
from app.importing.pytorch.parts import UnknownNetwork
from app.importing.questions import ImportQuestion
from app.tokenization.tokenizer import Tokenizer
from models import tasks
from models.config import ModelConfig
from models.interface import Context

ROOT = Path(__file__).parents[2]
LENGTHS = [7, 1, 4]
WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(28))]


class Recurrent(nn.Module):
    """A recurrent classifier as tutorials write it."""

    def __init__(
        self,
        kind: str,
        *,
        tokens: bool = False,
        pooling: str = "last",
        classes: int = 3,
        first: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.embed = nn.Embedding(30, 6) if tokens else nn.Linear(first, 6) if first else nn.Identity()
        self.body = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](6, 10, batch_first=True, **options)
        self.classifier = nn.Linear(10 * (1 + self.body.bidirectional), classes)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.body(self.embed(x))
        state = state[0] if isinstance(state, tuple) else state
        if self.pooling == "last":
            pooled = torch.cat((state[-2], state[-1]), 1) if self.body.bidirectional else out[:, -1]
        else:
            pooled = {"last_step": lambda: out[:, -1], "mean": lambda: out.mean(1), "max": lambda: out.amax(1)}[
                self.pooling
            ]()
        return self.classifier(pooled)


class Encoder(nn.Module):
    """A Transformer classifier. `places` is its position encoding, and `reads` is the pooling before its head."""

    def __init__(
        self, places: str = "embedding", final: bool = False, keep: bool = False, reads: str = "mean", **options: Any
    ) -> None:
        super().__init__()
        self.places, self.reads = places, reads
        self.token_embedding = nn.Embedding(30, 16)
        if places == "embedding":
            self.pos = nn.Embedding(12, 16)
        elif places == "parameter":
            self.pos = nn.Parameter(torch.randn(1, 12, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 20, 0.0, batch_first=True, **options)
        if keep:
            self.layer = layer
        norm = nn.LayerNorm(16) if final else None
        self.encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
        self.out = nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        steps = ids.shape[1]
        x = self.token_embedding(ids)
        if self.places == "sinusoidal":
            x = x * math.sqrt(16) + _sinusoids(steps)
        elif self.places == "embedding":
            x = x + self.pos(torch.arange(steps))
        else:
            x = x + self.pos[:, :steps]
        hidden = self.encoder(x)
        return self.out({"mean": hidden.mean(1), "first": hidden[:, 0], "last": hidden[:, -1]}[self.reads])


def _sinusoids(steps: int) -> Tensor:
    position = torch.arange(steps).unsqueeze(1)
    factor = torch.exp(torch.arange(0, 16, 2) * (-math.log(10000.0) / 16))
    table = torch.zeros(steps, 16)
    table[:, 0::2] = torch.sin(position * factor)
    table[:, 1::2] = torch.cos(position * factor)
    return table


def imported(folder: Path) -> tasks.Classifier | tasks.LanguageModel:
    network = tasks.build(checkpoint.validate(folder).config, initialised=False)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


@torch.no_grad()
def assert_equal(network: tasks.Classifier, theirs: nn.Module, rows: list[Tensor]) -> None:
    """Compare our network's logits for one padded batch with the original network's logits for each row."""
    lengths = torch.tensor([len(row) for row in rows])
    logits = network(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
    expected = torch.cat([theirs(row[None]) for row in rows])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def save(module: nn.Module, folder: Path, name: str = "model.pt") -> Path:
    torch.manual_seed(1)
    for parameter in module.parameters():  # a lost tensor must change the result, so none may be all 0 or 1
        nn.init.normal_(parameter, std=0.3)
    path = folder / name
    if name.endswith(".safetensors"):
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    return path


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_text(json.dumps(WORDS))
    return path


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (2, False), (2, True)])
def test_recurrent_over_features(kind: str, layers: int, both: bool, name: str, tmp_path: Path) -> None:
    theirs = Recurrent(kind, num_layers=layers, bidirectional=both)
    fields = {"pooling": "last"} | ({"nonlinearity": "tanh"} if kind == "rnn" else {})
    source, target = save(theirs, tmp_path, name), tmp_path / "out"
    result = convert(source, target, labels=["a", "b", "c"], fields=fields, allow_pickle_tensors=True).checkpoint
    assert (result.config.architecture, result.config.layers, result.config.bidirectional) == (
        kind,
        layers,
        both,
    )
    assert (result.config.features, result.labels, result.tokenizer) == (6, ["a", "b", "c"], False)
    network = imported(target)
    assert isinstance(network, tasks.Classifier)
    assert_equal(network, theirs, [torch.randn(n, 6) for n in LENGTHS])


@pytest.mark.parametrize("pooling", ["last", "last_step", "mean", "max"])
@pytest.mark.parametrize("tokens", [False, True])
def test_poolings(pooling: str, tokens: bool, tmp_path: Path, vocabulary: Path) -> None:
    theirs = Recurrent("lstm", tokens=tokens, pooling=pooling, bidirectional=True)
    fields = {"pooling": pooling, "labels": "numbers"} | ({"lowercase": "no", "split": "whitespace"} if tokens else {})
    source = save(theirs, tmp_path, "model.safetensors")
    result = convert(source, tmp_path / "out", vocabulary=vocabulary if tokens else None, fields=fields)
    assert result.checkpoint.labels == ["0", "1", "2"]
    rows = [torch.randint(0, 30, (n,)) if tokens else torch.randn(n, 6) for n in LENGTHS]
    assert_equal(imported(tmp_path / "out"), theirs, rows)  # type: ignore[arg-type]


def test_other_recurrent_shapes(tmp_path: Path) -> None:
    """Networks with ReLU, without biases, with an input layer, and with one output."""
    theirs = Recurrent("rnn", nonlinearity="relu", bias=False, first=4, classes=1, pooling="mean")
    fields = {"nonlinearity": "relu", "pooling": "mean", "task": "regression", "input_activation": "none"}
    result = convert(save(theirs, tmp_path, "x.safetensors"), tmp_path / "out", fields=fields).checkpoint
    assert (result.config.task, result.config.features, result.config.input_width) == ("regression", 4, 6)
    assert_equal(imported(tmp_path / "out"), theirs, [torch.randn(n, 4) for n in LENGTHS])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("places", "options"),
    [
        ("embedding", {}),
        ("parameter", {"norm_first": True, "activation": "gelu", "final": True}),
        ("sinusoidal", {"keep": True, "bias": False}),
        ("embedding", {"reads": "first"}),
        ("embedding", {"reads": "last", "layer_norm_eps": 1e-2}),
    ],
)
def test_encoders(places: str, options: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    theirs = Encoder(places, **options).eval()
    fields = {
        "heads": "4",
        "pooling": options.get("reads", "mean"),
        "norm_eps": str(options.get("layer_norm_eps", 1e-5)),
        "activation": options.get("activation", "relu"),
        "norm_first": "yes" if options.get("norm_first") else "no",
        "embedding_scale": "yes" if places == "sinusoidal" else "no",
        "lowercase": "yes",
        "split": "whitespace",
    }
    fields |= {"positions": "sinusoidal", "template": "yes"} if places == "sinusoidal" else {}
    source = save(theirs, tmp_path)
    result = convert(
        source,
        tmp_path / "out",
        labels=["a", "b", "c"],
        vocabulary=vocabulary,
        fields=fields,
        allow_pickle_tensors=True,
    ).checkpoint
    assert (result.config.layers, result.config.inner, result.config.vocab_size) == (2, 20, 30)
    assert_equal(imported(tmp_path / "out"), theirs, [torch.randint(0, 30, (n,)) for n in LENGTHS])  # type: ignore[arg-type]


def test_a_language_model(tmp_path: Path, vocabulary: Path) -> None:
    theirs = Recurrent("gru", tokens=True, classes=30, num_layers=2)
    source = save(theirs, tmp_path, "x.safetensors")
    fields = {"task": "generation", "lowercase": "no", "split": "whitespace"}
    convert(source, tmp_path / "out", vocabulary=vocabulary, fields=fields)
    network = imported(tmp_path / "out")
    assert isinstance(network, tasks.LanguageModel)
    ids = torch.randint(0, 30, (2, 9))
    with torch.no_grad():
        logits = network.logits(network(ids, Context()))
        torch.testing.assert_close(logits[:, -1], theirs(ids), atol=1e-5, rtol=1e-5)


def test_all_questions_are_asked_at_once(tmp_path: Path) -> None:
    source = save(Encoder(), tmp_path, "x.safetensors")
    with pytest.raises(ImportQuestion) as caught:
        convert(source, tmp_path / "out")
    questions = {question.field: question for question in caught.value.questions}
    assert set(questions) == {
        "heads", "activation", "norm_first", "embedding_scale", "pooling", "labels", "vocabulary", "split", "lowercase",
    }  # fmt: skip
    assert questions["heads"].options == ("1", "2", "4", "8", "16")
    assert questions["activation"].usual == "relu"
    assert all(field in caught.value.message for field in questions)
    assert not (tmp_path / "out").exists()


def _assumed_fields(assumed: tuple[str, ...]) -> list[str]:
    return [line.partition(":")[0] for line in assumed]


def test_questions_that_depend_on_the_vocabulary_are_mentioned_in_the_first_round(tmp_path: Path) -> None:
    """A user who answers everything in the first round is asked nothing else, even if the vocabulary is short."""
    torch.save(Recurrent("lstm", tokens=True).state_dict(), tmp_path / "model.pt")
    answers = {"pooling": "last", "labels": "a,b,c", "split": "whitespace", "lowercase": "no"}
    with pytest.raises(ImportQuestion) as caught:
        convert(tmp_path / "model.pt", tmp_path / "out", fields=answers, allow_pickle_tensors=True)
    assert [question.field for question in caught.value.questions] == ["vocabulary"]
    for part in (
        "set unknown=WORD",
        "first_id=ID",
        "around=none",
        "fewer words than the embedding, which has 30 rows",
        "For a tokenizer.json, leave these out",
    ):
        assert part in caught.value.message
    (tmp_path / "words.json").write_text(json.dumps(["good", "bad", "<s>"]))
    more = {"unknown": "skip", "first_id": "2", "around": "<s> …"}
    convert(
        tmp_path / "model.pt", tmp_path / "out", vocabulary=tmp_path / "words.json", fields=answers | more,
        allow_pickle_tensors=True,
    )  # fmt: skip


def test_labels_that_do_not_fit_one_output_are_refused_without_a_guess_of_the_task(tmp_path: Path) -> None:
    torch.save(Recurrent("lstm", classes=1).state_dict(), tmp_path / "model.pt")
    options: dict[str, Any] = {"labels": ["a", "b", "c"], "allow_pickle_tensors": True}
    for task in ({}, {"task": "classification"}):
        with pytest.raises(InvalidRequest, match="3 labels were given, but the network has one output") as caught:
            convert(tmp_path / "model.pt", tmp_path / "out", fields={"pooling": "last", **task}, **options)
        assert caught.value.param == "labels" and "regression" not in caught.value.message


def test_labels_do_not_hide_an_open_question_about_the_task(tmp_path: Path, vocabulary: Path) -> None:
    """The number of outputs equals the number of words, so the network may be a language model."""
    torch.save(Recurrent("lstm", tokens=True, classes=30).state_dict(), tmp_path / "model.pt")
    options: dict[str, Any] = {"labels": [str(n) for n in range(30)], "allow_pickle_tensors": True}
    with pytest.raises(ImportQuestion) as caught:
        convert(tmp_path / "model.pt", tmp_path / "out", vocabulary=vocabulary, **options)
    assert "task" in [question.field for question in caught.value.questions]
    with pytest.raises(InvalidRequest, match="a network for generation has no labels; leave --labels out"):
        convert(
            tmp_path / "model.pt", tmp_path / "out", vocabulary=vocabulary, fields={"task": "generation"}, **options
        )


def test_assumptions_are_returned_and_written_down(tmp_path: Path, vocabulary: Path) -> None:
    source = save(Encoder(bias=False), tmp_path, "x.safetensors")
    fields = {
        "heads": "4", "activation": "relu", "norm_first": "no", "embedding_scale": "no", "pooling": "mean",
        "labels": "numbers", "lowercase": "yes", "split": "whitespace",
    }  # fmt: skip
    done = convert(source, tmp_path / "out", vocabulary=vocabulary, fields=fields)
    assert _assumed_fields(done.assumed) == [
        "biases=0", "positions=pos.weight", "norm_eps=1e-05", "padding=none",
        "task=classification", "mask=none", "output_activation=none", "first_id=0", "unknown=<unk>", "around=none",
    ]  # fmt: skip
    assert any("BCEWithLogitsLoss" in line for line in done.assumed)
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"- {line}\n" in card for line in done.assumed)
    assert json.loads((tmp_path / "out" / "training.json").read_text())["imported"]["assumed"] == list(done.assumed)
    answers = fields | dict(line.partition(":")[0].split("=", 1) for line in done.assumed[1:])
    again = convert(source, tmp_path / "again", vocabulary=vocabulary, fields=answers)
    assert _assumed_fields(again.assumed) == ["biases=0"]
    with pytest.raises(InvalidRequest, match=r"pos\.weight"):  # nowhere to put the table
        convert(source, tmp_path / "none", vocabulary=vocabulary, fields=answers | {"positions": "none"})


def test_several_outputs_may_be_independent_labels(tmp_path: Path) -> None:
    source, labels = save(Recurrent("gru"), tmp_path, "x.safetensors"), ["a", "b", "c"]
    fields = {"pooling": "last", "context_length": "99", "input": "numbers", "output_activation": "none"}
    assumed = convert(source, tmp_path / "one", labels=labels, fields=fields)
    assert (assumed.checkpoint.config.task, _assumed_fields(assumed.assumed)) == (
        "classification",
        ["task=classification"],
    )
    multilabel = convert(source, tmp_path / "several", labels=labels, fields=fields | {"task": "multilabel"})
    assert (multilabel.checkpoint.config.task, multilabel.assumed) == ("multilabel", ())
    assert "Assumptions" not in (tmp_path / "several" / "README.md").read_text()
    with pytest.raises(InvalidRequest, match="classification or multilabel"):
        convert(source, tmp_path / "value", labels=labels, fields=fields | {"task": "regression"})


@pytest.mark.parametrize(
    ("module", "lost"),
    [
        (Recurrent("lstm", num_layers=2), "body.bias_hh_l1"),
        (Recurrent("gru", bidirectional=True), "body.bias_ih_l0_reverse"),
        (Encoder(), "encoder.layers.1.linear2.bias"),
        (Encoder(), "encoder.layers.0.norm1.bias"),
    ],
    ids=["lstm", "gru", "mlp", "norm"],
)
def test_a_file_that_has_lost_a_bias_is_refused(module: nn.Module, lost: str, tmp_path: Path, vocabulary: Path) -> None:
    source = save(module, tmp_path, "x.safetensors")
    weights = load_file(source)
    del weights[lost]
    save_file(weights, source)
    fields = {"pooling": "last", "labels": "numbers"}
    if isinstance(module, Encoder):
        fields |= dict.fromkeys(("norm_first", "embedding_scale", "lowercase"), "no")
        fields |= {"heads": "4", "activation": "relu", "split": "whitespace"}
    with pytest.raises(InvalidRequest, match=r"bias\S*: missing"):
        convert(source, tmp_path / "out", vocabulary=vocabulary if isinstance(module, Encoder) else None, fields=fields)


def test_an_encoder_that_has_lost_its_first_layer_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    source = save(Encoder(), tmp_path, "x.safetensors")
    weights = {name: tensor for name, tensor in load_file(source).items() if ".layers.0." not in name}
    save_file(weights, source)
    fields = dict.fromkeys(("norm_first", "embedding_scale", "lowercase"), "no")
    fields |= {"heads": "4", "activation": "relu", "pooling": "last", "labels": "numbers", "split": "whitespace"}
    with pytest.raises(InvalidRequest, match=r"body\.blocks\.0\.mlp\.up\.weight: missing"):
        convert(source, tmp_path / "out", vocabulary=vocabulary, fields=fields)


def test_an_input_layer_that_keeps_the_width_of_an_encoder_is_refused(tmp_path: Path) -> None:
    """Positions are added after the input layer, so it cannot be folded into the next layer."""
    parts = nn.ModuleDict(
        {"embed": nn.Linear(16, 16), "encoder": nn.TransformerEncoderLayer(16, 4), "out": nn.Linear(16, 3)}
    )
    fields = {
        "heads": "4", "activation": "relu", "norm_first": "no", "pooling": "mean", "positions": "none",
        "input_activation": "none", "layers": "embed>body>out",
    }  # fmt: skip
    with pytest.raises(UnknownNetwork, match=r"as many outputs as inputs[^\n]*\n  embed.weight \(16, 16\)"):
        convert(save(parts, tmp_path, "x.safetensors"), tmp_path / "out", labels=["a", "b", "c"], fields=fields)


@pytest.mark.parametrize(
    ("kind", "expected"), [("rnn", {"nonlinearity", "pooling", "labels"}), ("lstm", {"pooling", "labels"})]
)
def test_questions_about_recurrent_networks(kind: str, expected: set[str], tmp_path: Path) -> None:
    with pytest.raises(ImportQuestion) as caught:
        convert(save(Recurrent(kind), tmp_path, "x.safetensors"), tmp_path / "out")
    assert {question.field for question in caught.value.questions} == expected


@pytest.mark.parametrize(
    ("fields", "labels", "param"),
    [
        ({"pooling": "sideways"}, ["a", "b", "c"], "pooling"),
        ({"poling": "last"}, ["a", "b", "c"], "poling"),
        ({"pooling": "last"}, ["a", "b"], "labels"),
        ({"pooling": "last"}, ["a", "b", "b"], "labels"),
        ({"pooling": "last", "context_length": "many"}, ["a", "b", "c"], "context_length"),
        ({"pooling": "last", "context_length": "-1"}, ["a", "b", "c"], "context_length"),
    ],
)
def test_impossible_answers(fields: dict[str, str], labels: list[str], param: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(save(Recurrent("gru"), tmp_path, "x.safetensors"), tmp_path / "out", labels=labels, fields=fields)
    assert caught.value.param == param


class TwoHeads(Recurrent):
    def __init__(self) -> None:
        super().__init__("gru")
        self.second = nn.Linear(10, 2)


class Normed(Recurrent):
    def __init__(self) -> None:
        super().__init__("gru")
        self.norm = nn.RMSNorm(10)


class OwnFirstToken(Encoder):
    def __init__(self) -> None:
        super().__init__("sinusoidal")
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 20), 1)


UNKNOWN: list[tuple[nn.Module, str]] = [
    (nn.Sequential(nn.Conv1d(3, 4, 2), nn.Linear(4, 2)), "0.weight (4, 3, 2)"),
    (TwoHeads(), "second.weight (2, 10)"),
    (Normed(), "norm.weight (10,)"),
    (Decoder(), "multihead_attn"),
    (OwnFirstToken(), "cls_token (1, 1, 16)"),
    (Recurrent("lstm", proj_size=4), "classifier.weight (3, 10)"),
    (nn.ModuleList([Recurrent("gru"), Recurrent("gru")]), "1.body.weight_ih_l0"),
]


@pytest.mark.parametrize(("module", "named"), UNKNOWN, ids=[named for _, named in UNKNOWN])
def test_unknown_tensors_are_listed(module: nn.Module, named: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNetwork) as caught:
        convert(save(module, tmp_path, "x.safetensors"), tmp_path / "out", fields={"pooling": "last"})
    assert named in caught.value.message


def _run(example: str, folder: Path) -> None:
    program = [sys.executable, str(ROOT / "examples" / example), str(folder)]
    subprocess.run(program, check=True, env={"OMP_NUM_THREADS": "1"}, capture_output=True)


def test_the_tutorial_transformer(tmp_path: Path) -> None:
    _run("transformer_classifier.py", tmp_path)
    answers = "heads=4 activation=relu norm_first=no embedding_scale=no pooling=mean lowercase=no split=whitespace"
    convert(
        tmp_path / "transformer.pt", tmp_path / "out", labels=["unfriendly", "friendly"],
        vocabulary=tmp_path / "vocabulary.json", fields=dict(a.split("=") for a in answers.split()),
        allow_pickle_tensors=True,
    )  # fmt: skip
    tokenizer, words = Tokenizer.load(tmp_path / "out"), json.loads((tmp_path / "vocabulary.json").read_text())
    assert tokenizer.encode("what a  strange\nday") == [words[w] for w in ("what", "a", "<unk>", "day")]
    network = imported(tmp_path / "out")
    with torch.no_grad():
        for text, label in (("i love this film", 1), ("what an awful day", 0)):
            ids = tokenizer.encode(text)
            logits = network(torch.tensor([ids]), torch.tensor([len(ids)]))  # type: ignore[arg-type]
            assert logits.argmax(1).item() == label


def test_converting_imports_no_torch(tmp_path: Path) -> None:
    """Importing torch takes seconds, and the conversion does not need it."""
    source = save(Recurrent("gru"), tmp_path)
    program = (
        "import sys; from pathlib import Path; from app.importing.convert import convert\n"
        f"convert(Path({str(source)!r}), Path({str(tmp_path / 'out')!r}), labels=['a', 'b', 'c'],"
        " fields={'pooling': 'last'}, allow_pickle_tensors=True)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert ModelConfig.from_dict(json.loads((tmp_path / "out" / "config.json").read_text())).architecture == "gru"
