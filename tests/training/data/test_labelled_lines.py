"""An error asks about lines that seem to begin or end with labels, but not about texts, logs, code and dialogues."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from tests.training.data.tables import write

WORDS = ["film", "long", "good", "music", "plot", "actor", "scene", "slow", "bright", "dull", "grand", "weak"]


def sentence(n: int) -> str:
    return " ".join(WORDS[(n * step + n // 7) % len(WORDS)] for step in (1, 5, 7, 11)) + f" {n % 13}th"


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("{label} {text}", "01234"),
        ("{label} {text}", ("-1", "+1")),
        ("{label}\t{text}", "15"),
        ("{text} {label}", "01"),
        ("pos {text}", "x"),  # sorted by label
        ("{label}: {text}", ("pos", "neg")),
        ("{label} - {text}", ("positive", "negative", "neutral")),
        ("[{label}] {text}", ("spam", "ham")),
        ("{text} => {label}", ("Positive", "Negative")),
        ("{text} #{label}", ("pos", "neg")),
        ("{label} {text}", ("DESC:manner", "ENTY:animal", "HUM:ind")),
        ("{text}, and, more,{label}", ("good", "bad")),
        ("film; {text};{label}", ("good", "bad")),
        ("{label},{text}, and more", ("sports", "world", "sci tech")),
        ("{text}\tx\ty {text}\t{label}", ("sports", "world")),
    ],
)
def test_labels_in_lines_are_asked_about(line: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    content = "\n".join(
        line.format(text=sentence(n) + ", x" * (n % 2), label=labels[n * 7 // 3 % len(labels)]) for n in range(200)
    )
    path = write(tmp_path, "a.txt", content)
    error = check_files(path).error
    assert error is not None and error.param == "task"
    assert error.message.startswith("a.txt looks like") and "set task to generation" in error.message
    assert check_files(path, task="generation").error is None


TEXTS = {
    "a play": "ROMEO: {text}\nJULIET: {text}\nNURSE:\n{text}\n",
    "a poem": "{text},\nand {text};\n  O {text}!\n\n",
    "a log": "2024-01-{n:02} 10:00:0{d},123 INFO root {text}\n2024-01-{n:02} 10:00:0{d},123 ERROR db {text}\n",
    "a log with levels first": "INFO {text}\nWARN: {text}\nERROR {text}\n",
    "a log with levels before a comma": "INFO,{text}, and\nDEBUG,{text}\n",
    "a log with days first": "1 Jan 10:00 {text}\n2 Jan 11:00 {text}\n",
    "a web log": '127.0.0.1 - - [01/Jan/2024:10:00:0{d}] "GET /{n} HTTP/1.1" 200 {n}\n',
    "code": "def f{n}(a, b):\n    x = a[{d}]  # {text}\n    return x == 1\n\n",
    "statements": "x{n} = y + {d};\n",
    "settings": "flag_{n} = {d}\nother_{n}: 1\n",
    "a markdown list": "- {text}\n* {text}\n- [ ] {text}\n",
    "a numbered list": "1. {text}\n2. {text}\n3) {text}\n",
    "verses": "{n} {text}, and {text}\n",
    "prose": 'The {text}. "{text}," he said.\nA {text}.\n',
    "quoted speech": '"{text}, and {text}," said the {d}th.\n"{text}" he said, "{text}"\n',
    "word lists": '"{text}",\n"film {n}",\n',
    "roles": "user: {text}\nassistant: {text}\n",
    "questions": "Q: {text}\nA: {text}\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_without_labels_are_learned_without_a_question(name: str, tmp_path: Path) -> None:
    content = "".join(TEXTS[name].format(text=sentence(n), n=n, d=n % 5) for n in range(200))
    result = check_files(write(tmp_path, "a.txt", content))
    assert (result.task, result.error, result.report.get("remarks")) == ("generation", None, None)


@pytest.mark.parametrize("names", [("Tom", "Ann", "Mr. Hu"), ("alice", "bob"), ("sports", "politics", "world news")])
def test_words_before_colons_may_be_labels_or_speakers(names: tuple[str, ...], tmp_path: Path) -> None:
    content = "\n".join(f"{names[n * 7 // 3 % len(names)]}: {sentence(n)}" for n in range(200))
    result = check_files(write(tmp_path, "a.txt", content))
    assert (result.task, result.error) == ("generation", None)
    [remark] = result.report["remarks"]
    assert (remark["kind"], remark["level"]) == ("speakers", "warn") and repr(names[-1]) in remark["message"]
    assert "if they are labels, write a table" in remark["message"]


PROSE = {
    "verses": [f"{n % 9 + 1} {sentence(n).capitalize()}." for n in range(60)],
    "footnotes": [f"{sentence(n).capitalize()} {n % 8 + 1}" for n in range(60)],
    "recipe": [f"{n * 7 % 5 + 1} {('cups', 'tbsp', 'large', 'g')[n % 4]} eggs of the {sentence(n)}" for n in range(60)],
    "populations": [f"In {1900 + n} there were {n % 9 + 1},{100 + n * 7} people." for n in range(60)],
    "prices": [f"The {sentence(n)} costs {n % 9 + 1},{100 + n * 7} crowns" for n in range(60)],
    "numbered": [f"{n % 9 + 1}. {sentence(n)}" for n in range(60)],
}


@pytest.mark.parametrize("kind", PROSE)
def test_prose_with_numbers_is_read_as_text(kind: str, tmp_path: Path) -> None:
    result = check_files(write(tmp_path, "a.txt", "\n".join(PROSE[kind])))
    assert (result.error, result.task) == (None, "generation")


def test_lines_with_numbers_of_classes_or_cells_are_still_asked_about(tmp_path: Path) -> None:
    for line in ("{n} {text}", "{text} {n}", "{text},{n}", "1,{n},200"):
        content = "\n".join(line.format(n=n * 7 % 5, text=sentence(n)) for n in range(60))
        assert check_files(write(tmp_path, "a.txt", content)).error is not None, line
