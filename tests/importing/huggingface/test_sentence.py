"""Modules of sentence-transformers are imported from old and new layouts. Errors name unsupported modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.importing.huggingface.sentence import read_modules
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers
from tests.importing.huggingface.directories import copied, edit


def modules(source: Path, *kinds: str) -> None:
    paths = ["", *(f"{index + 1}_{kind}" for index, kind in enumerate(kinds[1:]))]
    entries = [
        {"path": path, "type": f"sentence_transformers.new.{kind}"} for path, kind in zip(paths, kinds, strict=True)
    ]
    (source / "modules.json").write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["max"], "embedding_dimension": 16}, "max"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_pooling(settings: dict[str, Any], pooling: str, tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    (source / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    modules(source, "Transformer", "Pooling")
    answers = Answers({})
    assert read_modules(source, answers).pooling == pooling
    assert [line.partition("=")[0] for line in answers.assumed] == ["normalize"]


@pytest.mark.parametrize(
    "settings", [{"pooling_mode": ["mean", "max"]}, {"pooling_mode_weightedmean_tokens": True}, {"pooling_mode": 3}, {}]
)
def test_other_poolings_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    (source / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ForeignFileInvalid, match="pooling"):
        read_modules(source, Answers({}))


@pytest.mark.parametrize("kinds", [("Transformer", "Pooling", "Dense"), ("StaticEmbedding",), ("Transformer", "LSTM")])
def test_other_modules_are_refused_by_name(kinds: tuple[str, ...], tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    modules(source, *kinds)
    with pytest.raises(ForeignFileInvalid, match=kinds[-1]):
        read_modules(source, Answers({}))


@pytest.mark.parametrize("path", ["../minilm", "/etc", "a/b", "..", 3])
def test_a_module_lies_in_the_directory(path: object, tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    entries = json.loads((source / "modules.json").read_text())
    entries[1]["path"] = path
    (source / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(ForeignFileInvalid, match=r"modules\.json refers to"):
        read_modules(source, Answers({}))


def test_a_default_prompt_is_refused_and_others_are_reported(tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    settings = source / "config_sentence_transformers.json"
    settings.write_text(json.dumps({"prompts": {"query": "query: ", "document": ""}}))
    answers = Answers({})
    read_modules(source, answers)
    assert "prompts=none: if your program adds a prompt (query), send it" in answers.assumed[0]
    edit(settings, default_prompt_name="query")
    with pytest.raises(ForeignFileInvalid, match="default_prompt_name"):
        read_modules(source, Answers({}))
