"""`ostinato models`: lists, one version, deletion."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run
from tests.cli.service import VERSION, Service, listed

ROOT = "/v1/registry/models"


def test_models_are_listed_with_their_newest_version(service: Service, ostinato: Run) -> None:
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


def test_the_figures_are_those_of_the_version_that_answers(service: Service, ostinato: Run) -> None:
    older = VERSION | {"version": 1, "metrics": {"test": {"accuracy": 0.9}}}
    service.routes |= {
        f"GET {ROOT}": listed({"name": "reviews", "latest": VERSION, "aliases": {"champion": 1}}),
        f"GET {ROOT}/reviews/versions/1": (200, older),
    }
    shown = ostinato("models").out.splitlines()[1]
    assert shown.endswith("@champion:1  version 1: test accuracy 0.900; newest, 2: test accuracy 0.750")


def test_models_whose_versions_are_deleted_are_not_listed(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed({"name": "old", "latest": None, "aliases": {}})
    assert ostinato("models").out.startswith("no models yet")


def test_an_empty_list_says_how_to_train(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed()
    assert ostinato("models").out == "no models yet; train one with: ostinato train FILE\n"


@pytest.mark.parametrize("reference", ["reviews:2", "reviews@champion", "reviews"])
def test_a_version_is_shown_by_any_reference(service: Service, ostinato: Run, reference: str) -> None:
    service.routes[f"GET /v1/models/{reference}"] = (200, {"id": "reviews", "version": 2})
    metrics = VERSION["metrics"] | {"baseline": {"summary": "lstm: 0.750 test accuracy; a linear model: 0.700"}}
    service.routes[f"GET {ROOT}/reviews/versions/2"] = (200, VERSION | {"metrics": metrics})
    evaluation = {"id": "evaljob-1", "file": "file-1", "report": {"metrics": {"accuracy": 0.5, "rows": 40}}}
    service.routes[f"GET {ROOT}/reviews/versions/2/evaluations"] = listed(evaluation)
    shown = ostinato("models", "show", reference).out
    parts = ("reviews:2", "1,000,000", "bad, good", "test accuracy 0.750", "@champion", "1.2 kB")
    for part in (*parts, "a linear model: 0.700", "evaljob-1 on file-1: accuracy 0.500"):
        assert part in shown


def test_lists_are_read_to_the_last_page(service: Service, ostinato: Run) -> None:
    for command, path in (
        (["models"], ROOT),
        (["models", "versions", "reviews"], f"{ROOT}/reviews/versions"),
        (["models", "history", "reviews", "a"], f"{ROOT}/reviews/aliases/a/history"),
    ):
        move = {"from_version": None, "to_version": 2, "principal": "ann", "name": "n", "latest": VERSION}
        move |= {"aliases": {}} if path == ROOT else {}
        item = VERSION | move | {"id": "first"}
        service.routes[f"GET {path}"] = [(200, {"data": [item], "has_more": True}), listed(item)]
        assert len(ostinato(*command).out.splitlines()) == 3
        assert "after=first" in service.requests[-1].query


def test_delete_asks_for_confirmation(service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes[f"DELETE {ROOT}/reviews/versions/2"] = (200, {})
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with __import__("sys").stdin:
        assert ostinato("models", "delete", "reviews:2").status == 1
    assert not service.requests
    assert ostinato("models", "delete", "reviews:2", "--yes").out == "reviews:2 is deleted\n"
    service.routes[f"GET {ROOT}/reviews/versions"] = listed({"version": 1}, {"version": 3})
    assert ostinato("models", "delete", "reviews:2", "--yes").out.splitlines() == [
        "reviews:2 is deleted",
        "2 versions of reviews remain: reviews:1 and reviews:3; the model is deleted with its last version",
    ]


def test_control_characters_in_names_are_not_printed(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}"] = listed({"name": "a\x1b[2Jb\nc", "latest": VERSION, "aliases": {}})
    assert "\x1b" not in ostinato("models").out
