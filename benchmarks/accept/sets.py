"""Eight different classification data sets, derived from the data sets of the acceptance checks.

They have 200 to 20,000 training rows, two to sixty labels and at least 2,000 test rows each; some are noisy or skewed.
"""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accept.sources import rows, source

Example = tuple[str, str]  # text, label
FEWEST_TEST_ROWS = 2000
VALIDATION = 0.1  # the share of validation rows among the rows that are not test rows
FLIPPED = 0.2  # the share of wrong training labels in the noisy set
RARE = 0.05  # the share of the rare label in the skewed set
CHUNK_WORDS = 40
_BIBLE, _VADER, _LANGUAGES, _PLAYS = (
    "parallel_eng_spa_bible.tsv", "sentiment_vader.csv", "langid_udhr.csv", "lm_shakespeare.txt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """The rows of a data set, keyed by split."""

    name: str
    train: list[Example]
    validation: list[Example]
    test: list[Example]

    def write(self, folder: Path) -> Path:
        """Write the data set as a CSV file with a split column."""
        path = folder / f"{self.name}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label", "split"])
            for split in ("train", "validation", "test"):
                writer.writerows([text, label, split] for text, label in getattr(self, split))
        return path


def build(data: Path | None) -> dict[str, Callable[[], LabelledSet]]:
    """Return functions that create the data sets, keyed by name. Raises Skip if a source is missing."""
    for name in (_BIBLE, _VADER, _LANGUAGES, _PLAYS):
        source(data, name)
    assert data is not None
    folder = data
    return {
        "testaments": lambda: _split("testaments", _testaments(folder), 200),
        "books": lambda: _split("books", _books(folder, "src", 10), 2_000),
        "libros": lambda: _split("libros", _books(folder, "tgt", 60), 20_000),
        "sources": lambda: _split("sources", _column(folder, "domain"), 1_000),
        "noisy": lambda: _noisy(_split("noisy", _two_sides(folder), 4_000)),
        "skewed": lambda: _split("skewed", _skewed(_two_sides(folder)), 6_000),
        "plays": lambda: _split("plays", _plays(folder, 15), 5_000),
        "languages": lambda: _split("languages", _pieces(folder), 8_000),
    }


def _split(name: str, examples: Iterable[Example], train_rows: int) -> LabelledSet:
    """Draw `train_rows` rows for training and validation. Up to 6,000 of the other rows are test rows."""
    unique = list({text: (text, label) for text, label in examples}.values())
    random.Random(name).shuffle(unique)
    ours, test = unique[:train_rows], unique[train_rows : train_rows + 6_000]
    held_out = round(VALIDATION * len(ours))
    train_labels = {label for _, label in ours[held_out:]}
    test = [example for example in test if example[1] in train_labels]
    if len(test) < FEWEST_TEST_ROWS:
        raise ValueError(f"{name} has only {len(test)} test rows")
    return LabelledSet(name, ours[held_out:], ours[:held_out], test)


def _verses(folder: Path) -> list[dict[str, str]]:
    with (folder / _BIBLE).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _testaments(folder: Path) -> Iterable[Example]:
    for verse in _verses(folder):
        yield verse["src"], "new" if int(verse["ref"].split(".")[0]) > 39 else "old"


def _books(folder: Path, column: str, most: int) -> Iterable[Example]:
    """Return verses from the longest books, each with the number of its book."""
    verses = [(verse[column], f"book {verse['ref'].split('.')[0]}") for verse in _verses(folder)]
    kept = {label for label, _ in Counter(label for _, label in verses).most_common(most)}
    return (verse for verse in verses if verse[1] in kept)


def _column(folder: Path, column: str) -> Iterable[Example]:
    return ((row["text"], row[column]) for row in rows(folder / _VADER))


def _two_sides(folder: Path) -> list[Example]:
    return [example for example in _column(folder, "label") if example[1] != "neutral"]


def _noisy(labelled: LabelledSet) -> LabelledSet:
    """Return the data set with wrong labels in some training and validation rows. Its test rows are unchanged."""
    other, draw = {"positive": "negative", "negative": "positive"}, random.Random(1)

    def flip(examples: list[Example]) -> list[Example]:
        return [(text, other[label] if draw.random() < FLIPPED else label) for text, label in examples]

    return LabelledSet(labelled.name, flip(labelled.train), flip(labelled.validation), labelled.test)


def _skewed(examples: list[Example]) -> list[Example]:
    frequent = [example for example in examples if example[1] == "positive"]
    rare = [example for example in examples if example[1] == "negative"]
    return frequent + rare[: round(len(frequent) * RARE / (1.0 - RARE))]


def _plays(folder: Path, most: int) -> Iterable[Example]:
    """Return passages from the longest plays, without the speakers' names, which would reveal the play."""
    text = (folder / _PLAYS).read_text(encoding="utf-8")
    starts = [title.start() for title in re.finditer(r"^[^\n]+\n+by William Shakespeare$", text, re.MULTILINE)]
    plays = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    for play in sorted(plays, key=len)[-most:]:
        title = play.split("\n", 1)[0].strip()
        body = re.sub(r"\[[^\]]*\]", " ", play)
        words = [word for word in body.split() if not word.isupper()]
        for start in range(200, len(words) - CHUNK_WORDS, CHUNK_WORDS):
            yield " ".join(words[start : start + CHUNK_WORDS]), title


def _pieces(folder: Path) -> Iterable[Example]:
    """Return short passages in the languages that have the most paragraphs."""
    paragraphs = rows(folder / _LANGUAGES)
    kept = {label for label, _ in Counter(row["label"] for row in paragraphs).most_common(57)}
    for row in paragraphs:
        text = row["text"]
        if row["label"] in kept:
            for start in range(0, len(text) - 30, 30):
                yield text[start : start + 30].strip(), row["label"]
