"""Columns of prompts and completions with other names, and conversations with ratings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns
from tests.training.data.tables import read, write

QUESTIONS = [(f"what is the number {n}?", f"it is the answer {n}") for n in range(40)]


def table(*names: str) -> str:
    rows = [{names[0]: question, names[1]: answer} for question, answer in QUESTIONS]
    rows = [row | {name: "" if n % 2 else "more text" for name in names[2:]} for n, row in enumerate(rows)]
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize(
    "names",
    [
        ("prompt", "response"),
        ("question", "answer"),
        ("instruction", "output"),
        ("input", "output"),
        ("Question", "Answer"),
        ("query", "reply", "id"),
        ("user", "assistant"),
    ],
)
def test_usual_names_of_prompts_and_completions_are_used(names: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", table(*names))
    result = check_files(path, path)
    assert (result.error, result.task) == (None, "generation")
    assert any(f"{names[0]!r} and {names[1]!r} are used instead" in r["message"] for r in result.report["remarks"])
    assert result.report["ignored_columns"] == list(names[2:])
    [first, *_] = read(path)[1]
    assert [(turn.text, turn.learned) for turn in first.turns] == [(QUESTIONS[0][0], False), (QUESTIONS[0][1], True)]


@pytest.mark.parametrize("names", [("instruction", "output", "input"), ("instruction", "response", "context")])
def test_prompts_in_several_columns_are_answered_with_what_to_rename(names: tuple[str, ...], tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.jsonl", table(*names))).error
    assert error is not None
    assert f"{names[0]!r}, {names[2]!r}" in error.message and "in a column named prompt" in error.message
    assert f"rename {names[1]!r} to completion" in error.message


def test_answers_that_look_like_labels_are_no_completions(tmp_path: Path) -> None:
    content = "question,answer\n" + "\n".join(f"is the number {n} even?,{('yes', 'no')[n % 2]}" for n in range(40))
    path = write(tmp_path, "a.csv", content)
    error = check_files(path).error
    assert error is not None and "columns.label to the name of the column that contains the labels" in error.message
    assert check_files(path, task="generation").error is None
    named = check_files(path, columns=Columns(text="question", label="answer"))
    assert (named.error, named.task) == (None, "classification")


def test_pairs_with_a_label_are_answered_with_the_way(tmp_path: Path) -> None:
    rows = [f"{question},{answer},{n % 2}" for n, (question, answer) in enumerate(QUESTIONS)]
    path = write(tmp_path, "a.csv", "question,answer,label\n" + "\n".join(rows))
    error = check_files(path).error
    assert error is not None and "if each row is a pair of texts, set columns.text_pair to the second" in error.message


@pytest.mark.parametrize("name", ["label", "value", "Label"])
@pytest.mark.parametrize("task", [None, "generation"])
@pytest.mark.parametrize("kind", ["messages", "conversations", "prompt"])
def test_rated_conversations_are_used_for_generation(kind: str, task: str | None, name: str, tmp_path: Path) -> None:
    rows = []
    for n, (question, answer) in enumerate(QUESTIONS):
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        row = {"prompt": question, "completion": answer} if kind == "prompt" else {kind: chat}
        rows.append(row | {name: n % 2})
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    result = check_files(path, task=task)
    assert (result.error, result.task) == (None, "generation")
    assert result.report["ignored_columns"] == [name]
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "rated"]
    assert f"the model is trained on all answers; the column {name!r} has no effect" in remark["message"]
    asked = check_files(path, columns=Columns(label=name)).error
    assert asked is not None and "can be used only for generation, not for classification" in asked.message
    assert not [message for _, message in result.warnings if "assign it a role" in message]
    advised = {"text": "prompt"} if kind == "prompt" else {}
    rows = [row | ({} if kind == "prompt" else {"text": f"conversation {n}"}) for n, row in enumerate(rows)]
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    followed = check_files(path, columns=Columns(label=name, **advised))
    assert (followed.error, followed.task) == (None, "classification")
