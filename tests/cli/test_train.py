"""`ostinato train` and `jobs follow`: the requests, the printed lines and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import follow
from app.cli.options import HELP, flat_fields
from app.runs.event_file import EventFile
from app.training.events import Events
from app.training.loop.figures import validation_figures
from app.wire.trainer import Metrics
from app.wire.training_options import TrainingOptions
from app.wire.training_rules import WORDS
from app.worker.transcript import to_event
from tests.cli.conftest import Run
from tests.cli.service import Service, listed

JOB: dict[str, Any] = {
    "id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1, "status": "running", "phase": "training",
    "model": "lstm", "fine_tuned_model": None, "training_file": "file-1", "progress": 0.5, "error": None,
}  # fmt: skip
DONE = {**JOB, "status": "succeeded", "progress": 1.0, "fine_tuned_model": "reviews:1"}
VERSION = {
    "model": "reviews", "version": 1, "task": "classification",
    "metrics": {"test": {"accuracy": 0.8125, "macro_f1": 0.8}},
}  # fmt: skip

ROWS = (("good", "yes"), ("bad", "no"))


def event(number: int, message: str = "", **data: Any) -> dict[str, Any]:
    kind = "metrics" if data else "message"
    return {"id": f"ftevent-{number}", "level": "info", "message": message, "type": kind, "data": data}


@pytest.fixture
def training(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(follow, "POLL", 0.0)
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1", "object": "file"}),
        "POST /v1/fine_tuning/jobs": (200, JOB),
        "GET /v1/fine_tuning/jobs/ftjob-1": [(200, JOB), (200, DONE)],
        "GET /v1/fine_tuning/jobs/ftjob-1/events": [
            listed(event(1, "reading reviews.csv")),
            listed(
                event(3, step=20, total_steps=20, train_loss=0.3, valid_loss=0.4),
                event(2, step=10, total_steps=20, train_loss=0.5),
                event(1, "reading reviews.csv"),
            ),
        ],
        "GET /v1/registry/models/reviews/versions/1": (200, VERSION),
    }
    return service


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{word} {n},{label}\n" for n in range(5) for word, label in ROWS))
    return str(path)


def test_train_uploads_the_file_creates_a_job_and_follows_it(training: Service, ostinato: Run, data: str) -> None:
    done = ostinato("train", data, "--model", "lstm", "--name", "reviews", "--epochs", "2", "--label-column", "label")
    assert done.status == 0, done.err
    assert b'name="file"; filename="reviews.csv"' in training.sent("POST /v1/files")[0].body
    (sent,) = training.sent("POST /v1/fine_tuning/jobs")
    assert sent.json == {
        "model": "lstm",
        "training_file": "file-1",
        "columns": {"label": "label"},
        "training": {"epochs": 2.0},
        "publish": {"name": "reviews"},
    }
    assert sent.headers["idempotency-key"]
    assert done.out.splitlines() == [
        "reviews.csv: 10 rows for classification (8 train, 2 validation); 5 to 6 characters, median 5",
        "reviews.csv has 2 labels with these row counts: 'yes' 5, 'no' 5",
        "warning: validation on 2 rows: too few for meaningful metrics; 2 validation rows are too few to choose a "
        "checkpoint, so the weights of the last step are kept; with 50 or more rows, the weights with the best "
        "evaluation would be kept",
        "uploaded reviews.csv as file-1",
        "job ftjob-1",
        "reading reviews.csv",
        "step 20/20 · loss 0.300 · validation loss 0.400",
        "reviews:1 is ready: test accuracy 0.812",
        'try it: ostinato classify --model reviews:1 "some text"',
    ]


def test_every_training_option_is_an_option(training: Service, ostinato: Run, data: str) -> None:
    options = ["--max-steps", "5", "--bidirectional", "--class-weights", '{"yes": 2}', "--tokenizer", "char",
               "--no-deterministic"]  # fmt: skip
    assert ostinato("train", data, "--model", "gru", "--no-wait", *options).status == 0
    assert training.sent("POST /v1/fine_tuning/jobs")[0].json["training"] == {
        "max_steps": 5,
        "bidirectional": True,
        "class_weights": {"yes": 2},
        "tokenizer": "char",
        "deterministic": False,
    }


def test_the_options_of_an_adapter_are_one_object(training: Service, ostinato: Run, data: str) -> None:
    training.routes["GET /v1/models/minilm"] = (200, {"id": "minilm", "name": "minilm", "version": 1})
    options = ["--lora-r", "4", "--lora-target-modules", "qkv,out"]
    assert ostinato("train", data, "--model", "minilm", "--no-wait", *options).status == 0
    lora = {"r": 4, "target_modules": ["qkv", "out"]}
    assert training.sent("POST /v1/fine_tuning/jobs")[0].json["training"] == {"lora": lora}
    assert "--lora-r must be at least 1" in ostinato("train", data, "--model", "minilm", "--lora-r", "0").err
    done = ostinato("train", data, "--model", "gru", "--lora-r", "4")
    assert done.status == 1 and "--lora-r applies only to fine-tuning" in done.err


def test_no_wait_prints_how_to_follow(training: Service, ostinato: Run, data: str) -> None:
    done = ostinato("train", data, "--no-wait")
    assert done.out.splitlines()[-1] == "ftjob-1 is queued; follow it with: ostinato jobs follow ftjob-1"
    assert not training.sent("GET /v1/fine_tuning/jobs/ftjob-1")
    training.routes["POST /v1/fine_tuning/jobs"] = (200, JOB | {"status": "queued", "jobs_before": 1})
    last = ostinato("train", data, "--no-wait").out.splitlines()[-1]
    assert last.startswith("ftjob-1 is queued; 1 job is ahead of it; follow it with")


def test_json_is_the_finished_job_alone(training: Service, ostinato: Run, data: str) -> None:
    done = ostinato("train", data, "--json")
    assert json.loads(done.out) == DONE


def test_a_failed_job_fails_the_command(training: Service, ostinato: Run, data: str) -> None:
    failed = {**JOB, "status": "failed", "error": {"code": "invalid_training_file", "message": "line 3: no label"}}
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, failed)
    done = ostinato("train", data)
    assert (done.status, done.err) == (1, "ftjob-1 failed: line 3: no label\n")


def test_follow_shows_each_event_once_and_can_print_json(training: Service, ostinato: Run) -> None:
    done = ostinato("jobs", "follow", "ftjob-1", "--json")
    assert done.status == 0
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["ftevent-1", "ftevent-2", "ftevent-3"]


def test_a_waiting_job_says_how_many_are_before_it(training: Service, ostinato: Run) -> None:
    waiting = [(200, {**JOB, "status": "queued", "jobs_before": before}) for before in (2, 2, 1, 0)]
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = [*waiting, (200, DONE)]
    lines = ostinato("jobs", "follow", "ftjob-1").out.splitlines()
    assert [line for line in lines if line.startswith("waiting")] == [
        "waiting: 2 jobs are ahead of this one",
        "waiting: 1 job is ahead of this one",
    ]


def test_an_unreachable_service_is_retried(training: Service, ostinato: Run) -> None:
    away = [(status, {"error": "restarting"}) for status in (500, 502, 503, 504)]
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = [(200, JOB), *away, (200, DONE)]
    assert ostinato("jobs", "follow", "ftjob-1").status == 0
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = [(200, JOB), (404, {"error": "gone"}), (200, DONE)]
    assert ostinato("jobs", "follow", "ftjob-1").status == 1


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("lstmm", "did you mean 'lstm'?"),
        ("reviewz:1", "did you mean 'reviews:1'?"),
        ("zzz", "the architectures are linear, rnn, lstm, gru and transformer"),
    ],
)
def test_an_unknown_model_is_refused_before_the_upload(
    training: Service, ostinato: Run, data: str, model: str, hint: str
) -> None:
    missing = {"error": {"message": f"model not found: {model}; GET /v1/models lists the models", "param": "model"}}
    training.routes |= {
        f"GET /v1/models/{model}": (404, missing),
        "GET /v1/models": (200, {"data": [{"id": "reviews"}, {"id": "reviews:1"}]}),
    }
    done = ostinato("train", data, "--model", model)
    assert done.status == 1 and hint in done.err and "othing was uploaded" in done.err
    assert "`ostinato models` lists the models" in done.err
    assert not training.sent("POST /v1/files")


def test_a_known_version_is_looked_up_before_the_upload(training: Service, ostinato: Run, data: str) -> None:
    training.routes["GET /v1/models/reviews:1"] = (200, {"id": "reviews:1"})
    assert ostinato("train", data, "--model", "reviews:1").status == 0
    paths = [request.path for request in training.requests]
    assert paths.index("/v1/models/reviews:1") < paths.index("/v1/files")


def test_a_missing_file_is_reported_in_one_line(service: Service, ostinato: Run) -> None:
    done = ostinato("train", "nowhere.csv")
    assert (done.status, done.err) == (1, "ostinato: cannot read nowhere.csv: No such file or directory\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--name", "n" * 65], "--name"),
        (["--learning-rate", "0.1", "--model", "lstm", "--heads", "2"], "heads"),
        (["--validation-file", "nowhere.csv"], "cannot read nowhere.csv"),
    ],
    ids=lambda part: str(part[0]) if isinstance(part, list) else "",
)
def test_nothing_is_uploaded_for_a_request_that_would_be_refused(
    training: Service, ostinato: Run, data: str, options: list[str], message: str
) -> None:
    done = ostinato("train", data, *options)
    assert done.status == 1 and done.err.startswith("ostinato: ") and message in done.err and done.err.count("\n") == 1
    assert not training.requests


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("library@champion", "; for example: --name library-champion"), ("My model!", "; for example: --name my-model"),
        ("Ünïcode Name", "; for example: --name unicode-name"), ("a:b", "; for example: --name a-b"), ("图书馆", ""),
    ],
)  # fmt: skip
def test_a_name_that_no_model_can_have_is_refused_with_a_proposal(
    training: Service, ostinato: Run, data: str, name: str, proposal: str
) -> None:
    done = ostinato("train", data, "--name", name)
    rule = "use 1 to 64 characters of a-z 0-9 . _ -, beginning with a letter or a digit"
    assert (done.status, done.err) == (1, f"ostinato: --name {name!a} is not a valid name: {rule}{proposal}\n")
    assert not training.requests


def test_the_live_view_shows_progress_loss_and_time_left(training: Service, ostinato: Run) -> None:
    from rich.console import Console

    from app.client import Client

    with Client(training.url) as client:
        follower = follow.Follower(client, "ftjob-1")
        for _ in range(2):
            list(follower.new_events())
    follower.job = {**JOB, "estimated_finish": 4_000_000_000}
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(follow._progress_bar(follower, console))
        shown = console.export_text()
    for part in ("training", "50%", "loss 0.300", "█", "left"):
        assert part in shown


def test_every_training_option_has_a_help_text() -> None:
    assert not [name for name, _ in flat_fields(TrainingOptions) if not HELP.get(name)]
    for field, words in WORDS.items():
        assert all(word in HELP[field] for word in words), field


def test_the_list_shows_the_version_or_the_name_to_be_published(service: Service, ostinato: Run) -> None:
    jobs = [DONE, {**JOB, "id": "ftjob-2", "publish": {"name": "reviews-next"}}]
    service.routes |= {"GET /v1/fine_tuning/jobs": listed(*jobs), "GET /v1/evaluations": listed()}
    lines = [line.split() for line in ostinato("jobs").out.splitlines()]
    assert ("ftjob-1" in lines[1], "reviews:1" in lines[1]) == (True, True)
    assert ("ftjob-2" in lines[2], "reviews-next" in lines[2]) == (True, True)


def test_a_rate_on_a_few_rows_is_not_shown() -> None:
    data = {"step": 2, "total_steps": 30, "valid_loss": 0.687, "macro_f1": 1.0, "valid_rows": 2}
    assert follow.render_metrics(data) == "step 2/30 · validation loss 0.687 · 2 rows: too few for meaningful metrics"
    shown = follow.render_metrics(data | {"valid_rows": 20})
    assert shown == "step 2/30 · validation loss 0.687 · macro F1 1.000"
    older = follow.render_metrics(data | {"valid_rows": 4.0})  # as older releases stored it
    assert older == "step 2/30 · validation loss 0.687 · 4 rows: too few for meaningful metrics"


def test_a_regression_that_is_worse_than_the_mean_is_described() -> None:
    data = {"step": 2, "valid_loss": 0.5, "valid_rows": 40, "r2": -0.25}
    words = "step 2 · validation loss 0.500 · r2 -0.250 (worse than always predicting the mean)"
    assert follow.render_metrics(data) == words
    assert follow.render_metrics(data | {"r2": 0.25}) == "step 2 · validation loss 0.500 · r2 0.250"


def test_a_rate_on_a_few_rows_is_not_shown_for_an_event_of_the_worker(tmp_path: Path) -> None:
    """The test writes the event to the trainer's event file, and converts it as the worker does."""
    figures = validation_figures({"loss": 0.5, "rows": 4, "accuracy": 1.0, "macro_f1": 1.0}, full=True)
    with (tmp_path / "events.jsonl").open("wb") as file:
        Events(file.fileno()).emit(Metrics(2, 20, {"train_loss": 0.25, **figures}, 0.1))
    (read,) = EventFile(tmp_path / "events.jsonl").read()
    translated = to_event(read)
    assert translated is not None and translated.data is not None
    data = json.loads(json.dumps(translated.data))
    assert data["valid_rows"] == 4 and isinstance(data["valid_rows"], int)
    expected = "step 2/20 · loss 0.250 · validation loss 0.500 · 4 rows: too few for meaningful metrics"
    assert follow.render_metrics(data) == expected


