from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from app.api.openai.completions_choices import names_of
from app.tokenization.training import train
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, byte_tokenizer, wait_until


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Any:
    shelf.generator()
    shelf.classifier()
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0, timeout=10) as found:
        yield found


def test_whole_completion(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="echo", prompt="abc ", max_tokens=6, temperature=0)
    assert reply.choices[0].text == "abc ab"
    assert reply.choices[0].finish_reason == "length"
    assert reply.object == "text_completion" and reply.model == "echo" and reply.id.startswith("cmpl-")
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (4, 6, 10)
    assert reply.usage.prompt_tokens_details.cached_tokens == 0  # type: ignore[union-attr]


def test_stream_joins_to_the_whole_text(client: openai.OpenAI) -> None:
    prompt = "grüße 世界 "  # characters of several bytes never come in halves
    whole = client.completions.create(model="echo", prompt=prompt, max_tokens=24).choices[0].text
    chunks = list(client.completions.create(model="echo", prompt=prompt, max_tokens=24, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert not any("\ufffd" in chunk.choices[0].text for chunk in chunks[:-1])


@pytest.mark.parametrize("more", [{}, {"logprobs": 0}, {"n": 2, "echo": True}], ids=str)
def test_an_event_is_one_line_to_every_reader(api: Api, client: openai.OpenAI, more: dict[str, Any]) -> None:
    prompt = "a\u2028b\x85c\u2029d\x0c\x1e "
    asked = {"model": "echo", "prompt": prompt, "max_tokens": 24, **more}
    whole = client.completions.create(**asked).choices[0].text
    assert {"\u2028", "\x85", "\u2029", "\x0c", "\x1e"} <= set(whole)
    with api.client() as http, http.stream("POST", "/v1/completions", json={**asked, "stream": True}) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    choices = [choice for line in lines for choice in json.loads(line.removeprefix("data: "))["choices"]]
    assert "".join(choice["text"] for choice in choices if choice["index"] == 0) == whole


def test_usage_comes_last_in_a_stream(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="echo", prompt="abc", max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    *content, last = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in content)
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 5


def test_stream_ends_with_done_and_has_headers(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "echo", "prompt": "ab", "max_tokens": 2, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-model-version"] == "echo:1" and reply.headers["x-request-id"]
    frames = [line for line in reply.text.split("\n\n") if line]
    assert frames[-1] == "data: [DONE]"
    first = json.loads(frames[0].removeprefix("data: "))
    assert first == {
        "id": first["id"],
        "object": "text_completion",
        "created": first["created"],
        "model": "echo",
        "system_fingerprint": None,
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None, "stop_reason": None}],
        "usage": None,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_stop_string_across_tokens(client: openai.OpenAI, engine: FakeEngine, stream: bool) -> None:
    arguments: dict[str, Any] = {"model": "echo", "prompt": "one END two ", "max_tokens": 40, "stop": ["END", "zzz"]}
    if stream:
        chunks = list(client.completions.create(**arguments, stream=True))
        text, last = "".join(c.choices[0].text for c in chunks), chunks[-1].choices[0]
    else:
        last = client.completions.create(**arguments).choices[0]
        text = last.text
    assert text == "one " and last.finish_reason == "stop" and last.stop_reason == "END"  # type: ignore[attr-defined]
    wait_until(lambda: engine.running == 0)  # nobody goes on generating


def test_stop_string_may_stay(client: openai.OpenAI) -> None:
    extra = {"include_stop_str_in_output": True}
    reply = client.completions.create(model="echo", prompt="one END", max_tokens=40, stop="END", extra_body=extra)
    assert reply.choices[0].text == "one END"


def test_end_token_and_stop_token(client: openai.OpenAI, engine: FakeEngine) -> None:
    ids = byte_tokenizer().encode("ab.")
    reply = client.completions.create(model="echo", prompt=ids, max_tokens=9, extra_body={"stop_token_ids": [ids[2]]})
    said = reply.choices[0]
    assert (said.text, said.finish_reason, said.stop_reason) == ("ab", "stop", ids[2])  # type: ignore[attr-defined]
    engine.eos = ids[1]
    said = client.completions.create(model="echo", prompt=ids, max_tokens=9).choices[0]
    assert (said.text, said.finish_reason, said.stop_reason) == ("a", "stop", None)  # type: ignore[attr-defined]
    said = client.completions.create(model="echo", prompt=ids, max_tokens=3, extra_body={"ignore_eos": True}).choices[0]
    assert said.text == "ab."


def test_many_prompts_and_choices(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="echo", prompt=["ab", "xyz"], n=2, max_tokens=4)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in reply.choices] == ["abab", "abab", "xyzx", "xyzx"]
    assert reply.usage is not None and reply.usage.prompt_tokens == 5 and reply.usage.completion_tokens == 16
    texts = {0: "", 1: "", 2: "", 3: ""}
    for chunk in client.completions.create(model="echo", prompt=["ab", "xyz"], n=2, max_tokens=4, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {0: "abab", 1: "abab", 2: "xyzx", 3: "xyzx"}


def test_choices_of_a_request_have_noise_of_their_own(client: openai.OpenAI, engine: FakeEngine) -> None:
    client.completions.create(model="echo", prompt=["ab", "ab"], n=2, max_tokens=1)
    unseeded = [(m.params.seed, m.choice) for m in engine.received if type(m).__name__ == "Generate"]  # type: ignore[union-attr]
    assert len(set(unseeded)) == 4
    engine.received.clear()
    client.completions.create(model="echo", prompt="ab", n=2, max_tokens=1, seed=7)
    seeded = [(m.params.seed, m.choice) for m in engine.received if type(m).__name__ == "Generate"]  # type: ignore[union-attr]
    assert seeded == [(7, 0), (7, 1)]


def test_best_of_returns_n(client: openai.OpenAI, engine: FakeEngine) -> None:
    """The fake's later choices are the likelier."""
    reply = client.completions.create(model="echo", prompt="ab", n=2, best_of=4, max_tokens=2)
    assert len(engine.wait_for(wire.Generate, 4)) == 4
    assert len(reply.choices) == 2 and reply.choices[0].logprobs is None
    assert reply.usage is not None and reply.usage.completion_tokens == 8
    told = client.completions.create(model="echo", prompt="ab", n=2, best_of=4, max_tokens=2, logprobs=0)
    first = [choice.logprobs.token_logprobs[0] for choice in told.choices]  # type: ignore[union-attr,index]
    assert first == pytest.approx([-0.1 / 4, -0.1 / 3])


def test_tokens_of_one_text_keep_their_names_apart() -> None:
    """Characters of ASCII have a token beside that of their byte."""
    tokenizer = train(["aAbB"], "char", 300)
    letter = tokenizer.encode("A")[0]
    byte = next(i for i in range(tokenizer.vocab_size) if i != letter and tokenizer.join([i]) == b"A")
    high = next(i for i in range(tokenizer.vocab_size) if tokenizer.join([i]) == b"\xf0")
    assert names_of([letter, byte, high], tokenizer) == ["A", f"token_id:{byte}", "bytes:\\xf0"]


def test_logprobs(client: openai.OpenAI) -> None:
    said = client.completions.create(model="echo", prompt="abc", max_tokens=3, logprobs=2).choices[0]
    assert said.logprobs is not None
    assert said.logprobs.tokens == ["a", "b", "c"]
    assert said.logprobs.token_logprobs == pytest.approx([-0.1] * 3)
    assert said.logprobs.text_offset == [0, 1, 2]
    assert said.logprobs.top_logprobs is not None and len(said.logprobs.top_logprobs[0]) == 2
    none = client.completions.create(model="echo", prompt="abc", max_tokens=1, logprobs=0).choices[0]
    assert none.logprobs is not None and list((none.logprobs.top_logprobs or [])[0]) == ["a"]


def test_logprobs_of_a_stream_are_those_of_the_whole(client: openai.OpenAI) -> None:
    arguments: dict[str, Any] = {"model": "echo", "prompt": "abcd", "max_tokens": 6, "logprobs": 1, "echo": True}
    whole = client.completions.create(**arguments).choices[0]
    assert whole.text == "abcdabcdab" and whole.logprobs is not None
    assert whole.logprobs.tokens == list("abcdabcdab") and whole.logprobs.token_logprobs[0] is None  # type: ignore[index]
    tokens: list[str] = []
    offsets: list[int] = []
    text = ""
    for chunk in client.completions.create(**arguments, stream=True):
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            tokens += chunk.choices[0].logprobs.tokens or []
            offsets += chunk.choices[0].logprobs.text_offset or []
    assert text == whole.text and tokens == whole.logprobs.tokens and offsets == whole.logprobs.text_offset


def test_echo(client: openai.OpenAI) -> None:
    assert client.completions.create(model="echo", prompt="abc", max_tokens=2, echo=True).choices[0].text == "abcab"
    chunks = client.completions.create(model="echo", prompt=["ab", "cd"], max_tokens=1, echo=True, stream=True)
    texts = {0: "", 1: ""}
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {0: "aba", 1: "cdc"}


def test_scoring_a_prompt(client: openai.OpenAI) -> None:
    said = client.completions.create(model="echo", prompt="abc", max_tokens=0, echo=True, logprobs=1).choices[0]
    assert said.text == "abc" and said.logprobs is not None and said.logprobs.tokens == ["a", "b", "c"]


def test_prompt_logprobs_and_token_ids(client: openai.OpenAI) -> None:
    ids = byte_tokenizer().encode("ab")
    extra = {"prompt_logprobs": 1, "return_token_ids": True}
    said = client.completions.create(model="echo", prompt="ab", max_tokens=2, extra_body=extra).choices[0]
    report = said.prompt_logprobs  # type: ignore[attr-defined]
    assert report[0] is None and report[1][str(ids[1])]["decoded_token"] == "b"
    assert said.token_ids == ids and said.prompt_token_ids == ids  # type: ignore[attr-defined]


def test_over_long_prompts(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", prompt="x" * 65, max_tokens=2)
    assert refused.value.code == "context_length_exceeded" and refused.value.param == "prompt"
    reply = client.completions.create(
        model="echo", prompt="a" * 65 + "bc", max_tokens=3, extra_body={"truncate_prompt_tokens": 2}
    )
    assert reply.choices[0].text == "bcb" and reply.usage is not None and reply.usage.prompt_tokens == 2
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", prompt="a", extra_body={"truncate_prompt_tokens": 65})
    assert refused.value.param == "truncate_prompt_tokens"


def test_a_prompt_that_is_cut_to_the_context_leaves_room_for_its_continuation(
    client: openai.OpenAI, shelf: Shelf
) -> None:
    shelf.generator("shared", architecture="transformer", heads=2)

    def cut(model: str, max_tokens: int) -> int:
        options = {"max_tokens": max_tokens, "extra_body": {"truncate_prompt_tokens": -1}}
        usage = client.completions.create(model=model, prompt="a" * 100, **options).usage  # type: ignore[call-overload]
        return int(usage.prompt_tokens)

    assert (cut("shared", 10), cut("shared", 63), cut("echo", 10)) == (54, 1, 64)
    with pytest.raises(openai.BadRequestError) as refused:
        cut("shared", 64)
    assert refused.value.param == "max_tokens"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 10**9}, "n"),
    ({"n": 2, "best_of": 1}, "best_of"),
    ({"best_of": 10**9}, "best_of"),
    ({"max_tokens": 10**12}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": "x" * 1025}, "stop"),
    ({"stop": ""}, "stop"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias[...]"),
    ({"logit_bias": {"999999": 1}}, "logit_bias"),
    ({"stop_token_ids": [999999]}, "stop_token_ids"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": ["x"] * 1025}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [10**6]}, "prompt"),
    ({"prompt": [1, "x"]}, "prompt[0]"),
    ({"prompt": None}, "prompt"),
    ({"logprobs": 21}, "logprobs"),
    ({"temperature": 1e308}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"seed": 2**64}, "seed"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "best_of": 2}, "best_of"),
    ({"suffix": "x"}, "suffix"),
    ({"temprature": 1}, "temprature"),
    ({"priority": 3}, "priority"),
    ({"stream": True, "stream_options": {"include_usages": True}}, "stream_options.include_usages"),
]


def test_impossible_requests(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        for change, param in BAD:
            reply = http.post("/v1/completions", json={"model": "echo", "prompt": "ab", **change})
            assert reply.status_code == 400, (change, reply.text)
            error = reply.json()["error"]
            assert (error["param"], error["type"]) == (param, "invalid_request_error"), error
        assert http.post("/v1/completions", json={"model": "echo", "prompt": "ab"}).status_code == 200


def test_what_is_no_json(api: Api, client: openai.OpenAI) -> None:
    texts = ['{"model":"echo","prompt":"a","temperature":NaN}', '{"temperature":1e999}', "{", "[]", "", "[" * 100_000]
    texts.append('{"prompt":' + "[" * 100_000)
    with api.client() as http:
        for text in texts:
            reply = http.post("/v1/completions", content=text, headers={"content-type": "application/json"})
            assert reply.status_code == 400 and reply.json()["error"]["message"], text[:40]
        for content in (b"\xff", b'{"model": "echo", "prompt": "\xff"}', b'{"model": "echo", "prompt": "\\ud800"}'):
            assert http.post("/v1/completions", content=content).status_code == 400
        for kind in ("application/x-python-pickle", "application/vnd.bentoml+pickle", "text/plain"):
            reply = http.post("/v1/completions", content=b"{}", headers={"content-type": kind})
            assert reply.status_code == 415, kind


def test_unknown_field_names_the_nearest(api: Api, client: openai.OpenAI) -> None:
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "echo", "prompt": "a", "max_token": 3})
    assert reply.json()["error"] == {
        "message": "unknown field 'max_token'; did you mean 'max_tokens'?",
        "type": "invalid_request_error",
        "param": "max_token",
        "code": "unknown_field",
    }
    with api.client() as http:
        inner = {"model": "echo", "prompt": "a", "stream": True, "stream_options": {"include_usag": True}}
        error = http.post("/v1/completions", json=inner).json()["error"]
    assert error["message"] == "unknown field 'stream_options.include_usag'; did you mean 'include_usage'?"
    assert error["param"] == "stream_options.include_usag"


