"""`models`, `jobs`, `files`: the right route, the right words."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
import typer

from tests.cli.conftest import Run
from tests.cli.service import Service, listed

VERSION: dict[str, Any] = {
    "model": "reviews", "version": 2, "status": "ready", "task": "classification", "architecture": "lstm",
    "digest": "d" * 64, "files": {"config.json": {"sha256": "a", "size": 1234}}, "parameters": 1_000_000,
    "metrics": {"test": {"accuracy": 0.75}}, "aliases": ["champion"], "owner": "local", "created_at": 0,
    "config": {"layers": 2, "width": 64}, "labels": ["bad", "good"],
}  # fmt: skip
ROOT = "/v1/registry/models"


def test_models_lists_what_there_is(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed({"name": "reviews", "latest": VERSION, "aliases": {"champion": 2}})
    for command in (["models"], ["models", "list"]):
        lines = ostinato(*command).out.splitlines()
        assert lines[1].split() == [
            "reviews",
            "2",
            "classification",
            "lstm",
            "@champion:2",
            "test",
            "accuracy",
            "0.750",
        ]
    assert json.loads(ostinato("models", "list", "--json").out)[0]["name"] == "reviews"


def test_an_empty_registry_says_what_to_do(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed()
    assert ostinato("models").out == "no model yet; train one with: ostinato train FILE\n"


@pytest.mark.parametrize("reference", ["reviews:2", "reviews@champion", "reviews"])
def test_a_version_is_shown_by_any_reference(service: Service, ostinato: Run, reference: str) -> None:
    service.routes[f"GET /v1/models/{reference}"] = (200, {"id": "reviews", "version": 2})
    service.routes[f"GET {ROOT}/reviews/versions/2"] = (200, VERSION)
    shown = ostinato("models", "show", reference).out
    for part in ("reviews:2", "1,000,000", "bad, good", "test accuracy 0.750", "@champion", "1.2 kB"):
        assert part in shown


def test_versions_and_history_are_tables(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}/reviews/versions"] = listed(VERSION)
    assert "ready" in ostinato("models", "versions", "reviews").out
    move = {"from_version": None, "to_version": 2, "principal": "ann", "created_at": 0}
    service.routes[f"GET {ROOT}/reviews/aliases/champion/history"] = listed(move)
    assert ostinato("models", "history", "reviews", "champion").out.splitlines()[1].split()[-3:] == ["-", "2", "ann"]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ([], {"version": 2}),  # a mark that is there stays
        (["--expected", "1", "--required"], {"version": 2, "required": True, "expected_version": 1}),
        (["--expected", "none", "--no-required"], {"version": 2, "required": False, "expected_version": None}),
    ],
)
def test_an_alias_is_moved_by_compare_and_set(
    service: Service, ostinato: Run, options: list[str], body: dict[str, Any]
) -> None:
    service.routes[f"PUT {ROOT}/reviews/aliases/champion"] = (200, {})
    done = ostinato("models", "alias", "reviews", "champion", "2", *options)
    assert done.out == "reviews@champion is reviews:2\n"
    assert service.requests[0].json == body


def test_versions_are_compared_by_the_service(service: Service, ostinato: Run) -> None:
    versions = [
        VERSION | {"version": n, "config": {"layers": n, "width": 64}, "digest": f"{n}" * 64} for n in (2, 3, 4)
    ]
    accuracy, same = [0.75, None, 0.8], [1.0, 1.0, 1.0]
    reply = {
        "object": "model.comparison", "versions": versions, "best": {"test.accuracy": 2, "test.loss": 0},
        "figures": {"test.accuracy": accuracy, "test.loss": same},
    }  # fmt: skip
    service.routes["GET /v1/registry/compare"] = (200, reply)
    names = ("reviews:2", "reviews@old", "reviews")
    lines = [line.split() for line in ostinato("models", "compare", *names).out.splitlines()]
    assert service.requests[0].query == "versions=reviews%3A2%2Creviews%40old%2Creviews"
    assert lines[0] == ["REVIEWS:2", "REVIEWS@OLD", "REVIEWS"]
    assert ["config.layers", "2", "3", "4"] in lines and ["test.accuracy", "0.75", "-", "0.8", "*"] in lines
    assert not {"task", "config.width", "test.loss"} & {line[0] for line in lines[1:]}
    assert json.loads(ostinato("models", "compare", *names, "--json").out) == reply
    assert ostinato("models", "compare", "reviews").status == 1


def test_versions_are_searched_by_the_service(service: Service, ostinato: Run) -> None:
    found = [VERSION | {"id": f"reviews:{n}"} for n in (2, 3, 4)]
    service.routes["GET /v1/registry/versions"] = [
        (200, {"data": found[:2], "has_more": True}), (200, {"data": found[2:], "has_more": False}),
    ]  # fmt: skip
    options = ("--task", "classification", "--architecture", "lstm", "--metric", "test.accuracy", "--minimum", "0.5")
    lines = [line.split() for line in ostinato("models", "search", "rev", *options).out.splitlines()]
    asked = [parse_qs(request.query) for request in service.requests]
    wanted = {
        "query": ["rev"], "task": ["classification"], "architecture": ["lstm"], "metric": ["test.accuracy"],
        "minimum": ["0.5"], "limit": ["20"],
    }  # fmt: skip
    assert asked == [wanted, wanted | {"after": ["reviews:3"]}]
    assert lines[0] == ["VERSION", "TASK", "ARCHITECTURE", "ALIASES", "TEST.ACCURACY", "MADE"]
    assert [line[:5] for line in lines[1:]] == [
        [f"reviews:{n}", "classification", "lstm", "@champion", "0.75"] for n in (2, 3, 4)
    ]
    service.routes["GET /v1/registry/versions"] = listed()
    assert ostinato("models", "search").out == "no version is like that\n"


def test_lists_are_read_to_their_end(service: Service, ostinato: Run) -> None:
    for command, path in (
        (["models"], ROOT),
        (["models", "versions", "reviews"], f"{ROOT}/reviews/versions"),
        (["models", "history", "reviews", "a"], f"{ROOT}/reviews/aliases/a/history"),
    ):
        move = {"from_version": None, "to_version": 2, "principal": "ann", "name": "n", "latest": VERSION}
        item = VERSION | move | {"id": "first"}
        service.routes[f"GET {path}"] = [(200, {"data": [item], "has_more": True}), listed(item)]
        assert len(ostinato(*command).out.splitlines()) == 3
        assert "after=first" in service.requests[-1].query


def test_delete_asks_first(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes[f"DELETE {ROOT}/reviews/versions/2"] = (200, {})
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with __import__("sys").stdin:
        assert ostinato("models", "delete", "reviews:2").status == 1
    assert not service.requests
    assert ostinato("models", "delete", "reviews:2", "--yes").out == "reviews:2 is deleted\n"


JOB = {"id": "ftjob-1", "status": "running", "phase": "training", "progress": 0.25, "model": "lstm", "created_at": 0,
       "training_file": "file-1", "hyperparameters": {"epochs": 3}}  # fmt: skip


def test_jobs_are_listed_page_by_page(service: Service, ostinato: Run) -> None:
    pages = [(200, {"data": [{**JOB, "id": f"ftjob-{i}"} for i in range(100)], "has_more": True}), listed(JOB)]
    service.routes["GET /v1/fine_tuning/jobs"] = pages
    found = json.loads(ostinato("jobs", "list", "--limit", "200", "--json").out)
    assert len(found) == 101
    assert "after=ftjob-99" in service.requests[1].query


def test_a_job_is_shown_and_told_what_to_do(service: Service, ostinato: Run) -> None:
    service.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, JOB)
    assert "running (training)" in ostinato("jobs", "show", "ftjob-1").out
    for verb, status in (("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")):
        service.routes[f"POST /v1/fine_tuning/jobs/ftjob-1/{verb}"] = (200, {**JOB, "status": status})
        assert ostinato("jobs", verb, "ftjob-1").out == f"ftjob-1 is {status}\n"


def test_files_go_up_and_come_down(service: Service, ostinato: Run, tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1"}),
        "GET /v1/files/file-1/content": (200, b"text\n"),
        "DELETE /v1/files/file-1": (200, {"deleted": True}),
    }
    assert ostinato("files", "upload", "a.csv").out == "uploaded a.csv as file-1\n"
    assert ostinato("files", "download", "file-1", "-o", "b.csv").out == "saved b.csv (5 B)\n"
    assert (tmp_path / "b.csv").read_text() == "text\n"
    assert ostinato("files", "download", "file-1").out == "text\n"
    saved = ostinato("files", "download", "file-1", "-o", "c.csv", "--json").out
    assert json.loads(saved) == {"id": "file-1", "path": "c.csv", "bytes": 5}
    refused = ostinato("files", "download", "file-1", "--json")
    assert (refused.status, refused.out) == (1, "") and "--output" in refused.err
    assert ostinato("files", "delete", "file-1").out == "file-1 is deleted\n"


@pytest.mark.parametrize(
    ("group", "route"), [("models", ROOT), ("jobs", "/v1/fine_tuning/jobs"), ("files", "/v1/files")]
)
def test_a_list_is_json_wherever_the_word_stands(service: Service, ostinato: Run, group: str, route: str) -> None:
    service.routes[f"GET {route}"] = listed({"id": "one"})
    for arguments in (["--json"], ["list", "--json"], ["--json", "list"]):
        done = ostinato(group, *arguments)
        assert (done.status, done.err) == (0, "") and json.loads(done.out) == [{"id": "one"}], arguments


def test_every_client_command_prints_json() -> None:
    from app.cli.__main__ import program

    root = typer.main.get_command(program)
    for name in ("train", "classify", "generate", "models", "jobs", "files", "import", "export"):
        command = root.commands[name]
        for one in (command, *getattr(command, "commands", {}).values()):
            assert any("--json" in option.opts for option in one.params), f"{name} {one.name}"


def test_what_others_wrote_cannot_move_the_cursor(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed({"name": "a\x1b[2Jb\nc", "latest": VERSION, "aliases": {}})
    assert "\x1b" not in ostinato("models").out
