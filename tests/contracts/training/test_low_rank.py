"""Low-rank adapters: only the adapter and the head are trained and stored, and the base stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import ADAPTER, PREFIX
from app.checkpoint.directory import WEIGHTS
from app.errors import CheckpointInvalid
from app.exporting.source_version import read_version
from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.wire.trainer import Done, Stopped, TrainFailed
from models.adapters import DOWN, UP
from models.config import ModelConfig
from models.interface import Context
from models.low_rank import add_adapters
from models.tasks import LanguageModel, build
from tests.contracts.training.test_imported import ROWS, STORY, after
from tests.importing.huggingface.directories import bring, copied
from tests.training import runs
from tests.training.served import ServedCheckpoint, near

SMALL = {"width": 16, "layers": 2, "max_steps": 4, "batch_size": 16}
TEXTS = ["seven grey geese walk home lovely", "a dark dog", "summer rain over the fox"]
LORA = {"r": 4, "alpha": 8.0, "dropout": 0.1}
# base: the name of a Hugging Face model, or "own" for one trained here; the file to train on; its content
CASES = {
    "own-classification": ("own", "rows.csv", runs.table(200)),
    "own-generation": ("own", "book.txt", runs.book(200)),
    "encoder": ("minilm", "rows.csv", ROWS),
    "encoder-with-head-norm": ("modernbert", "rows.csv", ROWS),
    "decoder": ("qwen3", "story.jsonl", STORY),
}


def base_of(case: str, folder: Path) -> Path:
    """The checkpoint directory of the base."""
    name, file, content = CASES[case]
    if name == "own":
        context = {"context_length": 32} if file == "book.txt" else {}
        run = runs.make(folder / "first", file, content, "transformer", training={**SMALL, **context})
        assert isinstance(runs.train(run)[-1], Done)
        return run / "checkpoint"
    bring(copied(name, folder), folder / "base")
    return folder / "base"


def started(case: str, run: Path, base: Path, **training: Any) -> Path:
    _, file, content = CASES[case]
    options = {"max_steps": 8, "batch_size": 8, "learning_rate": 0.01, "lora": LORA, **training}
    runs.make(run, file, content, "base", training=options)
    shutil.copytree(base, run / "base")
    return run


def own_tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {name.removeprefix(PREFIX): tensor for name, tensor in load_file(directory / ADAPTER).items()}


def unmerged(directory: Path) -> Any:
    """The network of the base with an adapter that is not merged into its matrices, as in training."""
    raw = json.loads((directory / "config.json").read_text())
    network: Any = build(ModelConfig.from_dict(raw), initialised=False)
    own = network.state_dict()
    base = {name: value.float() for name, value in load_file(directory / WEIGHTS).items() if name in own}
    network.load_state_dict(own | {name: value for name, value in base.items() if value.shape == own[name].shape})
    fields = {name: raw["adapter"][name] for name in ("r", "alpha", "dropout")}
    add_adapters(network, raw["adapter"]["target_modules"], **fields)
    network.load_state_dict(network.state_dict() | own_tensors(directory))
    if raw.get("ngram_buckets") and raw["task"] != "generation":
        network.ngrams.bind_tokens(pieces(Tokenizer.load(directory)))
    return network.eval()


def answers(directory: Path, *others: Path) -> list[float]:
    """The answers of an engine that has also loaded `others`, with which the version shares its base."""
    ids = Tokenizer.load(directory).encode_batch(TEXTS)
    served = ServedCheckpoint(directory, *others)
    assert served.shares == bool(others)
    generates = checkpoint.read(directory).config.task == "generation"
    scores = [served.logprobs(row) for row in ids] if generates else served.scores(ids)
    return [score for row in scores for score in row]


def unmerged_answers(directory: Path) -> list[float]:
    network, outputs = unmerged(directory), list[float]()
    for row in Tokenizer.load(directory).encode_batch(TEXTS):
        ids_BT = torch.tensor([row])
        with torch.no_grad():
            if isinstance(network, LanguageModel):
                logprobs_TV = network.logits(network(ids_BT, Context()))[0].log_softmax(-1)
                outputs += [float(logprobs_TV[step, id_]) for step, id_ in enumerate(row[1:])]
            else:
                outputs += network(ids_BT, torch.tensor([len(row)]))[0].tolist()
    return outputs


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_is_served_as_it_was_trained_and_leaves_its_base_unchanged(case: str, tmp_path: Path) -> None:
    base = base_of(case, tmp_path)
    run = started(case, tmp_path / "run", base)
    last = runs.train(run)[-1]
    assert isinstance(last, Done), last
    new, files = run / "checkpoint", checkpoint.manifest(base)
    contents = checkpoint.validate(new)
    assert contents.adapter is not None and contents.adapter.base == checkpoint.digest(files)
    assert (contents.adapter.r, contents.adapter.alpha, contents.adapter.scale) == (4, 8.0, 2.0)
    # The weights file is that of the base, so a store of blobs by hash contains it once.
    assert checkpoint.manifest(new)[WEIGHTS] == files[WEIGHTS]
    own = own_tensors(new)
    others = {name.partition(".")[0] for name in own if not name.endswith((DOWN, UP))}
    hidden = {"head_layers", "head_norm"} if contents.config.head_norm else set()
    allowed = {"head", "pooling", "ngrams", "mix"} if contents.config.task == "classification" else set()
    assert hidden <= others <= allowed | hidden
    assert len([name for name in own if name.endswith(UP)]) == 4 * contents.config.layers
    assert all(tensor.abs().max() > 0 for name, tensor in own.items() if name.endswith(UP))
    assert near(answers(new), unmerged_answers(new), 1e-6)
    assert near(answers(new, base), unmerged_answers(new), 1e-6)
    if checkpoint.read(base).config.task != "embedding":
        assert near(answers(base, new), answers(base), 1e-6)
    merged = read_version(new)
    assert set(merged.tensors) == set(build(contents.config, initialised=False).state_dict())


@pytest.mark.parametrize("case", ["own-classification", "decoder"])
def test_a_stopped_training_of_an_adapter_continues_with_the_same_bits(case: str, tmp_path: Path) -> None:
    base = base_of(case, tmp_path)
    digests = []
    for name, stops in (("whole", ()), ("stopped", (3, 4))):
        run = started(case, tmp_path / name, base)
        for stop in stops:
            assert isinstance(runs.train(run, after(stop))[-1], Stopped)
        assert isinstance(runs.train(run)[-1], Done)
        digests.append((run / "checkpoint" / ADAPTER).read_bytes())
    assert digests[0] == digests[1]


def test_an_adapter_is_a_version_to_fine_tune_but_not_the_base_of_another(tmp_path: Path) -> None:
    case = "encoder"
    first = started(case, tmp_path / "first", base_of(case, tmp_path))
    assert isinstance(runs.train(first)[-1], Done)
    still = started(case, tmp_path / "still", first / "checkpoint", lora=None, learning_rate=1e-12)
    assert isinstance(runs.train(still)[-1], Done)
    assert not (still / "checkpoint" / ADAPTER).exists()
    assert near(answers(still / "checkpoint"), answers(first / "checkpoint"), 1e-5)
    last = runs.train(started(case, tmp_path / "again", first / "checkpoint"))[-1]
    assert isinstance(last, TrainFailed) and last.param == "training.lora" and "name its base" in last.message


def test_files_that_do_not_belong_to_the_adapter_are_refused(tmp_path: Path) -> None:
    run = started("encoder", tmp_path / "run", base_of("encoder", tmp_path))
    assert isinstance(runs.train(run)[-1], Done)
    good = load_file(run / "checkpoint" / ADAPTER)
    down = next(name for name in good if name.endswith(DOWN))
    cases = {
        "must have shape": {name: value for name, value in good.items() if name != down},
        "is not a matrix of this adapter": good | {PREFIX + "head.lora_A.weight": torch.zeros(4, 4)},
        "is not a parameter": good | {PREFIX + "other.weight": torch.zeros(4)},
        "does not begin with": good | {"head.bias": torch.zeros(2)},
    }
    for message, tensors in cases.items():
        save_file(tensors, run / "checkpoint" / ADAPTER)
        with pytest.raises(CheckpointInvalid, match=message):
            checkpoint.read(run / "checkpoint")
    (run / "checkpoint" / ADAPTER).unlink()
    with pytest.raises(CheckpointInvalid, match="if and only if"):
        checkpoint.read(run / "checkpoint")
