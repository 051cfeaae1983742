"""`ostinato jobs`: lists of jobs, single jobs, and actions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.cli import follow
from tests.cli.conftest import Run
from tests.cli.service import Service, listed

JOB = {"id": "ftjob-1", "status": "running", "phase": "training", "progress": 0.25, "model": "lstm", "created_at": 0,
       "training_file": "file-1", "hyperparameters": {"epochs": 3}}  # fmt: skip
EVALUATION: dict[str, Any] = {
    "id": "evaljob-1", "status": "queued", "phase": "waiting", "created_at": 5, "task": "classification",
    "model": "mood@best", "version": "mood:2", "against_version": None, "file": "file-2", "report": None,
    "result_files": [], "error": None, "finished_at": None, "attempt": 0, "jobs_before": 1,
}  # fmt: skip
MEASURED = EVALUATION | {
    "status": "succeeded", "finished_at": 65, "report": {"metrics": {"rows": 50, "accuracy": 0.6}}, "phase": "ended",
}  # fmt: skip
UNREADABLE = EVALUATION | {
    "status": "failed", "phase": "ended", "finished_at": 65,
    "error": {"code": "invalid_file", "message": "new.csv has no column 'text'", "param": "file"},
}  # fmt: skip


def test_jobs_are_listed_page_by_page(service: Service, ostinato: Run) -> None:
    pages = [(200, {"data": [{**JOB, "id": f"ftjob-{i}"} for i in range(100)], "has_more": True}), listed(JOB)]
    service.routes |= {"GET /v1/fine_tuning/jobs": pages, "GET /v1/evaluations": listed()}
    jobs = json.loads(ostinato("jobs", "list", "--limit", "200", "--json").out)
    assert len(jobs) == 101
    assert "after=ftjob-99" in service.sent("GET /v1/fine_tuning/jobs")[1].query


def test_evaluations_are_listed_among_the_training_jobs_newest_first(service: Service, ostinato: Run) -> None:
    newer, older = JOB | {"id": "ftjob-2", "created_at": 9}, JOB
    service.routes |= {"GET /v1/fine_tuning/jobs": listed(newer, older), "GET /v1/evaluations": listed(EVALUATION)}
    lines = ostinato("jobs").out.splitlines()
    assert [line.split()[0] for line in lines] == ["JOB", "ftjob-2", "evaljob-1", "ftjob-1"]
    assert lines[2].split()[:4] == ["evaljob-1", "queued", "mood@best", "mood:2"]
    assert [job["id"] for job in json.loads(ostinato("jobs", "list", "--limit", "2", "--json").out)] == [
        "ftjob-2",
        "evaljob-1",
    ]


def test_only_settings_that_an_option_sets_are_shown(service: Service, ostinato: Run) -> None:
    settings = {"n_epochs": "auto", "batch_size": 32, "total_steps": 90, "balanced": True, "branch_steps": 0,
                "row_limit": 0, "window": 0, "truncated": 3, "micro_tokens": 16384, "metric": "last", "averaging": 0.9,
                "learning_rate": 0.01}  # fmt: skip
    service.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, JOB | {"hyperparameters": settings})
    [line] = [line for line in ostinato("jobs", "show", "ftjob-1").out.splitlines() if line.startswith("options")]
    assert line.split(maxsplit=1)[1] == "epochs auto, batch size 32, steps 90, learning rate 0.01"


def test_an_evaluation_is_shown_with_its_report_or_its_error(service: Service, ostinato: Run) -> None:
    route = "GET /v1/evaluations/evaljob-1"
    service.routes[route] = (200, EVALUATION)
    shown = ostinato("jobs", "show", "evaljob-1").out
    assert "queued" in shown and "mood:2" in shown
    service.routes[route] = (200, MEASURED)
    assert "mood:2: 50 rows, accuracy 0.600" in ostinato("jobs", "show", "evaljob-1").out
    seen = MEASURED["report"] | {"warnings": ["new.csv is the file that mood:2 was trained on"]}
    service.routes[route] = (200, MEASURED | {"report": seen})
    assert "\nwarning: new.csv is the file that mood:2 was trained on\n" in ostinato("jobs", "show", "evaljob-1").out
    service.routes[route] = (200, UNREADABLE)
    assert "new.csv has no column 'text'" in ostinato("jobs", "show", "evaljob-1").out


def test_an_evaluation_has_no_checkpoints(service: Service, ostinato: Run) -> None:
    done = ostinato("jobs", "checkpoints", "evaljob-1")
    assert done.status == 1 and "evaljob-1 is an evaluation; only training jobs have checkpoints" in done.err


@pytest.mark.parametrize(("ended", "status"), [(MEASURED, 0), (UNREADABLE, 1)])
def test_an_evaluation_is_followed_to_its_report(
    service: Service, ostinato: Run, ended: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "POLL", 0.0)
    service.routes |= {
        "GET /v1/evaluations/evaljob-1": [(200, EVALUATION), (200, ended)],
        "GET /v1/evaluations/evaljob-1/events": listed(),
    }
    done = ostinato("jobs", "follow", "evaljob-1")
    assert done.status == status
    expected = "evaljob-1 failed: new.csv has no column 'text'" if status else "mood:2: 50 rows, accuracy 0.600"
    assert (done.err if status else done.out).splitlines()[-1] == expected


def test_a_trial_ends_with_its_figures_and_names_its_job(service: Service, ostinato: Run) -> None:
    trial = JOB | {"id": "ftjob-2", "model": "gru", "status": "succeeded", "parent_id": "ftjob-1"}
    row = {"id": "ftjob-2", "metrics": {"accuracy": 0.9, "loss": 0.25}}
    service.routes |= {
        "GET /v1/fine_tuning/jobs/ftjob-2": (200, trial | {"fine_tuned_model": None}),
        "GET /v1/fine_tuning/jobs/ftjob-2/events": listed(),
        "GET /v1/fine_tuning/jobs/ftjob-1": (200, JOB | {"trials": [{"id": "ftjob-9", "metrics": {}}, row]}),
    }
    done = ostinato("jobs", "follow", "ftjob-2")
    assert done.status == 0 and "None" not in done.out
    assert done.out.splitlines() == [
        "ftjob-2 has ended: gru, validation accuracy 0.900, loss 0.250",
        "it is a trial of ftjob-1, which publishes the best of its trials; follow it with:",
        "  ostinato jobs follow ftjob-1",
    ]
    ended = JOB | {"status": "succeeded", "trials": [row]}
    service.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, ended)
    last = ostinato("jobs", "follow", "ftjob-2").out.splitlines()[-1]
    assert last == "it is a trial of ftjob-1; compare the trials with: ostinato jobs show ftjob-1"


def test_metrics_of_too_few_rows_are_not_shown_for_a_trial(service: Service, ostinato: Run) -> None:
    trial = {"id": "ftjob-2", "model": "gru", "status": "succeeded", "parameters": 4, "chosen": True}
    trial |= {"metrics": {"accuracy": 1.0, "rows": 2.0}}
    service.routes |= {
        "GET /v1/fine_tuning/jobs/ftjob-1": (200, JOB | {"status": "succeeded", "trials": [trial]}),
        "GET /v1/fine_tuning/jobs/ftjob-2": (200, JOB | trial | {"parent_id": "ftjob-1"}),
        "GET /v1/fine_tuning/jobs/ftjob-2/events": listed(),
    }
    shown, followed = ostinato("jobs", "show", "ftjob-1").out, ostinato("jobs", "follow", "ftjob-2").out
    assert "2 rows: too few for meaningful metrics" in shown and "1.000" not in shown
    assert "validation on 2 rows: too few for meaningful metrics" in followed and "1.000" not in followed


def test_a_job_is_shown_cancelled_paused_and_resumed(service: Service, ostinato: Run) -> None:
    service.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, JOB)
    assert "running (training)" in ostinato("jobs", "show", "ftjob-1").out
    for verb, status in (("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")):
        service.routes[f"POST /v1/fine_tuning/jobs/ftjob-1/{verb}"] = (200, {**JOB, "status": status})
        assert ostinato("jobs", verb, "ftjob-1").out == f"ftjob-1 is {status}\n"


def test_several_jobs_are_cancelled(service: Service, ostinato: Run) -> None:
    for path in ("fine_tuning/jobs/ftjob-1", "evaluations/evaljob-1"):
        reply = {"id": path.rpartition("/")[2], "status": "cancelled"}
        service.routes[f"POST /v1/{path}/cancel"] = (200, reply)
    missing = {"error": {"message": "there is no job 'ftjob-9'", "code": "job_not_found"}}
    service.routes["POST /v1/fine_tuning/jobs/ftjob-9/cancel"] = (404, missing)
    ended = {"error": {"message": "ftjob-2 is already cancelled", "code": "invalid_job_state"}}
    service.routes["POST /v1/fine_tuning/jobs/ftjob-2/cancel"] = (400, ended)
    done = ostinato("jobs", "cancel", "ftjob-1", "ftjob-9", "ftjob-2", "evaljob-1")
    assert done.out == "ftjob-1 is cancelled\nevaljob-1 is cancelled\n"
    assert (done.status, done.err) == (1, "ftjob-9: there is no job 'ftjob-9'\nftjob-2 is already cancelled\n")


def test_waiting_for_a_service_that_is_away_is_told_once(
    service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "POLL", 0.0)
    away = (503, {"error": "restarting"})
    ended = {"id": "ftjob-1", "status": "failed", "error": {"message": "set training.max_steps"}}
    service.routes |= {
        "GET /v1/fine_tuning/jobs/ftjob-1": [away, away, (200, ended)],
        "GET /v1/fine_tuning/jobs/ftjob-1/events": listed(),
    }
    assert ostinato("jobs", "follow", "ftjob-1").err.splitlines() == [
        "restarting; trying again for up to 60 seconds",
        "ftjob-1 failed: set --max-steps",
    ]