def waiting(status: str) -> tuple[int, Any]:
    return 200, {**JOB, "status": status}


def test_train_leaves_a_job_that_waits_for_the_disk(training: Service, ostinato: Run, data: str) -> None:
    """If the command waited, a script would hang for as long as the disk is full."""
    notice = "The disk of the worker's machine is full: the job waits and continues when the problem is solved"
    full = {**event(2, notice), "level": "warn", "data": {"waits_for": "disk"}}
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = [waiting("running"), waiting("queued"), (200, DONE)]
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1/events"] = [
        listed(event(1, "started")),
        listed(full, event(1, "started")),
    ]
    done = ostinato("train", data)
    assert done.status == 1 and done.out.endswith(f"started\nwarning: {notice}\n")
    assert done.err == "the job continues when there is free disk space; follow it with: ostinato jobs follow ftjob-1\n"


def test_a_waiting_job_can_be_followed_to_its_end(training: Service, ostinato: Run) -> None:
    full = {**event(1, "the disk is full"), "level": "warn", "data": {"waits_for": "disk"}}
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = [waiting("queued"), waiting("running"), (200, DONE)]
    training.routes["GET /v1/fine_tuning/jobs/ftjob-1/events"] = listed(full)
    done = ostinato("jobs", "follow", "ftjob-1")
    assert done.status == 0 and "reviews:1 is ready" in done.out
