"""Data files are checked on this machine before the upload, with the trainer's checks."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from app.cli.data import refusal
from app.training.data.checking import check_files
from tests.cli.conftest import Run
from tests.cli.service import Service
from tests.cli.test_train import JOB

CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture
def queue(service: Service) -> Service:
    """A service that accepts files and jobs."""
    service.routes |= {"POST /v1/files": (200, {"id": "file-1"}), "POST /v1/fine_tuning/jobs": (200, JOB)}
    return service


def reviews(bad: int) -> str:
    """A CSV table with twenty usable rows, and with `bad` rows that have no label."""
    good = "".join(f"text {n},{'yes' if n % 2 else 'no'}\n" for n in range(20))
    return "text,label\n" + good + "".join(f"row {n},\n" for n in range(bad))


def test_all_faults_are_printed_with_their_lines_and_nothing_is_uploaded(
    queue: Service, ostinato: Run, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text(reviews(bad=3))
    done = ostinato("train", "reviews.csv", "--no-wait")
    assert done.status == 1 and not queue.requests
    *faults, last = done.err.splitlines()
    for line, fault in zip((22, 23, 24), faults, strict=True):
        assert f"reviews.csv, line {line}, column 'label'" in fault
    assert last.startswith("ostinato: 3 rows cannot be used") and "Fix these rows or the column 'label'" in last


def test_the_advice_for_series_states_what_the_share_counts(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    rows = "".join(f"{n // 4},{n},{'x' if n in (1, 5) else n},{'ab'[n // 4 % 2]}\n" for n in range(160))
    (tmp_path / "meters.csv").write_text(f"series,time,height,label\n{rows}")
    last = ostinato("train", "meters.csv").err.splitlines()[-1]
    basis = "(a share of the total of these rows and the 38 usable series); nothing was uploaded"
    assert last.endswith(f"leave them out with --skip-bad-rows 0.05 {basis}")


def test_faults_of_the_same_kind_are_listed_together(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(reviews(bad=130))
    *faults, last = ostinato("train", "reviews.csv").err.splitlines()
    assert len(faults) == 6 and faults[4].startswith("reviews.csv, line 26, column 'label'")
    assert faults[5].startswith("… and 125 more: column 'label': ")
    assert faults[5].endswith(" (all: lines 22-151)")
    assert last.endswith(
        "Fix these rows or the column 'label'; these are too many rows to leave out (87 %); nothing was uploaded"
    )


def test_the_option_that_leaves_out_many_rows_is_named_with_their_share(
    queue: Service, ostinato: Run, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text(reviews(bad=4))
    last = ostinato("train", "reviews.csv").err.splitlines()[-1]
    expected = "To leave them out anyway (17 % of the rows), set --skip-bad-rows 0.17; nothing was uploaded"
    assert last.endswith(f"Fix these rows or the column 'label'. {expected}")


def test_all_faults_are_found_in_ranges_and_in_json(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    rows = [f"text {n},{'' if 10 <= n < 80 or n in (90, 95) else 'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows))
    done = ostinato("train", "a.csv")
    assert done.status == 1 and "(all: lines 12-81, 92, 97)" in done.err
    done = ostinato("train", "a.csv", "--json")
    report = json.loads(done.out)
    assert (done.status, report["rows"], len(report["faults"])) == (1, 72, 72)
    assert [fault["where"][0] for fault in report["faults"]][-2:] == ["line 92", "line 97"]
    assert list(report["places"].values()) == ["lines 12-81, 92, 97"]
    (tmp_path / "b.csv").write_text("text,label\nx,a\ny,b\nz\n")
    single = json.loads(ostinato("train", "b.csv", "--json").out)
    assert (single["rows"], single["faults"][0]["where"]) == (1, ["line 4", "column 'label'"])


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        (
            "v.csv",
            "text,label\n" + "".join(f"row {n},{'Good' if n == 3 else ['good', 'bad'][n % 2]}\n" for n in range(30)),
            ["v.csv: 30 rows for classification (30 validation)", "v.csv has 3 labels", "differ only in case"],
        ),
        ("v.csv", "text,value,id\n" + "".join(f"row {n},{n},1\n" for n in range(30)), ["for regression", "'id'"]),
        ("v.txt", "once upon a time\n" * 1000, ["v.txt: plain text for generation, 17,000 characters"]),
    ],
)
def test_a_validation_file_beside_an_uploaded_one_is_reported(
    queue: Service, ostinato: Run, tmp_path: Path, name: str, content: str, parts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    done = ostinato("train", "file-0123456789abcdef01234567", "--validation-file", name, "--no-wait")
    assert done.status == 0, done.err
    before = done.out[: done.out.index("uploaded")]
    assert [part for part in parts if part not in before] == [], before


def test_numbers_are_refused_for_a_linear_model_before_the_upload(
    queue: Service, ostinato: Run, tmp_path: Path
) -> None:
    lines = [json.dumps({"features": [[n], [n + 1]], "label": "up" if n % 2 else "down"}) for n in range(40)]
    (tmp_path / "numbers.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "book.txt").write_text("once upon a time\n" * 400)
    for name, kind in (("numbers.jsonl", "numbers"), ("book.txt", "text to continue")):
        done = ostinato("train", name, "--model", "linear", "--no-wait")
        assert done.status == 1 and not queue.requests
        assert f"linear requires texts with labels or values, but this data is {kind}; nothing was up" in done.err


def test_the_error_for_a_complete_export_names_no_option(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    tasks = [{"id": n, "data": {"text": f"row {n}"}, "annotations": []} for n in range(9)]
    (tmp_path / "ls.json").write_text(json.dumps(tasks))
    done = ostinato("train", "ls.json", "--model", "gru")
    assert done.err.endswith("export the project as JSON-MIN or CSV instead; nothing was uploaded\n")


def test_a_share_of_bad_rows_may_be_dropped(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(reviews(bad=3))
    done = ostinato("train", "reviews.csv", "--no-wait", "--skip-bad-rows", "0.14")
    assert done.status == 0, done.err
    assert "warning: 3 rows that cannot be used are left out" in done.out
    assert queue.sent("POST /v1/fine_tuning/jobs")[0].json["training"] == {"skip_bad_rows": 0.14}


def test_a_missing_column_is_named_by_its_option_once(queue: Service, ostinato: Run) -> None:
    shutil.copy(CASES / "c02_sms_export_cp1252.csv", "sms.csv")
    done = ostinato("train", "sms.csv")
    assert done.err.count("--text-column") == 1 and "columns." not in done.err + done.out
    assert "is read as cp1252" in done.out and "set --encoding to" in done.out
    done = ostinato("train", "sms.csv", "--no-wait", "--text-column", "v2", "--label-column", "v1")
    assert done.status == 0, done.err


def test_oddities_are_warned_about_before_the_upload(queue: Service, ostinato: Run) -> None:
    shutil.copy(CASES / "c05_look_alike_labels.csv", "odd.csv")
    lines = ostinato("train", "odd.csv", "--no-wait").out.splitlines()
    before = lines[: lines.index("uploaded odd.csv as file-1")]
    assert "has 6 labels with these row counts" in before[1]
    assert sum(line.startswith("warning: ") for line in before) == 4


def test_with_json_warnings_are_on_standard_error(queue: Service, ostinato: Run) -> None:
    shutil.copy(CASES / "c05_look_alike_labels.csv", "odd.csv")
    done = ostinato("train", "odd.csv", "--no-wait", "--json")
    assert done.out.startswith("{") and done.err.count("warning: ") == 4


def test_plain_text_is_counted_in_characters(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "play.txt").write_text("To be or not to be\n" * 20)
    done = ostinato("train", "play.txt", "--no-wait")
    assert done.out.splitlines()[0] == "play.txt: plain text for generation, 380 characters"


def test_an_uploaded_file_can_be_named_by_its_id(queue: Service, ostinato: Run) -> None:
    done = ostinato("train", "file-0123456789abcdef01234567", "--no-wait", "--validation-file", "file-2")
    assert done.status == 0, done.err
    assert not queue.sent("POST /v1/files")
    sent = queue.sent("POST /v1/fine_tuning/jobs")[0].json
    assert (sent["training_file"], sent["validation_file"]) == ("file-0123456789abcdef01234567", "file-2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("reviews.csv", "--validation-file", "file-2"),
        ("file-2", "--validation-file", "reviews.csv"),
        ("file-2", "--validation-file", "reviews.csv", "--task", "classification"),
    ],
)
def test_a_local_file_beside_an_uploaded_one_is_checked(
    queue: Service, ostinato: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "reviews.csv").write_text(reviews(bad=3))
    done = ostinato("train", *arguments, "--no-wait")
    assert done.status == 1 and not queue.requests
    assert "reviews.csv, line 22, column 'label'" in done.err and "; nothing was uploaded" in done.err
    skipping = ostinato("train", *arguments, "--no-wait", "--skip-bad-rows", "0.01")  # of both files
    assert skipping.status == 0, skipping.err
    (tmp_path / "reviews.csv").write_text(reviews(bad=0))
    done = ostinato("train", *arguments, "--no-wait")
    assert done.status == 0, done.err
    if arguments[0] == "reviews.csv":
        assert "reviews.csv: 20 rows for classification (20 train)" in done.out and "too few" not in done.out


def test_an_encoding_can_be_named(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(reviews(bad=0).replace("text 1,", "schön,").encode("cp1252"))
    done = ostinato("train", "reviews.csv", "--no-wait", "--encoding", "cp1252")
    assert done.status == 0 and queue.sent("POST /v1/fine_tuning/jobs")[0].json["training"] == {"encoding": "cp1252"}
    assert "no-such" in ostinato("train", "reviews.csv", "--encoding", "no-such").err


@pytest.mark.parametrize("command", ["train", "upload"])
def test_a_pipe_is_read_once(queue: Service, ostinato: Run, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(reviews(bad=0),))
    writer.start()
    arguments = ("train", "pipe", "--no-wait") if command == "train" else ("files", "upload", "pipe")
    done = ostinato(*arguments)
    writer.join()
    assert done.status == 0, done.err
    assert reviews(bad=0).encode() in queue.sent("POST /v1/files")[0].body


def test_a_folder_is_refused(queue: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for command in (("train",), ("files", "upload")):
        assert "cannot read folder: Is a directory" in ostinato(*command, "folder").err


@pytest.mark.parametrize(
    ("rows", "options", "notice"),
    [
        (
            20,
            (),
            "warning: validation on 2 rows: too few for meaningful metrics; 2 validation rows are too few to choose a "
            "checkpoint",
        ),
        (20, ("--patience", "3"), "warning: validation on 2 rows: too few for meaningful metrics\n"),
        (
            300,
            (),
            "\n30 validation rows are too few to choose a checkpoint, so the weights of the last step are kept",
        ),
        (300, ("--patience", "3"), ""),
        (600, (), ""),
        (600, ("--validation-split", "0.01"), "validation on 6 rows"),
    ],
)
def test_few_validation_rows_are_told_before_the_upload(
    rows: int, options: tuple[str, ...], notice: str, queue: Service, ostinato: Run, tmp_path: Path
) -> None:
    table = "".join(f"text {n},{'yes' if n % 2 else 'no'}\n" for n in range(rows))
    (tmp_path / "reviews.csv").write_text("text,label\n" + table)
    done = ostinato("train", "reviews.csv", "--no-wait", *options)
    assert done.status == 0, done.err
    before, _, _ = done.out.partition("uploaded")
    assert notice in before
    assert notice or not any(word in before for word in ("too few", "measurement"))


def test_the_error_says_where_the_file_can_no_longer_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "x,a\ny,b\n" * 9 + 'z\nx,b\n"x,a\ny,b\n', encoding="utf-8")
    error = check_files(path).error
    assert error is not None and "(the file cannot be read after line 22" in refusal(error).message
