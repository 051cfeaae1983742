"""`ostinato classify --output`: the delimiter and the encoding of the written table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Service
from tests.cli.test_inference import classified


@pytest.mark.parametrize(
    ("content", "encoding", "written", "note"),
    [
        ("text;id\na fine day;1\n", "utf-8", "text;id;label;score\na fine day;1;good;0.9\n", ""),
        ("text;id\na füne day;1\n", "utf-8-sig", "\ufefftext;id;label;score\na füne day;1;bad;0.1\n",
         ", UTF-8 with a byte order mark"),
        ("text\tid\na füne day\t1\n", "cp1252", "text,id,label,score\na füne day,1,bad,0.1\n", ", UTF-8"),
        ("text,id\na fine day,1\n", "utf-16", "\ufefftext,id,label,score\na fine day,1,good,0.9\n",
         ", UTF-8 with a byte order mark"),
    ],
)  # fmt: skip
def test_the_output_has_the_delimiter_and_the_byte_order_mark_of_the_input(
    service: Service, ostinato: Run, tmp_path: Path, content: str, encoding: str, written: str, note: str
) -> None:
    service.routes["POST /v1/classify"] = classified
    (tmp_path / "in.csv").write_bytes(content.encode(encoding))
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    assert done.out == f"saved out.csv (1 row{note})\n", done.err
    assert (tmp_path / "out.csv").read_bytes().decode() == written
    ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "1"


@pytest.mark.parametrize(
    ("name", "own", "saved"),
    [
        ("a.csv", "-1.0", "-1"),
        ("a.csv", "2.00", "2"),
        ("a.csv", "0.5", "0.5"),
        ("a.jsonl", -1.0, "-1"),
        ("a.csv", "x", "x"),
    ],
)
def test_labels_are_written_as_those_of_the_version(
    service: Service, ostinato: Run, tmp_path: Path, name: str, own: object, saved: str
) -> None:
    item = {"index": 0, "label": "-1", "probs": [1.0], "scores": [{"label": "-1", "score": 1.0}]}
    service.routes["POST /v1/classify"] = (200, {"model": "m", "data": [item], "usage": {}})
    content = f"text,label\nfilm,{own}\n" if name == "a.csv" else json.dumps({"text": "film", "label": own}) + "\n"
    (tmp_path / name).write_text(content)
    assert ostinato("classify", "-m", "m", "--file", name, "-o", "out.csv").status == 0
    [row] = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (row["label"], row["predicted_label"]) == (saved, "-1")