def test_models_of_the_wrong_kind(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="nobody", prompt="a")
    assert missing.value.code == "model_not_found" and missing.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="mood", prompt="a")
    assert wrong.value.code == "wrong_task"


def test_a_transformer_shares_its_context(api: Api, shelf: Shelf) -> None:
    shelf.generator("gpt", architecture="transformer", heads=2)
    with api.client() as http:
        reply = http.post("/v1/completions", json={"model": "gpt", "prompt": "a" * 60, "max_tokens": 5})
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"
        reply = http.post("/v1/completions", json={"model": "gpt", "prompt": "a" * 60, "max_tokens": 4})
        assert reply.status_code == 200


def test_deadline_before_and_after_the_first_byte(api: Api, client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.hold_after = 3
    body = {"model": "echo", "prompt": "abc", "max_tokens": 30}
    with api.client() as http:
        reply = http.post("/v1/completions", json=body, headers={"x-request-timeout-ms": "100"})
        assert reply.status_code == 504 and reply.json()["error"]["code"] == "deadline_exceeded"
        for limit in ("1000", "8000"):  # long enough for a first token, also where the machine stood still
            headers = {"x-request-timeout-ms": limit}
            reply = http.post("/v1/completions", json={**body, "stream": True}, headers=headers)
            if reply.status_code == 200:
                break
        assert reply.status_code == 200
        *_, error, done = [line for line in reply.text.split("\n\n") if line]
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        assert done == "data: [DONE]"
        assert http.post("/v1/completions", json=body, headers={"x-request-timeout-ms": "soon"}).status_code == 400
    wait_until(lambda: engine.running == 0)


def test_what_the_engine_refuses_is_no_broken_stream(api: Api, client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.refuse_requests = ("out_of_memory", "no place")
    with pytest.raises(openai.InternalServerError) as refused:
        list(client.completions.create(model="echo", prompt="a", stream=True))
    assert refused.value.status_code == 503 and refused.value.code == "out_of_memory"
    assert httpx.get(f"{api.url}/livez", timeout=60).status_code == 200
