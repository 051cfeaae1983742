"""`ostinato classify --file` and `--output`: reading and writing tables."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cli.tables import read_lines
from tests.cli.conftest import Run
from tests.cli.service import Service
from tests.cli.test_inference import classified
from tests.cli.test_streams import run
from tests.training.data.tables import xlsx


@pytest.fixture
def reading(service: Service) -> Service:
    service.routes["POST /v1/classify"] = classified
    return service


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_gets_the_predictions_beside_its_columns(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,text,label\n1,"a fine, long day",yes\n2,a dull day,no\n')
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--output", "out.csv")
    assert (done.status, done.out) == (0, "saved out.csv (2 rows)\n"), done.err
    assert rows_of(tmp_path / "out.csv") == [
        {"id": "1", "text": "a fine, long day", "label": "yes", "predicted_label": "good", "score": "0.9"},
        {"id": "2", "text": "a dull day", "label": "no", "predicted_label": "bad", "score": "0.1"},
    ]
    assert reading.sent("POST /v1/classify")[0].json["input"] == ["a fine, long day", "a dull day"]


def test_a_sum_at_the_end_of_a_table_is_left_out_with_a_warning(
    reading: Service, ostinato: Run, tmp_path: Path
) -> None:
    rows = "".join(f"{number},a fine day,{number}\n" for number in range(9))
    (tmp_path / "in.csv").write_text(f"id,text,amount\n{rows}Summe,,36\n")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--output", "out.csv")
    assert done.out == "saved out.csv (9 rows)\n" and len(rows_of(tmp_path / "out.csv")) == 9
    assert "1 line after the last row is left out as a comment or footer: 'Summe, 36'" in done.err
    assert "without a text" not in done.err


def test_a_table_without_output_is_shown(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("text\tid\na fine day\t1\n")
    done = ostinato("classify", "-m", "m", "--file", "in.tsv")
    assert done.out.splitlines() == ["LABEL  SCORE  TEXT", "good   0.900  a fine day"]


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"comment": ["a fine day", "rain"], "id": [1, 2]}), path)


def write_cp1252(path: Path) -> None:
    path.write_bytes("comment;id\na fine café;1\nrain;2\n".encode("cp1252"))


def write_json(path: Path) -> None:
    path.write_text(json.dumps([{"comment": "a fine day", "id": 1}, {"comment": "rain", "id": 2}]))


def write_marked(path: Path) -> None:
    path.write_text("comment,id\na fine day,1\nrain,2\n", encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("name", "write"),
    [("in.parquet", write_parquet), ("in.csv", write_cp1252), ("in.json", write_json), ("in.csv", write_marked)],
)
def test_tables_are_read_as_the_training_reads_them(
    reading: Service, ostinato: Run, tmp_path: Path, name: str, write: Any
) -> None:
    write(tmp_path / name)
    done = ostinato("classify", "-m", "m", "--file", name, "-o", "out.jsonl", "--text-column", "comment")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(str(line["id"]), line["label"]) for line in lines] == [("1", "good"), ("2", "bad")]


def test_a_guessed_encoding_is_reported(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    write_cp1252(tmp_path / "in.csv")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--text-column", "comment")
    assert "warning: in.csv is not valid UTF-8; it is read as cp1252" in done.err
    (tmp_path / "in.csv").write_bytes("text;id\nхороший фильм;1\n".encode("cp1251"))
    assert ostinato("classify", "-m", "m", "--file", "in.csv", "--encoding", "cp1251").status == 0
    assert reading.sent("POST /v1/classify")[-1].json["input"] == ["хороший фильм"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("waves.jsonl", '{"features": [[1, 2]], "label": "a"}\n'), ("waves.csv", "series,time,height\n1,1,0.5\n")],
)
def test_numbers_are_refused_with_the_route_for_them(
    reading: Service, ostinato: Run, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    done = ostinato("classify", "-m", "m", "--file", name)
    assert done.status == 1 and "this command reads only texts; send the numbers to POST /v1/classify" in done.err


def test_a_missing_column_is_named_and_nothing_is_written(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("comment,id\na fine day,1\n")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    assert done.status == 1 and done.err.count("--text-column") == 1 and "'comment'" in done.err
    assert not reading.sent("POST /v1/classify") and not (tmp_path / "out.csv").exists()


def test_rows_without_a_text_stay_without_a_prediction(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,id\n,1\na fine day,2\n")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.tsv")
    assert "1 row without a text has no prediction" in done.err
    assert (tmp_path / "out.tsv").read_text() == "text\tid\tlabel\tscore\n\t1\t\t\na fine day\t2\tgood\t0.9\n"


def test_a_large_table_is_sent_in_parts(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"text {n}\n" for n in range(600)))
    ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    assert [len(request.json["input"]) for request in reading.sent("POST /v1/classify")] == [256, 256, 88]
    assert [row["text"] for row in rows_of(tmp_path / "out.csv")] == [f"text {n}" for n in range(600)]


def test_an_error_names_the_row_of_the_table(service: Service, ostinato: Run, tmp_path: Path) -> None:
    def classify(request: Any) -> tuple[int, Any]:
        full = len(request.json["input"]) == 256
        return classified(request) if full else (400, {"error": {"message": "input[1] has 9 tokens", "param": "input"}})

    service.routes["POST /v1/classify"] = classify
    (tmp_path / "in.csv").write_text(
        "id,text\n" + "".join(f"{n},text {n}\n" for n in range(256)) + "256,\n257,a\n258,b\n"
    )
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    assert done.err == "ostinato: text 259 has 9 tokens\n" and not (tmp_path / "out.csv").exists()


def test_pairs_come_from_two_columns(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("premise,claim\nit rains,it is wet\n")
    columns = ("--text-column", "premise", "--text-pair-column", "claim")
    assert ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv", *columns).status == 0
    assert reading.sent("POST /v1/classify")[0].json["input"] == [{"text": "it rains", "text_pair": "it is wet"}]


def test_several_labels_are_written_as_a_list(service: Service, ostinato: Run, tmp_path: Path) -> None:
    scores = [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.6}]
    service.routes["POST /v1/classify"] = (
        200,
        {"data": [{"index": 0, "label": "a", "labels": ["a", "b"], "scores": scores}]},
    )
    done = ostinato("classify", "-m", "m", "x", "-o", "out.csv", "--threshold", "0.6")
    assert done.status == 0, done.err
    assert service.requests[0].json["threshold"] == 0.6
    assert rows_of(tmp_path / "out.csv") == [{"text": "x", "label": '["a", "b"]', "score": "[0.9, 0.6]"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "out.xlsx"], "--output out.xlsx"),
        (["--text-column", "a"], "--text-column"),
        (["--threshold", "2"], "--threshold"),
        (["--file", "in.csv"], "not both"),
        (["--skip-bad-rows", "0.1"], "--skip-bad-rows requires a --file that ends in .csv"),
        (["--skip-bad-rows", "5"], "--skip-bad-rows"),
    ],
)
def test_options_that_cannot_work_are_refused(
    reading: Service, ostinato: Run, options: list[str], message: str
) -> None:
    done = ostinato("classify", "-m", "m", "x", *options)
    assert done.status and message in done.err and not reading.sent("POST /v1/classify")


def test_oddities_of_a_table_are_told_once(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    rows = "".join(f"a fine row {number},good,7\n" for number in range(6))
    content = f'text,mood,\n{rows}"so he said,good,1\nand left",good,1\n'
    (tmp_path / "in.csv").write_text(content)
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--output", "out.csv")
    joined, unnamed = done.err.splitlines()
    assert joined.startswith("warning: in.csv, line 8: a quoted cell spans several lines")
    assert unnamed == "warning: in.csv, line 2: 7 rows have values in columns without a name; these values are ignored"


def test_blank_lines_of_a_text_file_are_kept_so_that_answers_stay_in_line(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("first\n\n  \nfourth\n\n")
    assert read_lines(tmp_path / "t.txt") == ["first", "", "  ", "fourth"]


def test_columns_that_are_not_used_may_repeat_a_name(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("note,text,note\nfirst,a fine day,second\nleft,rain\n")
    assert ostinato("classify", "-m", "m", "--file", "in.csv").err == ""
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    warning = "warning: in.csv, line 1: the column 'note' appears 2 times; only the first is kept\n"
    assert (done.status, done.err) == (0, warning)
    assert [list(row.values())[:3] for row in rows_of(tmp_path / "out.csv")] == [
        ["first", "a fine day", "good"], ["left", "rain", "bad"],
    ]  # fmt: skip
    (tmp_path / "in.csv").write_text("text,text\na fine day,rain\n")
    assert "the column 'text' appears 2 times; rename" in ostinato("classify", "-m", "m", "--file", "in.csv").err


FAULTY = 'text,id\na fine day,1\n"a "bad" quote",2\nrain,3,too,many\n' + "".join(f"row {n},{n}\n" for n in range(5))


def test_all_faulty_rows_are_reported_before_anything_is_sent(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(FAULTY)
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    first, second, last = done.err.splitlines()
    assert first.startswith("in.csv, line 3, column 'text': malformed CSV")
    assert second.startswith("in.csv, line 4, column 3: the row has 4 cells")
    assert last.startswith("ostinato: 2 rows cannot be used: ")
    expected = "To leave them out anyway (25 % of the rows), set --skip-bad-rows 0.25; nothing was classified"
    assert last.endswith(f"Fix these rows. {expected}")
    assert done.status == 1 and not reading.sent("POST /v1/classify") and not (tmp_path / "out.csv").exists()


def test_a_share_of_bad_rows_may_be_left_out(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(FAULTY)
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv", "--skip-bad-rows", "0.25")
    assert (done.status, done.out) == (0, "saved out.csv (6 rows)\n")
    assert done.err.startswith("warning: 2 rows that cannot be used are left out: 1 × ") and "(line 4)" in done.err
    assert len(reading.sent("POST /v1/classify")[0].json["input"]) == 6
    few = ostinato("classify", "-m", "m", "--file", "in.csv", "--skip-bad-rows", "0.2")
    assert few.status == 1 and "2 rows cannot be used" in few.err


PIPED = {
    "csv": 'text,label\n"a fine, long day",yes\na dull day,no\n',
    "tsv": "id\ttext\tlabel\n1\ta fine, long day\tyes\n2\ta dull day\tno\n",
    "json": '{"text": "a fine, long day", "id": 1}\n{"text": "a dull day", "id": 2}\n',
    "single": "text\na fine long day\na dull day\n",
}


@pytest.mark.parametrize("kind", PIPED)
def test_a_pipe_without_a_suffix_is_read_as_the_table_that_it_contains(
    reading: Service, ostinato: Run, tmp_path: Path, kind: str
) -> None:
    read, write = os.pipe()
    os.write(write, PIPED[kind].encode())
    os.close(write)
    try:
        done = ostinato("classify", "-m", "m", "--file", f"/dev/fd/{read}", "--output", "out.csv")
    finally:
        os.close(read)
    assert done.status == 0, done.err
    texts = reading.sent("POST /v1/classify")[0].json["input"]
    assert [text.replace(",", "") for text in texts] == ["a fine long day", "a dull day"]
    assert len(rows_of(tmp_path / "out.csv")) == 2
    assert "pipe is read as a table, as it would be for training" in done.err


@pytest.mark.parametrize("header", ["id,comment", "comment", '"id";"comment"', "a\tcomment\tb"])
def test_a_column_can_be_named_for_a_file_of_any_name(
    reading: Service, ostinato: Run, tmp_path: Path, header: str
) -> None:
    names = header.replace('"', "").replace(";", ",").replace("\t", ",").split(",")
    delimiter = ";" if ";" in header else "\t" if "\t" in header else ","
    rows = [
        delimiter.join("a fine day" if name == "comment" else "1" for name in names),
        delimiter.join("a dull day" if name == "comment" else "2" for name in names),
    ]
    (tmp_path / "in").write_text("\n".join([header, *rows]))
    done = ostinato("classify", "-m", "m", "--file", "in", "--text-column", "comment", "-o", "out.csv")
    assert done.status == 0, done.err
    assert reading.sent("POST /v1/classify")[0].json["input"] == ["a fine day", "a dull day"]


@pytest.mark.parametrize("header", ["text,label", "id\ttext\tlabel", '"label";"text"'])
def test_a_table_on_standard_input_is_warned_about(
    reading: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    row = header.replace("label", "yes").replace("text", "a fine day")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{header}\n{row}\n"))
    done = ostinato("classify", "-m", "m")
    assert done.status == 0 and "use --file -" in done.err
    monkeypatch.setattr("sys.stdin", io.StringIO("a text, a label\na fine day, yes\n"))
    assert ostinato("classify", "-m", "m").err == ""


DOUBTFUL = {
    "commas": ("message,kind\n" + "a fine day,yes\n" * 12, "each line has 2 cells separated by commas"),
    "semicolons": ("Message Text;Category\nrenew Dune;a\n", "its first line may name the columns"),
    "json": ('{"text":"renew Dune"}\n', "its lines are JSON objects"),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_lines_that_may_be_a_table_are_warned_about_as_in_training(
    reading: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content, evidence = DOUBTFUL[kind]
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    done = ostinato("classify", "-m", "m")
    assert done.status == 0 and done.err.startswith(f"warning: standard input looks like a table: {evidence}")
    assert "use --file -, and set --text-column to the column with the texts if its name is not `text`" in done.err
    assert reading.sent("POST /v1/classify")[0].json["input"] == content.splitlines()


@pytest.mark.parametrize("kind", ["commas", "semicolons"])
@pytest.mark.parametrize("name", ["noext", "in.txt"])
def test_a_file_that_may_be_a_table_is_warned_about_as_in_training(
    reading: Service, ostinato: Run, tmp_path: Path, kind: str, name: str
) -> None:
    content, evidence = DOUBTFUL[kind]
    (tmp_path / name).write_text(content)
    done = ostinato("classify", "-m", "m", "--file", name)
    assert done.status == 0 and done.err.startswith(f"warning: {name} looks like a table: {evidence}")
    assert done.err.endswith("to classify the rows of the table, set --text-column to the column with the texts\n")
    column = content.replace(";", ",").partition(",")[0]
    done = ostinato("classify", "-m", "m", "--file", name, "--text-column", column)
    assert done.status == 0 and "looks like a table" not in done.err
    assert set(reading.sent("POST /v1/classify")[1].json["input"]) <= {"a fine day", "renew Dune"}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("img.txt", b"\x89PNG\r\n\x1a\n123", "a picture"),
        ("weights.pt", None, "a PyTorch file"),
        ("x", b"%PDF-1", "a PDF"),
    ],
)
def test_a_file_that_is_no_text_is_recognised_as_in_training(
    reading: Service, ostinato: Run, tmp_path: Path, name: str, content: bytes | None, kind: str
) -> None:
    if content is None:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02")
    else:
        (tmp_path / name).write_bytes(content)
    done = ostinato("classify", "-m", "m", "--file", name)
    assert done.status == 1 and done.err.startswith(f"ostinato: {name} is {kind}"), done.err
    assert done.err.endswith("; nothing was classified\n") and not reading.sent("POST /v1/classify")


def test_a_hyphen_is_standard_input(reading: Service) -> None:
    table, texts = b"Message Text,n\na fine day,1\nrain,2\n", b"a fine day\nrain\n"
    for content, more in ((table, ("--text-column", "Message Text")), (texts, ())):
        done = run("classify", "-m", "m", "--file", "-", *more, content=content)
        assert done.returncode == 0, done.stderr
        assert reading.sent("POST /v1/classify")[-1].json["input"] == ["a fine day", "rain"]
    done = run("classify", "-m", "m", "--text-column", "Message Text", content=table)
    assert done.returncode == 1 and b"to read a table from standard input, use --file -" in done.stderr


def test_a_table_may_come_from_a_pipe(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.csv")
    writer = threading.Thread(target=(tmp_path / "in.csv").write_text, args=("text\na fine day\n",))
    writer.start()
    assert ostinato("classify", "-m", "m", "--file", "in.csv").status == 0
    writer.join()
    assert reading.sent("POST /v1/classify")[0].json["input"] == ["a fine day"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.txt", "text\tlabel\na fine day\tyes\nrain\tno\n"),
        ("in.dat", "text,label\na fine day,yes\nrain,no\n"),
        ("in.txt", "__label__yes a fine day\n__label__no rain\n"),
        ("in.txt", '{"text": "a fine day"}\n{"text": "rain"}\n'),
    ],
)
def test_a_table_with_another_name_is_read_as_a_table(
    reading: Service, ostinato: Run, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    done = ostinato("classify", "-m", "m", "--file", name)
    assert done.status == 0, done.err
    assert reading.sent("POST /v1/classify")[0].json["input"] == ["a fine day", "rain"]
    assert f"{name} is read as a table, as it would be for training" in done.err


@pytest.mark.parametrize("content", ["a fine day, text\nrain\n", "text\nlabel\n", '{"text\n{\n'])
def test_lines_of_text_stay_texts(reading: Service, ostinato: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "in.txt").write_text(content)
    done = ostinato("classify", "-m", "m", "--file", "in.txt")
    assert (done.status, done.err) == (0, "")
    assert reading.sent("POST /v1/classify")[0].json["input"] == content.splitlines()


def test_a_table_of_numbers_is_refused_with_the_reason(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "meter.csv").write_text("meter;reading\nM1;4221\nM1;4666\n")
    done = ostinato("classify", "-m", "m", "--file", "meter.csv")
    assert done.status == 1 and not reading.sent("POST /v1/classify")
    assert "has no column 'text'" in done.err and "this command reads only texts" in done.err


def test_the_index_without_a_name_is_kept(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    """pandas writes such an index. Without it, predictions cannot be joined to the rows if some rows are left out."""
    (tmp_path / "in.csv").write_text(",text,label,\n7,a fine day,yes,\n9,rain,no,\n")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "-o", "out.csv")
    assert done.status == 0 and "without a name" not in done.err, done.err
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",text,label,predicted_label,score", "7,a fine day,yes,good,0.9", "9,rain,no,bad,0.1",
    ]  # fmt: skip


def test_the_index_of_a_workbook_is_kept(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "in.xlsx").write_bytes(xlsx([(None, "text", None), (7, "a fine day", None), (9, "rain", None)]))
    done = ostinato("classify", "-m", "m", "--file", "in.xlsx", "-o", "out.csv")
    assert done.status == 0 and "without a name" not in done.err, done.err
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",text,label,score", "7,a fine day,good,0.9", "9,rain,bad,0.1",
    ]  # fmt: skip
