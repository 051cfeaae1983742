"""The whole loop with the real programs and the real client: upload, train, register, serve."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import openai
import pytest

from app.launcher.programs import alive
from benchmarks.service import Service, checked, wait_until
from models.choices import ARCHITECTURES, NETWORKS
from tests.promises import kept

SMALL = {"layers": 1, "width": 32, "max_steps": 80, "batch_size": 32, "learning_rate": 0.01, "dropout": 0.0}
SEED = 2  # after so few steps, some seeds misclassify a text

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def classifiers(service: Service, reviews: Path) -> dict[str, str]:
    file = service.upload(reviews)
    jobs = {
        a: service.train(
            model=a, training_file=file, suffix=f"reviews-{a}", training=SMALL if a in NETWORKS else {}, seed=SEED
        )
        for a in ARCHITECTURES
    }
    ended = {a: service.finish(job["id"], 900) for a, job in jobs.items()}
    endings = {a: (job["status"], job["error"]) for a, job in ended.items()}
    assert endings == dict.fromkeys(ARCHITECTURES, ("succeeded", None))
    return {a: job["fine_tuned_model"] for a, job in ended.items()}


@pytest.fixture(scope="module")
def generators(service: Service, tale: Path) -> dict[str, str]:
    file, few = service.upload(tale), SMALL | {"max_steps": 20, "context_length": 64}
    jobs = {
        a: service.train(model=a, training_file=file, suffix=f"tale-{a}", training=few, seed=SEED) for a in NETWORKS
    }
    ended = {a: service.finish(job["id"], 900) for a, job in jobs.items()}
    assert {job["status"] for job in ended.values()} == {"succeeded"}
    return {a: job["fine_tuned_model"] for a, job in ended.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trained_classifier_answers_under_its_name(
    service: Service, classifiers: dict[str, str], architecture: str
) -> None:
    reply = service.classify(f"reviews-{architecture}", ["a lovely wonderful day", "an awful terrible film"])
    assert [item["label"] for item in reply["data"]] == ["good", "bad"]
    assert all(abs(sum(item["probs"]) - 1) < 1e-4 for item in reply["data"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_version_has_its_metrics(service: Service, classifiers: dict[str, str], architecture: str) -> None:
    metrics = service.version(classifiers[architecture])["metrics"]
    assert metrics["test"]["accuracy"] > 0.9
    assert {"good", "bad"} == set(metrics["test"]["per_class"])


def test_a_checkpoint_of_a_job_answers_and_can_be_fine_tuned(
    service: Service, classifiers: dict[str, str], reviews: Path
) -> None:
    version = service.version(classifiers["lstm"])
    path = f"/v1/fine_tuning/jobs/{version['job_id']}/checkpoints"
    [best, *_] = checked(service.client.get(path, params={"limit": 100}))["data"]
    texts = ["a lovely wonderful day", "an awful terrible film"]
    # Only the version has a calibration, because it is fitted at the end of the run.
    models = (best["id"], classifiers["lstm"])
    checkpoint, final = (service.classify(model, texts, calibrated=False)["data"] for model in models)
    assert [item["label"] for item in checkpoint] == ["good", "bad"]
    for mine, theirs in zip(checkpoint, final, strict=True):  # the version is the best of the checkpoints
        assert mine["probs"] == pytest.approx(theirs["probs"], abs=1e-6)
    further = service.train(
        model=best["id"], training_file=service.upload(reviews), training={"max_steps": 3}, seed=SEED
    )
    done = service.finish(further["id"], 900)
    assert (done["status"], done["error"]) == ("succeeded", None)
    name, _, number = done["fine_tuned_model"].partition(":")
    assert (name, number) == (f"lstm-{further['id'][-8:]}", "1")
    assert [item["label"] for item in service.classify(name, texts)["data"]] == ["good", "bad"]


def test_a_version_has_plots(service: Service, classifiers: dict[str, str]) -> None:
    version = service.version(classifiers["gru"])
    plots = sorted(path for path in version["files"] if path.startswith("plots/"))
    words = {
        "confusion_test": "test",
        "confusion_validation": "validation",
        "lengths": "sequences",
        "loss": "step",
        "reliability": "probability",
    }
    assert [Path(path).stem for path in plots] == list(words)
    for path in plots:
        reply = service.client.get(f"/v1/registry/models/{version['model']}/versions/1/files/{path}")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/svg+xml")
        root = ElementTree.fromstring(reply.content, ElementTree.XMLParser(target=with_comments()))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        drawn = [" ".join(str(part.text).split()) for part in root.iter(ElementTree.Comment)]  # text is drawn as paths
        assert words[Path(path).stem] in drawn, drawn


def with_comments() -> ElementTree.TreeBuilder:
    return ElementTree.TreeBuilder(insert_comments=True)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_streamed_text_equals_the_text_of_one_reply(
    service: Service, generators: dict[str, str], architecture: str
) -> None:
    model = generators[architecture]
    whole = service.complete(model, "the film", max_tokens=24, temperature=0)["choices"][0]
    assert service.stream(model, "the film", max_tokens=24, temperature=0) == (whole["text"], whole["finish_reason"])


def test_greedy_streams_in_a_crowd_equal_those_alone(
    service: Service, generators: dict[str, str], classifiers: dict[str, str]
) -> None:
    models = [generators["lstm"], generators["transformer"]]

    def ask(number: int) -> tuple[str, str | None]:
        return service.stream(models[number % 2], f"the day {number}", max_tokens=10 + number, temperature=0)

    def probabilities(number: int) -> list[float]:
        model = classifiers[ARCHITECTURES[number % len(ARCHITECTURES)]]
        return list(service.classify(model, f"a kind bright day {number}")["data"][0]["probs"])

    streams_alone, classes_alone = [ask(n) for n in range(16)], [probabilities(n) for n in range(64)]
    with ThreadPoolExecutor(32) as threads:
        classes, streams = threads.map(probabilities, range(64)), threads.map(ask, range(16))
        assert list(streams) == streams_alone
        for crowd, alone in zip(classes, classes_alone, strict=True):
            assert crowd == pytest.approx(alone, abs=1e-4)


def test_the_openai_client_trains_and_asks(service: Service, reviews: Path) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="any")
    with reviews.open("rb") as stream:
        file = client.files.create(file=stream, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="gru", training_file=file.id, suffix="by-client", extra_body={"training": {**SMALL, "max_steps": 5}}
    )
    assert service.finish(job.id, 900)["status"] == "succeeded"
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == "by-client:1"
    assert client.models.retrieve("by-client").id
    assert [e.message for e in client.fine_tuning.jobs.list_events(job.id)]
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="by-client", prompt="a classifier writes nothing")


def test_cancel_stops_the_trainer_within_two_seconds(service: Service, tale: Path) -> None:
    file = service.upload(tale)

    def cancelling() -> float:
        job = service.train(model="lstm", training_file=file, training={"max_steps": 100_000, "width": 32})
        pid: int = wait_until(lambda: trainer(service, job["id"]), 60, "a trainer")
        start = time.monotonic()
        checked(service.client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel"))
        wait_until(lambda: not alive(pid), 60, "the end of the trainer", every=0.02)
        seconds = time.monotonic() - start
        assert service.finish(job["id"], 900)["status"] == "cancelled"
        wait_until(lambda: service.pid("trainer") is None, 60, "an empty list of trainers")
        return seconds

    kept(2.0, cancelling)


def trainer(service: Service, job_id: str) -> int | None:
    return next((row["pid"] for row in service.programs() if row["job"] == job_id), None)
