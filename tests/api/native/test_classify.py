"""`/v1/classify`: inputs, replies, rejections, and work that must not block the event loop."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from app.api.native import classify
from app.inference import inputs, items
from app.inference.scoring import ranked
from app.tokenization.tokenizer import Tokenizer
from tests.api.clients import answered_beside_others
from tests.checkpoints import make_checkpoint, publish
from tests.fakes import FakeEngine, fake_scores
from tests.serving import LABELS, Api, Shelf, byte_tokenizer


def softmax(values: list[float]) -> list[float]:
    raised = [math.exp(v) for v in values]
    return [v / sum(raised) for v in raised]


def expected(text: str) -> list[float]:
    return softmax(fake_scores(byte_tokenizer().encode(text), len(LABELS)))


def test_one_text(api: Api, shelf: Shelf) -> None:
    version = shelf.classifier()
    with api.client() as client:
        reply = client.post("/v1/classify", json={"model": "mood", "input": "good day"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    probs = expected("good day")
    assert body["object"] == "list" and body["model"] == "mood" and body["id"].startswith("classify-")
    assert body["data"][0]["probs"] == pytest.approx(probs)
    assert body["data"][0]["label"] == LABELS[probs.index(max(probs))]
    assert body["data"][0]["num_classes"] == 3
    scores = body["data"][0]["scores"]
    assert [s["score"] for s in scores] == sorted((s["score"] for s in scores), reverse=True)
    assert {s["label"]: s["score"] for s in scores} == pytest.approx(dict(zip(LABELS, probs, strict=True)))
    assert body["usage"] == {
        "prompt_tokens": 8,
        "total_tokens": 8,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
    assert reply.headers["x-model-version"] == version.ref == "mood:1"
    assert reply.headers["x-prompt-tokens"] == "8"
    assert float(reply.headers["x-queue-time"]) == pytest.approx(0.1)
    assert float(reply.headers["x-inference-time"]) == pytest.approx(0.2)
    assert float(reply.headers["x-total-time"]) > 0
    assert reply.headers["x-request-id"]


def test_many_texts_keep_their_order(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    texts = [f"text number {i}" for i in range(300)]
    with api.client() as client:
        body = client.post("/classify", json={"model": "mood", "input": texts, "top_k": 1}).json()
    assert [item["index"] for item in body["data"]] == list(range(300))
    for text, item in zip(texts, body["data"], strict=True):
        assert item["probs"] == pytest.approx(expected(text))
        assert len(item["scores"]) == 1 and item["scores"][0]["label"] == item["label"]


def test_every_form_of_input(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    encode, sep = byte_tokenizer().encode, byte_tokenizer().sep_id
    a, b = encode("ab"), encode("cde")
    pair = [*a, sep, *b]
    forms = [
        ("ab", [a]),
        (["ab", "cde"], [a, b]),
        (a, [a]),
        ([a, b], [a, b]),
        ({"text": "ab", "text_pair": "cde"}, [pair]),
        ([{"text": "ab", "text_pair": "cde"}, {"text": "ab"}], [pair, a]),
        ([["ab", "cde"]], [pair]),
    ]
    with api.client() as client:
        for form, sequences in forms:
            engine.received.clear()
            reply = client.post("/v1/classify", json={"model": "mood", "input": form})
            assert reply.status_code == 200, (form, reply.text)
            assert engine.received[-1].sequences == sequences, form  # type: ignore[union-attr]


@pytest.mark.parametrize("top_k", [None, 3])
def test_a_reply_with_many_labels_does_not_block_other_requests(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, top_k: int | None
) -> None:
    """A large reply is built in a thread, and has the same content as several small replies together."""
    engine.classes = 300
    shelf.classifier(labels=tuple(f"label {i}" for i in range(300)))
    item, begun, go = classify._item, threading.Event(), threading.Event()

    def wait_then_run(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return item(*arguments)

    texts = [f"text {i}" for i in range(20)]
    with api.client() as client:
        singly = [client.post("/v1/classify", json={"model": "mood", "input": text, "top_k": top_k}) for text in texts]
        monkeypatch.setattr(classify, "_item", wait_then_run)
        held = answered_beside_others(api, "/v1/classify", {"model": "mood", "input": texts, "top_k": top_k}, begun, go)
    assert held.headers["x-prompt-tokens"] == str(sum(map(len, texts)))
    expected = [reply.json()["data"][0] | {"index": i} for i, reply in enumerate(singly)]
    assert held.json()["data"] == expected
    assert all(len(one["scores"]) == (top_k or 300) for one in expected)


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60), st.integers(1, 70))
def test_the_best_scores_equal_the_start_of_the_whole_ranking(scores: list[float], top_k: int) -> None:
    labels = [str(i) for i in range(len(scores))]
    assert ranked(labels, scores, top_k) == ranked(labels, scores)[:top_k]


def test_raw_scores(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    with api.client() as client:
        raw = client.post("/v1/classify", json={"model": "mood", "input": "hm", "use_activation": False}).json()
    logits = raw["data"][0]["probs"]
    assert logits == fake_scores(byte_tokenizer().encode("hm"), 3)
    assert softmax(logits) == pytest.approx(expected("hm"))


def test_multilabel_and_regression(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier("tags", task="multilabel")
    shelf.put("score", labels=(), task="regression", classes=1)
    with api.client() as client:
        item = client.post("/v1/classify", json={"model": "tags", "input": "abc"}).json()["data"][0]
        logits = fake_scores(byte_tokenizer().encode("abc"), 3)
        assert item["probs"] == pytest.approx([1 / (1 + math.exp(-x)) for x in logits])
        assert item["labels"] == [label for label, x in zip(LABELS, logits, strict=True) if x >= 0]
        all_of_them = client.post("/v1/classify", json={"model": "tags", "input": "abc", "threshold": 0})
        assert all_of_them.json()["data"][0]["labels"] == list(LABELS)
        engine.classes = 1
        item = client.post("/v1/classify", json={"model": "score", "input": "abc"}).json()["data"][0]
        labels = client.post("/v1/classify", json={"model": "score", "input": "abc", "top_k": 2})
    assert item["value"] == fake_scores(byte_tokenizer().encode("abc"), 1)[0]
    assert item["label"] is None and item["probs"] == [] and item["num_classes"] == 0
    error = labels.json()["error"]
    assert (labels.status_code, error["code"], error["param"]) == (400, "wrong_task", "top_k")
    assert "score:1 predicts numbers" in error["message"]


def test_numbers(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier("waves", input="features", features=2, vocab_size=0)
    with api.client() as client:
        body = {"model": "waves", "input": [[[1, 2.5], [3, 4]], [[0, 1]]]}
        reply = client.post("/v1/classify", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["data"][0]["probs"] == pytest.approx(softmax(fake_scores([1, 2.5, 3, 4], 3)))
        assert reply.json()["usage"]["prompt_tokens"] == 3
        for bad in ("text", [1, 2], [[[1, 2, 3]]], [[[1, 2], [3]]], [[[1, 1e300]]], [[[]]], [[["a", "b"]]]):
            refused = client.post("/v1/classify", json={"model": "waves", "input": bad})
            assert refused.status_code == 400 and refused.json()["error"]["param"].startswith("input"), bad
        odd = client.post("/v1/classify", json={"model": "waves", "input": [[[1, 2], [3]]]}).json()["error"]["message"]
        assert "input[0][1]" in odd, odd


@pytest.mark.parametrize(
    ("value", "place"),
    [([[1.5, 2.5]], "input[0][0]"), ([1.5, 2.5], "input[0]"), (1.5, "input"), ([[[1.5]], [2.5]], "input[1][0]")],
)
def test_numbers_that_are_not_steps_are_explained(api: Api, shelf: Shelf, value: object, place: str) -> None:
    shelf.classifier("waves", input="features", features=1, vocab_size=0)
    with api.client() as client:
        error = client.post("/v1/classify", json={"model": "waves", "input": value}).json()["error"]
        assert error["param"] == place and "[[[1.5], [2.5]]]" in error["message"]
        assert error["message"].startswith(f"{place} is a number, but it must be a list; ")
        misplaced = client.post("/v1/classify", json={"model": "waves", "input": [[[1]]], "top_k": 1.5}).json()["error"]
        assert misplaced["message"] == "top_k must be an integer, not a decimal number"


def test_texts_that_are_too_long(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    with api.client() as client:
        refused = client.post("/v1/classify", json={"model": "mood", "input": "x" * 65})
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
        assert "64" in refused.json()["error"]["message"]
        body = {"model": "mood", "input": "ab" * 40, "truncate_prompt_tokens": -1}
        assert client.post("/v1/classify", json=body).headers["x-prompt-tokens"] == "64"
        body = {"model": "mood", "input": "abc", "truncate_prompt_tokens": 2, "truncation_side": "left"}
        client.post("/v1/classify", json=body)
        assert engine.received[-1].sequences == [byte_tokenizer().encode("bc")]  # type: ignore[union-attr]
        refused = client.post("/v1/classify", json={"model": "mood", "input": "a", "truncate_prompt_tokens": 65})
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "truncate_prompt_tokens"


def test_special_tokens_are_kept_when_input_is_truncated(
    api: Api, shelf: Shelf, engine: FakeEngine, tmp_path: Path
) -> None:
    native = tokenizers.Tokenizer.from_str(byte_tokenizer()._definition)
    native.post_processor = TemplateProcessing(
        single="<sep> $A <eos>", pair="<sep> $A <sep> $B <eos>", special_tokens=[("<sep>", 2), ("<eos>", 1)]
    )
    directory = make_checkpoint(tmp_path / "x", labels=LABELS, vocab_size=native.get_vocab_size(), context_length=8)
    native.save(str(directory / "tokenizer.json"))
    publish(shelf.registry, directory, "mood", "local")
    a, b, c, x, y = (byte_tokenizer().encode(character)[0] for character in "abcxy")
    cases: list[tuple[Any, dict[str, Any], list[int]]] = [
        ("abc", {}, [2, a, b, c, 1]),
        ("abc", {"add_special_tokens": False}, [a, b, c]),
        ("abc", {"truncate_prompt_tokens": 4}, [2, a, b, 1]),
        ("abc", {"truncate_prompt_tokens": 4, "truncation_side": "left"}, [2, b, c, 1]),
        ("abc", {"truncate_prompt_tokens": 2, "add_special_tokens": False}, [a, b]),
        ("c" * 9, {"truncate_prompt_tokens": -1}, [2, *[c] * 6, 1]),
        ({"text": "abc", "text_pair": "xyyy"}, {"truncate_prompt_tokens": -1}, [2, a, b, 2, x, y, y, 1]),
        ({"text": "abcabc", "text_pair": "x"}, {"truncate_prompt_tokens": 6}, [2, a, b, 2, x, 1]),
        ({"text": "a", "text_pair": "x"}, {"add_special_tokens": False}, [a, x]),
        ([[2, a, b, c, 1]], {"truncate_prompt_tokens": 2}, [2, a]),
    ]
    with api.client() as client:
        for value, options, ids in cases:
            reply = client.post("/v1/classify", json={"model": "mood", "input": value, **options})
            assert reply.status_code == 200, reply.text
            assert engine.received[-1].sequences == [ids], (value, options)  # type: ignore[union-attr]
        body = {"model": "mood", "input": "abc", "truncate_prompt_tokens": 2}
        refused = client.post("/v1/classify", json=body).json()["error"]
        assert "adds 2 special tokens" in refused["message"] and refused["param"] == "truncate_prompt_tokens"
        client.post("/v1/embeddings", json={"model": "mood", "input": "abc", "add_special_tokens": False})
        assert engine.received[-1].sequences == [[a, b, c]]  # type: ignore[union-attr]


def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda *_: pytest.fail("it was tokenized"))
    with api.client() as client:
        for value, place in (("x" * 2_000_000, "input"), (["fits", "x" * 65], "input[1]")):
            refused = client.post("/v1/classify", json={"model": "mood", "input": value}).json()["error"]
            tokens = len(value) if isinstance(value, str) else 65
            assert refused["message"].startswith(f"{place} has at least {tokens} tokens, but mood:1 accepts at most 64")
            assert refused["code"] == "context_length_exceeded" and refused["param"] == "input"


def test_input_that_is_too_long_is_refused_in_every_form(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    shelf.classifier("waves", input="features", features=2, vocab_size=0)
    forms: list[tuple[str, Any, str]] = [
        ("mood", {"text": "x" * 40, "text_pair": "y" * 40}, "input"),
        ("mood", [["a", "b"], ["x" * 64, "y"]], "input[1]"),
        ("mood", [[1] * 64, [1] * 65], "input[1]"),
        ("waves", [[[0.5, 1]] * 65], "input"),
        ("waves", [[[0.5, 1]], [[0.5, 1]] * 65], "input[1]"),
    ]
    with api.client() as client:
        for model, value, place in forms:
            refused = client.post("/v1/classify", json={"model": model, "input": value})
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "context_length_exceeded"), (value, error)
            assert error["message"].startswith(f"{place} has ")
            body = {"model": model, "input": value, "truncate_prompt_tokens": -1}
            assert client.post("/v1/classify", json=body).status_code == 200


def test_bad_requests(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    shelf.generator()
    bad = [
        "",
        "  ",
        [],
        [[]],
        ["a", ""],
        ["a", [1]],
        [True],
        3,
        None,
        {"txt": "a"},
        ["a"] * 2049,
        [10**9],
        [-1],
        [[1.5]],
    ]
    with api.client() as client:
        for value in bad:
            reply = client.post("/v1/classify", json={"model": "mood", "input": value})
            assert reply.status_code == 400, (value, reply.text)
            assert reply.json()["error"]["message"] and "detail" not in reply.json()
        wrong = client.post("/v1/classify", json={"model": "echo", "input": "a"})
        assert wrong.status_code == 400 and wrong.json()["error"]["code"] == "wrong_task"
        assert client.post("/v1/classify", json={"model": "nobody", "input": "a"}).status_code == 404
        assert client.post("/v1/classify", json={"input": "a"}).json()["error"]["code"] == "model_missing"
        typo = client.post("/v1/classify", json={"model": "mood", "inputs": "a"}).json()["error"]
        assert typo["message"] == "unknown field 'inputs'; did you mean 'input'?"
        other = client.post("/v1/classify", json={"model": "mood", "text": "a"}).json()["error"]
        assert other["message"].startswith("unknown field 'text'; the fields are input, model, top_k, ")
        for inner in ({"text": "a", "textpair": "b"}, ["a", {"text": "a", "textpair": "b"}]):
            error = client.post("/v1/classify", json={"model": "mood", "input": inner}).json()["error"]
            assert error["message"].endswith("textpair'; did you mean 'text_pair'?"), error
            assert error["code"] == "unknown_field" and error["param"].endswith(".textpair")
        surrogate = client.post("/v1/classify", content=b'{"model": "mood", "input": "\\ud800"}')
        assert surrogate.status_code == 400


WORDS, IDS = "word " * 2000, [97] * 5000


@pytest.mark.parametrize(("quick", "inline"), [(True, True), (False, False)], ids=["trained here", "foreign"])
def test_a_foreign_tokenizer_never_runs_on_the_event_loop(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, quick: bool, inline: bool
) -> None:
    """A short text is tokenized on the loop only with tokenizers that were trained here, because others may be slow."""
    version, encode, threads = shelf.classifier(), Tokenizer.encode_batch, []

    def watched(*arguments: Any) -> list[list[int]]:
        threads.append(threading.current_thread().name)
        return encode(*arguments)

    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood", "input": "warm"}).status_code == 200
        tokenizer = api.services.inference.versions._assets[version.digest].tokenizer
        assert tokenizer is not None
        tokenizer.quick = quick
        monkeypatch.setattr(Tokenizer, "encode_batch", watched)
        assert client.post("/v1/classify", json={"model": "mood", "input": "short"}).status_code == 200
    assert [not name.startswith("tokenize") for name in threads] == [inline]


@pytest.mark.parametrize(
    ("value", "owner", "name"),
    [
        (WORDS, Tokenizer, "encode_batch"),
        ([WORDS] * 3, Tokenizer, "encode_batch"),
        (IDS, inputs, "_checked"),
        (IDS, items, "_all"),
        ([IDS, IDS], items, "_all"),
        ([[[0.0]] * 5000], items, "_all"),
    ],
    ids=["text", "texts", "ids", "ids parsed", "lists of ids parsed", "numbers parsed"],
)
def test_long_input_does_not_block_other_requests(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, value: Any, owner: Any, name: str
) -> None:
    """The process answers other requests while a thread parses or tokenizes long input."""
    shelf.classifier()
    inner, begun, go = getattr(owner, name), threading.Event(), threading.Event()

    def wait_then_run(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return inner(*arguments)

    body = {"model": "mood", "input": value, "truncate_prompt_tokens": -1}
    with httpx.Client(base_url=api.url, timeout=30) as client:
        assert client.post("/v1/classify", json={"model": "mood", "input": "warm"}).status_code == 200
        monkeypatch.setattr(owner, name, wait_then_run)
        held = answered_beside_others(api, "/v1/classify", body, begun, go)
    assert held.status_code in (200, 400)  # this version reads text, so numbers are refused
