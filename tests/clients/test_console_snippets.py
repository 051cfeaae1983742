"""The code that the console's views show is read from the page in a browser, parsed, and run against a service."""

from __future__ import annotations

import gc
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, Route, expect

from app.settings import Settings
from app.wire.engine import Generate
from tests.clients.browser import PATIENCE, Visit, visit
from tests.clients.snippets import TABLE, Runner, accept, code_in, code_of, command_lines, json_of, the, uncommented
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf

expect.set_options(timeout=PATIENCE)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings about open connections: short scripts close their connections only by ending."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
def runner(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    (tmp_path / "data.csv").write_bytes(TABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)  # slow, and unused by http
    with api.client() as client:
        reply = client.post("/v1/files", files={"file": ("data.csv", TABLE)}, data={"purpose": "fine-tune"})
    with quiet():
        yield Runner(str(reply.json()["id"]))


def test_the_code_of_every_view_runs(
    console: Visit, api: Api, shelf: Shelf, engine: FakeEngine, runner: Runner
) -> None:
    shelf.classifier("mood", alias="champion")
    shelf.classifier("mood")
    shelf.generator("echo")
    with api.client() as client:
        job = client.post("/v1/fine_tuning/jobs", json={"model": "gru", "training_file": runner.file}).json()["id"]
        body = {"model": "mood:1", "file": runner.file, "against": "mood:2", "columns": {"text": "text"}}
        evaluation = client.post("/v1/evaluations", json=body).json()["id"]
    places = ("", "jobs", f"jobs/{job}", f"evaluations/{evaluation}", "models", "models/mood", "compare", "files")
    for place in (*places, "compare?versions=mood:1,mood:2", "traffic", "settings"):
        code = code_of(console, place)
        assert {"curl", "Command line"} < {name for name, _ in code}, place
        runner.run(code)
    assert shelf.registry.model("mood", "local").aliases == {"champion": 1}  # Compare promotes the first version
    job_code = [(name, uncommented(text)) for name, text in code_of(console, f"jobs/{job}")]
    runner.run([(name, text) for name, text in job_code if name in EVERY])  # pauses, resumes and cancels the job
    compile(the(job_code, "openai package"), "script", "exec")
    assert api.services.jobs.get(job, "local").public_status == "cancelled"
    again = accept(command_lines(the(code_of(console, f"evaluations/{evaluation}"), "Command line"))[1])
    assert (again["model"], again["against"], str(again["file"]), again["text_column"]) == (
        "mood:1", "mood:2", runner.file, "text",
    )  # fmt: skip


EVERY = ["curl", "Python", "Command line"]
HUB, TRITON, TORCH = "Hugging Face", "Open Inference", "TorchServe"
DIALECTS = {
    "mood": [*EVERY, "OpenAI", "Ollama", HUB, TRITON, TORCH, "Typed decisions"],
    "plain": [*EVERY, HUB, TRITON, TORCH, "Typed decisions"],  # a linear model has no embeddings
    "tags": [*EVERY, "OpenAI", "Ollama", HUB, TRITON, TORCH, "Typed decisions"],
    "price": [*EVERY, "OpenAI", "Ollama", HUB, TRITON, TORCH, "Typed decisions"],
    "waves": ["curl", "Python", TRITON, TORCH],
    "echo": [*EVERY, "OpenAI", "Ollama", HUB, TRITON, TORCH],
}


def test_a_version_is_called_in_each_dialect_that_applies(
    console: Visit, api: Api, shelf: Shelf, engine: FakeEngine, runner: Runner
) -> None:
    shelf.classifier("mood", alias="champion")
    shelf.classifier("plain", architecture="linear", ngram_buckets=1024, ngram_characters=3)
    shelf.classifier("tags", task="multilabel")
    shelf.put("price", task="regression", labels=(), classes=1)
    shelf.put("waves", labels=LABELS, input="features", features=2)
    shelf.generator("echo")
    for name, dialects in DIALECTS.items():
        code = code_of(console, f"models/{name}/1")
        assert [tab for tab, _ in code] == [*dialects, *EVERY], name
        runner.run(code if name != "price" else code[:3] + code[-3:])


def test_the_code_of_the_playground_has_its_choices(
    console: Visit, shelf: Shelf, engine: FakeEngine, runner: Runner
) -> None:
    shelf.classifier("mood")
    shelf.generator("echo")
    console.page.goto("about:blank")
    page = console.open("play?model=mood")
    runner.run(code_in(page))  # before a text has been entered
    page.get_by_label("Texts", exact=True).fill("it's fine\n--not an option")
    page.get_by_label("Prediction set").select_option("0.9")
    page.get_by_label("Abstain below").fill("0.25")
    code = code_in(page)  # not run: the version has no calibration
    assert {"prediction_set": 0.9, "abstain_below": 0.25}.items() <= json_of(the(code, "curl")).items()
    parsed = accept(*command_lines(the(code, "Command line")))
    assert parsed["texts"] == ["it's fine", "--not an option"]
    assert (parsed["prediction_set"], parsed["abstain_below"], parsed["pair"]) == (0.9, 0.25, False)
    page.get_by_text("Pairs of texts").click()
    page.get_by_label("Second texts").fill("one\ntwo")
    pairs = [accept(line) for line in command_lines(the(code_in(page), "Command line"))]
    assert [pair["texts"] for pair in pairs] == [["it's fine", "one"], ["--not an option", "two"]]
    assert all(pair["pair"] for pair in pairs)
    page.get_by_role("tab", name="Embed").click()
    runner.run(code_in(page))
    page.get_by_role("tab", name="Generate").click()
    page.get_by_text("Sampling", exact=True).click()
    page.get_by_label("Prompt").fill("two\nlines")
    sampling = {"Temperature": "0.5", "Top p": "0.9", "Top k": "7", "Repetition penalty": "1.1", "Seed": "3"}
    for label, value in sampling.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Maximum tokens").fill("4")
    page.get_by_label("Stop at").fill("x\\ny")
    code = code_in(page)
    runner.run(code)
    made = engine.received[-1]
    assert isinstance(made, Generate) and (made.params.max_tokens, made.params.seed) == (4, 3)
    assert (made.params.top_k, made.params.top_p, made.params.repetition_penalty) == (7, 0.9, 1.1)
    parsed = accept(*command_lines(the(code, "Command line")))
    sent = {"prompt": "two\nlines", "temperature": 0.5, "top_p": 0.9, "top_k": 7, "repetition_penalty": 1.1}
    assert parsed.items() >= (sent | {"seed": 3, "stop": ["x\ny"], "max_tokens": 4}).items()


def test_the_code_of_a_new_training_has_its_choices(console: Visit, api: Api, runner: Runner) -> None:
    api.services.estimates._running.acquire()  # the check is refused as busy: the trainer would take half a minute
    console.page.goto("about:blank")
    page = console.open(f"train?file={runner.file}")
    page.get_by_label("Architecture").select_option("gru")
    page.get_by_label("Name", exact=True).fill("")
    code = code_in(page)
    runner.run(code)
    page.get_by_label("Name", exact=True).fill("moods")
    page.get_by_label("Alias to move").fill("champion")
    page.get_by_label("Task", exact=True).select_option("classification")
    page.get_by_label("Label", exact=True).select_option("label")
    page.get_by_text("Options (chosen automatically").click()
    page.get_by_label("N-gram branch").select_option("false")
    page.get_by_label("Epochs", exact=True).fill("2")
    code = code_in(page)
    runner.run(code)
    made = httpx.get(f"{api.url}/v1/fine_tuning/jobs").json()["data"]
    expected = {"model": "gru", "task": "classification", "training": {"epochs": 2, "ngrams": False}}
    assert len(made) == 4 and all(job.items() >= expected.items() for job in made[:2])
    assert made[0]["publish"]["name"] == "moods" and made[0]["publish"]["alias"] == "champion"
    parsed = accept(*command_lines(the(code, "Command line")))
    assert (parsed["model"], parsed["task"], parsed["name"], parsed["alias"]) == (
        "gru", "classification", "moods", "champion",
    )  # fmt: skip
    assert (str(parsed["file"]), parsed["label_column"], parsed["ngrams"], parsed["epochs"]) == (
        runner.file, "label", False, 2,
    )  # fmt: skip


def test_the_code_of_a_threshold_and_with_a_key(
    browser: Browser,
    settings: Settings,
    shelf: Shelf,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With keys, the code reads the key from the environment."""
    guarded = msgspec.structs.replace(settings, api_keys="ann:secret-of-ann-1")
    shelf.classifier("mood", owner="ann")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_API_KEY", "secret-of-ann-1")
    risk = [{"score": 0.7, "answered": 0.5, "errors": 0.0, "bound": 0.1}]

    def calibrated(route: Route) -> None:
        version: dict[str, Any] = route.fetch().json()
        version["files"]["calibration.json"] = {"size": 1, "sha256": "0" * 64}
        route.fulfill(json=version)

    with quiet(), Api(guarded) as api, visit(browser, api.url) as visitor:
        api.wait_ready()
        visitor.page.add_init_script("sessionStorage.setItem('ostinato.key', 'secret-of-ann-1')")
        visitor.page.route("**/versions/1", calibrated)
        calibration = {"rows": 140, "confidence": 0.95, "risk": risk}
        visitor.page.route("**/files/calibration.json", lambda route: route.fulfill(json=calibration))
        page = visitor.open("models/mood/1")
        expect(page.get_by_role("heading", name="Threshold for answers")).to_be_visible()
        code = code_in(page)
        threshold = accept(*command_lines(the(code, "Command line")))
        assert (threshold["model"], threshold["abstain_below"]) == ("mood:1", 0.7)
        Runner().run([(name, text) for name, text in code if "FILE_ID" not in text])
        assert all("secret-of" not in text for _, text in code)
