"""`ostinato classify` and `generate`: the requests and the printed lines."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Events, Service, listed


def classified(request: Any) -> tuple[int, Any]:
    data = [
        {
            "index": index, "label": "good" if "fine" in str(text) else "bad", "probs": [0.9, 0.1], "num_classes": 2,
            "scores": [{"label": "good", "score": 0.9}, {"label": "bad", "score": 0.1}],
        }
        for index, text in enumerate(request.json["input"])
    ]  # fmt: skip
    count = len(data)
    return 200, {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": count, "total_tokens": count}}


@pytest.fixture
def reading(service: Service) -> Service:
    service.routes["POST /v1/classify"] = classified
    return service


def test_texts_get_their_labels(reading: Service, ostinato: Run) -> None:
    done = ostinato("classify", "--model", "m", "a fine day", "a dull day")
    assert done.out.splitlines() == ["LABEL  SCORE  TEXT", "good   0.900  a fine day", "bad    0.100  a dull day"]
    assert reading.sent("POST /v1/classify")[0].json == {"model": "m", "input": ["a fine day", "a dull day"]}


def test_many_lines_are_sent_in_several_requests(
    reading: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(f"text {i}" for i in range(300)) + "\n\n"))
    done = ostinato("classify", "-m", "m", "--json")
    reply = json.loads(done.out)
    assert [len(r.json["input"]) for r in reading.sent("POST /v1/classify")] == [256, 44]
    assert [item["index"] for item in reply["data"]] == list(range(300))
    assert reply["usage"]["total_tokens"] == 300


def test_only_a_newline_ends_a_text(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    texts = ["one\u2028text", "page\x0cbreak", "next\x85line"]
    (tmp_path / "texts.txt").write_bytes("\r\n".join([*texts, ""]).encode())
    assert ostinato("classify", "-m", "m", "--file", "texts.txt").status == 0
    assert reading.sent("POST /v1/classify")[0].json["input"] == texts


def test_a_pair_is_one_input(reading: Service, ostinato: Run) -> None:
    ostinato("classify", "-m", "m", "--pair", "premise", "claim")
    assert reading.sent("POST /v1/classify")[0].json["input"] == [{"text": "premise", "text_pair": "claim"}]
    assert "requires two texts" in ostinato("classify", "-m", "m", "--pair", "one").err


def test_values_and_several_labels_are_shown(service: Service, ostinato: Run) -> None:
    items = [
        {"index": 0, "label": None, "probs": [], "num_classes": 0, "value": 1.25},
        {"index": 1, "label": "a", "labels": ["a", "b"], "scores": [{"label": "a", "score": 0.9},
                                                                     {"label": "b", "score": 0.6}]},
    ]  # fmt: skip
    service.routes["POST /v1/classify"] = (200, {"data": items, "usage": {}})
    service.routes["POST /v1/classify"] = (200, {"data": items[:1], "usage": {}})
    assert ostinato("classify", "-m", "m", "x").out.splitlines() == ["VALUE   TEXT", "1.2500  x"]
    items[1]["index"] = 0
    service.routes["POST /v1/classify"] = (200, {"data": items[1:], "usage": {}})
    assert ostinato("classify", "-m", "m", "y").out.splitlines() == [
        "LABELS AND SCORES  TEXT", "a 0.900, b 0.600   y",
    ]  # fmt: skip
    items[1]["labels"], items[1]["label"] = [], None  # no label reaches the threshold, but one is requested
    assert ostinato("classify", "-m", "m", "y").out.splitlines()[1].split() == ["-", "y"]
    items[1]["scores"] = items[1]["scores"][:1]
    assert ostinato("classify", "-m", "m", "y", "--top-k", "1").out.splitlines()[1].split() == ["a", "0.900", "y"]


def test_labels_of_several_words_are_kept_apart(service: Service, ostinato: Run) -> None:
    scores = [{"label": "loan renewal", "score": 0.881}, {"label": "lost item", "score": 0.079}]
    item = {"index": 0, "label": "loan renewal", "scores": scores, "set": ["loan renewal", "lost item"]}
    service.routes["POST /v1/classify"] = lambda request: (200, {"data": [item], "usage": {}})
    done = ostinato("classify", "-m", "m", "x", "--top-k", "2", "--prediction-set", "0.9")
    assert done.out.splitlines()[1].split("  ") == [
        "loan renewal 0.881, lost item 0.079",
        "loan renewal, lost item",
        "x",
    ]
    done = ostinato("classify", "-m", "m", "x", "--top-k", "2", "--json")
    assert json.loads(done.out)["data"] == [item]


def test_a_model_must_be_named(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ostinato("classify", "x")
    assert (done.status, done.err) == (
        1,
        "ostinato: choose a model with --model NAME (`ostinato models` lists the models)\n",
    )
    service.routes["POST /v1/classify"] = classified
    monkeypatch.setenv("OSTINATO_DEFAULT_MODEL", "default")
    assert ostinato("classify", "x").status == 0


def chunk(text: str) -> dict[str, Any]:
    return {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": None}], "usage": None}


def test_generated_text_is_printed_unchanged(service: Service, ostinato: Run) -> None:
    service.routes["POST /v1/completions"] = (200, Events([chunk(" upon"), chunk(" a\ntime"), {"choices": []}]))
    done = ostinato("generate", "-m", "m", "Once", "--max-tokens", "9", "--stop", "x", "--stop", "y", "--echo")
    assert done.out == "Once upon a\ntime\n"
    assert service.requests[0].json == {
        "model": "m", "prompt": "Once", "max_tokens": 9, "stop": ["x", "y"], "stream": True,
    }  # fmt: skip


def test_an_error_within_a_stream_is_reported(service: Service, ostinato: Run) -> None:
    broken = Events([chunk("and"), {"error": {"message": "the engine died"}}])
    service.routes["POST /v1/completions"] = (200, broken)
    done = ostinato("generate", "-m", "m", "Once")
    assert (done.status, done.out, done.err) == (1, "and", "ostinato: the engine died\n")


def test_json_is_the_whole_reply(service: Service, ostinato: Run) -> None:
    service.routes["POST /v1/completions"] = (200, chunk("x"))
    assert json.loads(ostinato("generate", "-m", "m", "Once", "--json").out) == chunk("x")
    assert "stream" not in service.requests[0].json


@pytest.mark.parametrize("error", [{"message": "model 'm' does not exist", "code": "model_not_found"}, "no such model"])
def test_errors_of_every_dialect_are_one_line(service: Service, ostinato: Run, error: Any) -> None:
    service.routes["POST /v1/classify"] = (404, {"error": error})
    done = ostinato("classify", "-m", "m", "x")
    assert done.status == 1
    assert done.err == f"ostinato: {error['message'] if isinstance(error, dict) else error}\n"


@pytest.mark.parametrize(("name", "hint"), [("moood", "; did you mean 'mood'?"), ("other", "")])
def test_the_most_similar_model_is_suggested(service: Service, ostinato: Run, name: str, hint: str) -> None:
    message = f"model not found: '{name}': no model has this name; GET /v1/models lists the models"
    service.routes["POST /v1/classify"] = (404, {"error": {"message": message, "code": "model_not_found"}})
    service.routes["GET /v1/models"] = listed({"id": "mood"}, {"id": "mood:1"}, {"id": "waves"})
    done = ostinato("classify", "-m", name, "x")
    assert (
        done.err
        == f"ostinato: model not found: '{name}': no model has this name; `ostinato models` lists the models{hint}\n"
    )
    del service.routes["GET /v1/models"]
    assert "did you mean" not in ostinato("classify", "-m", name, "x").err


def test_a_rejected_key_names_the_variable(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes["POST /v1/classify"] = (401, {"error": {"message": "a key is needed"}})
    monkeypatch.setenv("OSTINATO_API_KEY", "12345678")
    assert "OSTINATO_API_KEY" in ostinato("classify", "-m", "m", "x").err
    assert service.requests[0].headers["authorization"] == "Bearer 12345678"


def test_an_unreachable_service_is_reported(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_URL", "http://127.0.0.1:9")
    done = ostinato("models")
    assert done.status == 1
    assert done.err.startswith("ostinato: cannot reach http://127.0.0.1:9")
    assert "ostinato up" in done.err and done.err.count("\n") == 1


def test_a_text_file_is_decoded_as_in_a_training(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("schön und gut\n".encode("latin-1"))
    done = ostinato("classify", "-m", "m", "--file", "old.txt")
    assert done.status == 0 and reading.sent("POST /v1/classify")[-1].json["input"] == ["schön und gut"]
    assert done.err.startswith("warning: old.txt is not valid UTF-8; it is read as cp1252") and "--encoding" in done.err
    (tmp_path / "old.txt").write_bytes("хороший фильм\n".encode("cp1251"))
    done = ostinato("classify", "-m", "m", "--file", "old.txt")
    assert done.status == 1 and "--encoding" in done.err and "cp1251" in done.err
    assert ostinato("classify", "-m", "m", "--file", "old.txt", "--encoding", "cp1251").status == 0
    assert reading.sent("POST /v1/classify")[-1].json["input"] == ["хороший фильм"]


def test_a_text_file_may_be_a_pipe_or_gzipped(reading: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a fine day\n"))
    assert ostinato("classify", "-m", "m", "--file", "a.txt.gz").status == 0
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"a fine day\n",))
    writer.start()
    assert ostinato("classify", "-m", "m", "--file", "pipe").status == 0
    writer.join()
    assert [request.json["input"] for request in reading.sent("POST /v1/classify")] == [["a fine day"]] * 2
    (tmp_path / "empty.txt").write_text("")
    assert "there is no text to classify" in ostinato("classify", "-m", "m", "--file", "empty.txt").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--encoding", "cp1251"), "--encoding cp1251: requires a --file"),
        (("--file", "a.txt", "--encoding", "cp9999"), "--encoding cp9999: must be a text encoding"),
        (("x", "--prediction-set", "90"), "--prediction-set 90: must be a number between 0 and 1, such as 0.9 instead"),
        (("x", "--max-risk", "0"), "--max-risk 0: must be a number between 0 and 1\n"),
        (("x", "--abstain-below", "1.5"), "such as 0.015 instead of 1.5"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_option(
    reading: Service, ostinato: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = ostinato("classify", "-m", "m", *arguments)
    assert done.status == 1 and message in done.err and not reading.sent("POST /v1/classify")


def test_a_blank_text_stays_without_a_prediction(reading: Service, ostinato: Run) -> None:
    done = ostinato("classify", "-m", "m", "a fine day", " ", "rain")
    assert [line.split()[0] for line in done.out.splitlines()[1::2]] == ["good", "bad"]
    assert "1 row without a text has no prediction" in done.err
    assert ostinato("classify", "-m", "m", "").err == "ostinato: there is no text to classify\n"


def test_the_index_of_an_item_counts_texts_that_are_skipped(reading: Service, ostinato: Run) -> None:
    done = ostinato("classify", "-m", "m", "--json", "", "a fine day", " ", "rain")
    reply = json.loads(done.out)
    assert [(item["index"], item["label"]) for item in reply["data"]] == [(1, "good"), (3, "bad")]
    assert reply["usage"]["total_tokens"] == 2 and "2 rows without a text" in done.err


def test_a_text_that_is_too_long_is_refused_in_own_words(service: Service, ostinato: Run) -> None:
    advice = "shorten it, or send truncate_prompt_tokens (-1 truncates to that length)"
    error = {"message": f"input has 200 tokens, but m:1 accepts at most 128; {advice}", "param": "input"}
    service.routes |= {"POST /v1/classify": (400, {"error": error}), "POST /v1/completions": (200, {})}
    assert ostinato("classify", "-m", "m", "a long text").err == (
        "ostinato: text 1 has 200 tokens, but m:1 accepts at most 128; shorten it, or use --truncate, which shortens "
        "it to that length\n"
    )
    ostinato("generate", "-m", "m", "x", "--json", "--truncate")
    assert service.requests[-1].json["truncate_prompt_tokens"] == -1


def decided(request: Any) -> tuple[int, Any]:
    """A reply that has no label for each text that contains "odd"."""
    data = [
        {
            "index": index, "label": None if "odd" in text else "good", "scores": [{"label": "good", "score": 0.5}],
            "set": ["good", "bad"], "abstained": "odd" in text,
        }
        for index, text in enumerate(request.json["input"])
    ]  # fmt: skip
    return 200, {"object": "list", "model": "m", "data": data, "usage": {}}


def test_sets_and_abstentions_are_shown_and_saved(service: Service, ostinato: Run, tmp_path: Path) -> None:
    service.routes["POST /v1/classify"] = decided
    options = ("--prediction-set", "0.9", "--max-risk", "0.05", "--uncalibrated")
    done = ostinato("classify", "-m", "m", *options, "odd", "fine")
    assert done.out.splitlines() == [
        "LABEL        SCORE  SET        TEXT",
        "(no answer)  0.500  good, bad  odd",
        "good         0.500  good, bad  fine",
    ]
    sent = {"prediction_set": 0.9, "max_risk": 0.05, "calibrated": False}
    assert service.requests[0].json == {"model": "m", "input": ["odd", "fine"]} | sent
    ostinato("classify", "-m", "m", "--abstain-below", "0.5", "odd", "--output", str(tmp_path / "out.jsonl"))
    assert service.requests[1].json["abstain_below"] == 0.5
    saved = json.loads((tmp_path / "out.jsonl").read_text())
    assert saved == {"text": "odd", "label": None, "score": 0.5, "set": ["good", "bad"], "abstained": True}


def test_the_rows_without_a_label_are_counted(service: Service, ostinato: Run, tmp_path: Path) -> None:
    service.routes["POST /v1/classify"] = decided
    service.routes["GET /v1/models/m"] = (200, {"id": "m", "version": 1, "input": "tokens"})
    (tmp_path / "in.csv").write_text("text\nfine\nodd\nvery odd\n")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--max-risk", "0.2", "--output", "out.csv")
    missing = "2 of 3 rows have no label, because the highest score is too low for --max-risk 0.2"
    assert done.out.splitlines() == ["saved out.csv (3 rows)", missing]
    options = ("--abstain-below", "0.6", "--max-risk", "0.2")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", *options)
    assert done.err.splitlines()[-1].endswith("too low for --abstain-below 0.6 and --max-risk 0.2")
    done = ostinato("classify", "-m", "m", "--file", "in.csv", "--max-risk", "0.2", "--output", "out.csv", "--json")
    assert json.loads(done.out) == {"path": "out.csv", "rows": 3, "without_label": 2}


def test_an_interval_is_shown(service: Service, ostinato: Run) -> None:
    item = {"index": 0, "label": None, "value": 2.5, "scores": [], "interval": [1.0, 4.0]}
    service.routes["POST /v1/classify"] = lambda request: (200, {"data": [item], "usage": {}})
    done = ostinato("classify", "-m", "m", "--prediction-set", "0.9", "a")
    assert done.out.splitlines() == ["VALUE   INTERVAL          TEXT", "2.5000  1.0000 to 4.0000  a"]


def test_a_version_that_reads_numbers_is_named_as_the_reason(service: Service, ostinato: Run) -> None:
    message = "input: meter:1 expects numbers in the form [[[number]]], with 2 numbers per step"
    service.routes["POST /v1/classify"] = (400, {"error": {"message": message}})
    done = ostinato("classify", "-m", "meter", "a fine day")
    assert done.status == 1
    assert "this command reads only texts; send the numbers to POST /v1/classify" in done.err


def test_a_version_that_reads_numbers_is_refused_before_the_file_is_read(
    service: Service, ostinato: Run, tmp_path: Path
) -> None:
    service.routes["GET /v1/models/meter"] = (200, {"id": "meter", "version": 1, "input": "features"})
    (tmp_path / "meter.csv").write_text("when,power\n2026-01-01,1.5\n2026-01-02,2.5\n")
    for more in ([], ["--output", "out.csv"]):
        done = ostinato("classify", "-m", "meter", "--file", "meter.csv", *more)
        assert done.status == 1
        message = "meter reads numbers; this command reads only texts; send the numbers to POST /v1/classify"
        assert done.err == f"ostinato: {message}\n"
    assert not service.sent("POST /v1/classify") and not (tmp_path / "out.csv").exists()
