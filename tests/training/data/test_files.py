"""Every format is read alike; every fault is told with its place and what would be right."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tokenization.training import train
from app.training.data import files as data
from app.training.data import layouts
from app.training.data import text as data_text
from app.training.data.chat import TEMPLATE
from app.training.data.columns import TEST, TRAIN, VALIDATION, Example, Layout, Turn
from app.training.data.files import detect, lines
from app.training.failures import BadData
from app.wire.training_options import Columns
from tests.training import runs

ROWS: list[dict[str, Any]] = [
    {"text": 'She said "yes", twice', "label": "good", "split": "train"},
    {"text": "two\nlines", "label": "bad", "split": "val"},
    {"text": "naïve 😀", "label": "good", "split": "test"},
]


def delimited(delimiter: str) -> bytes:
    import csv

    out = io.StringIO()
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


CONTENTS: dict[str, Callable[[], bytes]] = {
    "rows.csv": lambda: delimited(","),
    "semicolons.csv": lambda: delimited(";"),
    "marked.csv": lambda: b"\xef\xbb\xbf" + delimited(","),
    "rows.tsv": lambda: delimited("\t"),
    "rows.jsonl": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    "rows.parquet": parquet,
    "nameless-csv": lambda: delimited(","),
    "nameless-tsv": lambda: delimited("\t"),
    "nameless-json": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    "nameless-parquet": parquet,
}


def read(path: Path, task: str | None = None, **named: str) -> tuple[Layout, list[Example]]:
    layout = layouts.find(detect(path, path.name), Columns(**named), task)
    return layout, list(layout.examples())


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_formats(name: str, zipped: bool, tmp_path: Path) -> None:
    content = CONTENTS[name]()
    path = write(tmp_path, f"{name}.gz" if zipped else name, gzip.compress(content) if zipped else content)
    layout, examples = read(path)
    assert layout.task == "classification"
    assert [(e.text, e.labels, e.split) for e in examples] == [
        (row["text"], (row["label"],), split) for row, split in zip(ROWS, (TRAIN, VALIDATION, TEST), strict=True)
    ]


def test_a_named_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "review,label\nx,y\n")
    with pytest.raises(BadData) as caught:
        read(path, text="reviews")
    assert caught.value.param == "columns.text"
    assert "no column 'reviews'; did you mean 'review'?; its columns are 'review', 'label'" in caught.value.message


@pytest.mark.parametrize(
    ("header", "named", "task", "expected"),
    [
        ("text,label,value", {}, None, "classification"),
        ("text,label,score", {"value": "score"}, None, "regression"),
        ("text,value", {}, None, "regression"),
        ("text,other", {}, None, "generation"),
        ("text,label", {}, "multilabel", "multilabel"),
        ("text,label", {}, "generation", "generation"),
    ],
)
def test_tasks(header: str, named: dict[str, str], task: str | None, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    assert read(path, task, **named)[0].task == expected


@pytest.mark.parametrize(
    ("header", "named", "task", "expected", "ignored"),
    [
        ("text,id", {}, None, "generation", ("id",)),
        ("text,volume", {}, None, "generation", ("volume",)),
        ("text,lable", {}, "generation", "generation", ("lable",)),
        ("text,lable", {"label": "lable"}, None, "classification", ()),
        ("text,label,values", {}, None, "classification", ("values",)),
        ("text,label,text_pair", {}, None, "classification", ()),
        ("text,label,text_pair", {}, "generation", "generation", ("label", "text_pair")),
        ("features,label,id", {}, None, "classification", ("id",)),
        ("series,time,value,label", {}, None, "classification", ()),
        ("series,x,y,label", {"features": "x,"}, None, "classification", ("y",)),
    ],
)
def test_columns_that_mean_nothing_are_known(
    header: str, named: dict[str, str], task: str | None, expected: str, ignored: tuple[str, ...], tmp_path: Path
) -> None:
    row = ",".join("[1]" if name == "features" else "1" for name in header.split(","))
    path = write(tmp_path, "a.csv", f"{header}\n{row}\n")
    named = {key: value.rstrip(",") for key, value in named.items()}
    layout, _ = read(path, task, **named)
    assert (layout.task, layout.ignored) == (expected, ignored)


def test_labels_of_several_kinds(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\nx,b|a\ny,\nz,c\n")
    assert [e.labels for e in read(path, "multilabel")[1]] == [("a", "b"), (), ("c",)]
    listed = 'text,label\nx,"[""b|c"", ""a""]"\ny,[]\nz," [""c""]"\n'
    assert [e.labels for e in read(write(tmp_path, "b.csv", listed), "multilabel")[1]] == [("a", "b|c"), (), ("c",)]
    assert read(write(tmp_path, "c.csv", "text,label\nx,[a]\n"))[1][0].labels == ("[a]",)  # one label, as it stands
    path = write(tmp_path, "a.jsonl", '{"text": "x", "label": ["b", "a"]}\n{"text": "y", "label": []}\n')
    assert [e.labels for e in read(path, "multilabel")[1]] == [("a", "b"), ()]
    path = write(tmp_path, "b.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": 2.0}\n')
    assert [e.labels for e in read(path)[1]] == [("1",), ("2",)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("[a]", r"what starts with \[ must be a JSON list .*; character 2 of this text: not JSON: Expecting value"),
        ('"[""a"", 1]"', "not all of these are texts"),
        ("[" * 9999, "nested too deeply"),
    ],
)
def test_a_list_of_labels_that_is_none(cell: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=rf"line 2, column 'label': .*{said}"):
        read(write(tmp_path, "a.csv", f"text,label\nx,{cell}\n"), "multilabel")


def test_completions(tmp_path: Path) -> None:
    layout, examples = read(
        write(tmp_path, "b.jsonl", '{"prompt": "", "completion": "b"}\n{"prompt": "a", "completion": ""}')
    )
    assert layout.task == "generation"
    assert examples[0].turns == (Turn("", False, False), Turn("b", True, True))
    assert [example.usable for example in examples] == [True, False]


def test_every_answer_of_a_chat_is_learned_but_those_of_no_weight(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho", "weight": 0},
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "Hi.", "weight": 1},
    ]
    layout, (example,) = read(write(tmp_path, "a.jsonl", json.dumps({"messages": messages})))
    assert layout.task == "generation"
    assert example.turns == (
        Turn("system: Be brief.\nuser: Hi\nassistant:", learned=False, ended=False),
        Turn(" Ho", learned=False, ended=True),
        Turn("\nuser: What?\nassistant:", learned=False, ended=False),
        Turn(" Hi.", learned=True, ended=True),
    )
    template = jinja2.Environment().from_string(TEMPLATE)
    said = "".join(turn.text + "<eos>" * turn.ended for turn in example.turns)
    assert template.render(messages=messages, eos_token="<eos>") == said + "\n"
    asked = template.render(messages=messages[:2], eos_token="<eos>", add_generation_prompt=True)
    assert asked == example.turns[0].text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([("user", "x", None)], "the last message must be the assistant's"),
        ([("assistant", "x", 0)], "every message of the assistant has weight 0"),
        ([("assistant", "x", 0.5)], "message 1: weight can be 0 or 1"),
        ([("assistant", "\ud800", 1)], "no valid Unicode"),
    ],
)
def test_chats_that_teach_nothing(messages: list[tuple[str, str, Any]], said: str, tmp_path: Path) -> None:
    row = {"messages": [dict(zip(("role", "content", "weight"), message, strict=True)) for message in messages]}
    with pytest.raises(BadData, match=f"line 1, column 'messages': .*{said}"):
        read(write(tmp_path, "a.jsonl", json.dumps(row)))


def test_long_tables(tmp_path: Path) -> None:
    table = "series,time,x,y,label\nb,2,3,30,up\na,1,1,10,down\nb,10,4,40,up\nb,1,2,20,up\n"
    layout, examples = read(write(tmp_path, "a.csv", table))
    assert (layout.task, layout.steps) == ("classification", ("x", "y"))
    found = {e.labels[0]: e.features_TF.tolist() for e in examples if e.features_TF is not None}
    assert found == {"up": [[2.0, 20.0], [3.0, 30.0], [4.0, 40.0]], "down": [[1.0, 10.0]]}
    with pytest.raises(BadData, match=r"line 3, column 'label': differs from line 2"):
        read(write(tmp_path, "b.csv", "series,time,x,label\nb,2,3,up\nb,1,1,down\n"))


def test_readings_named_value_are_features_of_a_labelled_series(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "series,time,value,label\na,2,20,up\na,1,10,up\n")
    layout, (example,) = read(path)
    assert (layout.task, layout.steps) == ("classification", ("value",))
    assert example.features_TF is not None and example.features_TF.tolist() == [[10.0], [20.0]]
    layout, (example,) = read(write(tmp_path, "b.csv", "series,x,value\na,1,7\na,2,7\n"))
    assert (layout.task, layout.steps, example.value) == ("regression", ("x",), 7.0)


def test_steps_are_ordered_by_number_or_by_date(tmp_path: Path) -> None:
    for times in (
        ("10", "9", "9.5"),
        ("2026-02-01", "2025-12-31", "2026-01-09"),
        ("2026-01-01T10:00:00.5", "2025-12-31", "2026-01-01 10:00"),
        ("2026-02-01", "2026-01", "2026-01-01T00:00:00.000001"),
        ("2026-01-01T12:30Z", "2026-01-01T13:00+02:00", "20260101T110001Z"),
    ):
        rows = "".join(f"a,{time},{n},up\n" for n, time in enumerate(times))
        _, (example,) = read(write(tmp_path, "a.csv", f"series,time,x,label\n{rows}"))
        assert example.features_TF is not None and example.features_TF[:, 0].tolist() == [1, 2, 0]


def test_numbers_from_json_and_parquet(tmp_path: Path) -> None:
    rows = [{"features": [[1.0, 2.0], [3.0, 4.0]], "value": 0.5}, {"features": [[5.0, 6.0]], "value": 1.5}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    for name in ("a.parquet", "a.jsonl"):
        layout, examples = read(tmp_path / name)
        assert layout.task == "regression"
        assert [(e.features_TF.tolist(), e.value) for e in examples if e.features_TF is not None] == [
            ([[1.0, 2.0], [3.0, 4.0]], 0.5),
            ([[5.0, 6.0]], 1.5),
        ]


def test_lines_are_numbered_from_one_without_the_mark(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo"), "a.txt")
    assert list(lines(source)) == [(1, "one\r\n"), (2, "two")]


@settings(max_examples=50)
@given(st.text(alphabet="ab  \n\t.é", max_size=400), st.integers(4, 40), st.integers(3, 60), st.integers(0, 400))
def test_a_text_is_cut_by_what_it_says_alone(text: str, piece: int, block: int, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        source = detect(write(Path(folder), "a.txt", "x" + text), "a.txt")
        patch.setattr(data_text, "PIECE", piece)
        whole = list(data_text.pieces(source))
        patch.setattr(data, "_BLOCK", block)
        assert list(data_text.pieces(source)) == whole
        assert "".join(whole) == "x" + text and all(len(part) <= piece + 1 for part in whole)
        parts = [*data_text.span(source, 0, cut), *data_text.span(source, cut, len(text) + 1)]
        assert "".join(parts) == "x" + text


def test_pieces_give_the_tokens_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cuts lie where byte-pair encoding cuts as well: no token is lost to them, nor won."""
    text = "".join(f"{a}, said the {b} one:\n\n  don't\t{n}!  " for n, (a, b) in enumerate(runs.sentences(300)))
    tokenizer = train([text], "bpe", 600)
    monkeypatch.setattr(data_text, "PIECE", 100)
    pieces = list(data_text.pieces(detect(write(tmp_path, "a.txt", text), "a.txt")))
    assert len(pieces) > 100
    assert [id_ for ids in tokenizer.encode_batch(pieces) for id_ in ids] == tokenizer.encode(text)
    glued = detect(write(tmp_path, "b.txt", text.replace("\n", " ").replace("  ", " ")), "b.txt")
    assert max(map(len, data_text.pieces(glued))) <= 102


def test_a_packed_parquet_leaves_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet.gz", gzip.compress(parquet()))
    assert len(read(path)[1]) == len(ROWS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("row", "key", "task"),
    [
        ({"text": "x", "label": "y"}, "split", None),
        ({"text": "x", "label": "y"}, "text_pair", None),
        ({"text": "x"}, "label", None),
        ({"text": "x"}, "value", None),
        ({"text": "x", "label": "y"}, "value", ""),
        ({"text": "x"}, "label", "generation"),
        ({"text": "x"}, "text_pair", "generation"),
        ({"prompt": "x", "completion": "y"}, "split", None),
        ({"series": "x", "height": 1, "label": "y"}, "time", None),
    ],
)
def test_a_key_that_comes_late_is_not_passed_over(
    row: dict[str, Any], key: str, task: str | None, tmp_path: Path
) -> None:
    """Unless it would mean nothing in the first records either."""
    rows = [*[row] * 120, row | {key: 1}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    if task is not None:
        read(path, task or None)
        return
    said = f"a.jsonl, line 121, column '{key}': no record before has the key '{key}'; give it to every record, or to"
    with pytest.raises(BadData, match=said):
        read(path)
