"""Options of completions on an API with a real engine, compared with the output of the network."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.api.real import Real

PROMPT = "once upon"
NETWORKS = {"teller": "lstm", "weaver": "transformer"}
STREAMED = {**NETWORKS, "chanter": "rnn", "singer": "gru"}


@pytest.fixture(params=NETWORKS)
def model(real: Real, request: pytest.FixtureRequest) -> str:
    real.serve(request.param, NETWORKS[request.param])
    return str(request.param)


@pytest.fixture
def client(real: Real) -> Any:
    with real.api.client() as http:
        yield http


def complete(client: httpx.Client, model: str, **options: Any) -> dict[str, Any]:
    body = {"model": model, "prompt": PROMPT, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    reply = client.post("/v1/completions", json={**body, **options})
    assert reply.status_code == 200, reply.text
    whole: dict[str, Any] = reply.json()
    return whole


def chunks(client: httpx.Client, model: str, **options: Any) -> list[dict[str, Any]]:
    body = {"model": model, "prompt": PROMPT, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    reply = client.post("/v1/completions", json={**body, "stream": True, **options})
    assert reply.status_code == 200, reply.text
    *events, done = [event for event in reply.text.split("\n\n") if event]
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def mean(real: Real, model: str, prompt: list[int], ids: list[int]) -> float:
    """The mean log-probability of `ids` after `prompt`, computed from the network's logits."""
    logprobs_TV = real.logprobs(model, prompt + ids)
    return sum(float(logprobs_TV[len(prompt) - 1 + i, id_]) for i, id_ in enumerate(ids)) / len(ids)


# --- several choices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_best_of_returns_the_most_likely_in_order(real: Real, client: httpx.Client, model: str, seed: int) -> None:
    options = {"max_tokens": 6, "temperature": 1.3, "seed": seed}
    candidates = [choice["token_ids"] for choice in complete(client, model, n=6, **options)["choices"]]
    prompt = real.tokenizers[model].encode(PROMPT)
    likelihoods = [mean(real, model, prompt, ids) for ids in candidates]
    ranked = sorted(range(6), key=likelihoods.__getitem__, reverse=True)
    assert ranked[:3] != [0, 1, 2]  # otherwise the test would pass without any ranking
    best = complete(client, model, n=3, best_of=6, **options)
    assert [choice["token_ids"] for choice in best["choices"]] == [candidates[i] for i in ranked[:3]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1, 2]
    assert all(choice["logprobs"] is None for choice in best["choices"])
    assert best["usage"]["completion_tokens"] == 36  # all continuations are counted, also those that are not returned


def test_the_token_that_ends_a_continuation_counts_in_its_likelihood(
    real: Real, client: httpx.Client, model: str
) -> None:
    """If that token did not count, a continuation that ends immediately would always be the best."""
    prompt = real.tokenizers[model].encode(PROMPT)
    options = {"max_tokens": 1, "temperature": 1.5, "seed": 5}
    sampled = [choice["token_ids"][0] for choice in complete(client, model, n=16, **options)["choices"]]
    ranked = sorted(set(sampled), key=lambda id_: mean(real, model, prompt, [id_]), reverse=True)
    assert len(ranked) > 2
    for stops in (ranked[1:], ranked[:-1]):
        best = complete(client, model, n=1, best_of=16, stop_token_ids=stops, **options)["choices"][0]
        assert (best["stop_reason"] or best["token_ids"][0]) == ranked[0]


def test_choices_differ_from_each_other_and_repeat_with_the_seed(client: httpx.Client, model: str) -> None:
    options = {"max_tokens": 8, "temperature": 1.0, "seed": 11}
    several = [choice["token_ids"] for choice in complete(client, model, n=4, **options)["choices"]]
    assert len({tuple(ids) for ids in several}) == 4
    again = complete(client, model, n=4, prompt=[PROMPT, "x"], **options)["choices"]
    assert [choice["token_ids"] for choice in again[:4]] == several
    assert complete(client, model, **options)["choices"][0]["token_ids"] == several[0]


# --- log-probabilities ------------------------------------------------------------------------------------------


def test_echo_with_logprobs_is_one_parallel_pass(real: Real, client: httpx.Client, model: str) -> None:
    choice = complete(client, model, max_tokens=5, echo=True, logprobs=3)["choices"][0]
    ids = choice["prompt_token_ids"] + choice["token_ids"]
    logprobs_TV = real.logprobs(model, ids)
    report = choice["logprobs"]
    assert report["token_logprobs"][0] is None and report["top_logprobs"][0] is None
    for i, id_ in enumerate(ids[1:]):
        assert report["token_logprobs"][i + 1] == pytest.approx(float(logprobs_TV[i, id_]), abs=1e-4)
        best = logprobs_TV[i].topk(3).values.tolist()
        assert sorted(report["top_logprobs"][i + 1].values(), reverse=True)[:3] == pytest.approx(best, abs=1e-4)
    assert choice["text"].startswith(PROMPT) and len(report["tokens"]) == len(ids)


def test_max_tokens_zero_scores_the_prompt_and_generates_nothing(real: Real, client: httpx.Client, model: str) -> None:
    for options in ({}, {"logprobs": 1}):
        whole = complete(client, model, max_tokens=0, echo=True, **options)
        choice = whole["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["token_ids"]) == (PROMPT, "length", [])
        assert whole["usage"]["completion_tokens"] == 0
        assert choice["logprobs"] is None or len(choice["logprobs"]["tokens"]) == len(PROMPT)
        *_, last = parts = chunks(client, model, max_tokens=0, echo=True, **options)
        assert "".join(part["choices"][0]["text"] for part in parts) == PROMPT
        assert last["choices"][0]["finish_reason"] == "length"
    context = real.networks[model].config.context_length
    full = complete(client, model, prompt="x" * context, max_tokens=0, echo=True, logprobs=0)["choices"][0]
    logprobs_TV = real.logprobs(model, full["prompt_token_ids"])
    scored = [float(logprobs_TV[i, id_]) for i, id_ in enumerate(full["prompt_token_ids"][1:])]
    assert full["logprobs"]["token_logprobs"][1:] == pytest.approx(scored, abs=1e-4)


def test_prompt_logprobs_report_the_rank_of_every_token(real: Real, client: httpx.Client, model: str) -> None:
    choice = complete(client, model, max_tokens=1, prompt_logprobs=2)["choices"][0]
    ids, report = choice["prompt_token_ids"], choice["prompt_logprobs"]
    logprobs_TV = real.logprobs(model, ids)
    assert report[0] is None
    outside = 0
    for i, id_ in enumerate(ids[1:]):
        order = logprobs_TV[i].argsort(descending=True).tolist()
        entry = report[i + 1][str(id_)]
        assert entry["rank"] == order.index(id_) + 1 and entry["decoded_token"] == PROMPT[i + 1]
        assert entry["logprob"] == pytest.approx(float(logprobs_TV[i, id_]), abs=1e-4)
        assert {str(other) for other in order[:2]} <= set(report[i + 1])
        outside += entry["rank"] > 2
    assert outside


@pytest.mark.parametrize("text", ["a世🎵b", "Grüße 👩‍🚀", "日本語", "\U0001f600"])
def test_text_offsets_count_characters_of_the_reply(client: httpx.Client, model: str, text: str) -> None:
    choice = complete(client, model, prompt=text, max_tokens=12, echo=True, logprobs=4)["choices"][0]
    report = choice["logprobs"]
    echoed = [i for i, character in enumerate(text) for _ in character.encode()]
    assert report["text_offset"][: len(echoed)] == echoed
    pieces = [byte_of(name) for name in report["tokens"][len(echoed) :]]
    decoded, characters = characters_of(b"".join(pieces))
    assert choice["text"] == text + decoded
    offsets = [offset for offset, piece in zip(report["text_offset"][len(echoed) :], pieces, strict=True) if piece]
    assert offsets == [len(text) + place for place in characters]


def byte_of(name: str) -> bytes:
    """The byte of the byte tokenizer's token with this name, or an empty string for a special token."""
    if name.startswith("bytes:"):
        return bytes.fromhex(name.removeprefix("bytes:\\x"))
    return b"" if name in ("<pad>", "<eos>", "<sep>") else name.encode()


def characters_of(data: bytes) -> tuple[str, list[int]]:
    """The text of bytes, and for each byte the index of its character. Invalid bytes become one U+FFFD per sequence."""
    broken: list[tuple[int, int]] = []

    def replace_invalid(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        broken.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("replace_invalid", replace_invalid)
    text, sizes, place = data.decode("utf-8", "replace_invalid"), [], 0
    for character in text:
        size = next((end - start for start, end in broken if start == place), len(character.encode()))
        sizes.append(size)
        place += size
    return text, [i for i, size in enumerate(sizes) for _ in range(size)]


def test_tokens_of_invalid_bytes_have_different_names(real: Real, client: httpx.Client, model: str) -> None:
    choice = complete(client, model, prompt="世界", max_tokens=8, logprobs=20, echo=True)["choices"][0]
    logprobs_TV = real.logprobs(model, choice["prompt_token_ids"] + choice["token_ids"])
    broken = 0
    for i, top in enumerate(choice["logprobs"]["top_logprobs"][1:]):
        assert sorted(top.values(), reverse=True)[:20] == pytest.approx(
            logprobs_TV[i].topk(20).values.tolist(), abs=1e-4
        )
        assert choice["logprobs"]["tokens"][i + 1] in top
        broken = max(broken, sum(name.startswith("bytes:") for name in top))
    assert broken > 1
    assert choice["logprobs"]["tokens"][:3] == ["bytes:\\xe4", "bytes:\\xb8", "bytes:\\x96"]


# --- ends -------------------------------------------------------------------------------------------------------


def readable(real: Real, client: httpx.Client, model: str) -> dict[str, Any]:
    """Options whose continuation consists only of letters, so that a stop string can be chosen from it, and its
    `text`."""
    bias = {str(real.tokenizers[model].encode(letter)[0]): 60 for letter in "abcdef"}
    options = {"logit_bias": bias, "temperature": 1.0, "seed": 4, "max_tokens": 20}
    text = complete(client, model, **options)["choices"][0]["text"]
    assert set(text) <= set("abcdef") and len(set(text)) > 2 and len(text) == 20
    return {**options, "text": text}


def test_a_stop_string_is_cut_off_unless_it_is_to_stay(real: Real, client: httpx.Client, model: str) -> None:
    options = readable(real, client, model)
    text = options.pop("text")
    stop = text[7:10]
    place = text.index(stop)
    for include, kept in ((False, text[:place]), (True, text[: place + 3])):
        options["include_stop_str_in_output"] = include
        whole = complete(client, model, stop=[stop, "zzz"], **options)
        choice = whole["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (kept, "stop", stop)
        assert whole["usage"]["completion_tokens"] == place + 3 == len(choice["token_ids"])
        streamed = chunks(client, model, stop=[stop, "zzz"], **options)
        assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == kept


def test_a_stop_token_is_cut_off_unless_it_is_to_stay(real: Real, client: httpx.Client, model: str) -> None:
    options = readable(real, client, model)
    text = options.pop("text")
    stop = real.tokenizers[model].encode(text[9])[0]
    place = text.index(text[9])
    for include, kept in ((False, text[:place]), (True, text[: place + 1])):
        options["include_stop_str_in_output"] = include
        whole = complete(client, model, stop_token_ids=[stop], **options)
        choice = whole["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (kept, "stop", stop)
        assert whole["usage"]["completion_tokens"] == place + 1


def test_stop_strings_within_min_tokens_do_not_end_the_text(real: Real, client: httpx.Client, model: str) -> None:
    options = readable(real, client, model)
    text = options.pop("text")
    stop = text[2]
    for least in range(20):
        place = text.find(stop, least)
        choice = complete(client, model, stop=stop, min_tokens=least, **options)["choices"][0]
        expected = (text[:place], "stop", stop) if place >= 0 else (text, "length", None)
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == expected, least


def test_stop_tokens_within_min_tokens_are_not_chosen(real: Real, client: httpx.Client, model: str) -> None:
    ids = complete(client, model, max_tokens=6)["choices"][0]["token_ids"]
    choice = complete(client, model, max_tokens=6, stop_token_ids=ids[:1], min_tokens=3)["choices"][0]
    assert len(choice["token_ids"]) >= 3 and ids[0] not in choice["token_ids"][:3]


# --- streams ----------------------------------------------------------------------------------------------------


def test_a_stream_sends_the_prompts_token_ids_first(client: httpx.Client, model: str) -> None:
    for options in ({}, {"echo": True}, {"logprobs": 1, "echo": True}):
        parts = chunks(client, model, prompt=["ab", "c"], n=2, max_tokens=3, **options)
        whole = complete(client, model, prompt=["ab", "c"], n=2, max_tokens=3, **options)["choices"]
        for index, choice in enumerate(whole):
            mine = [c for chunk in parts for c in chunk["choices"] if c["index"] == index]
            assert [c.get("prompt_token_ids") for c in mine] == [choice["prompt_token_ids"]] + [None] * (len(mine) - 1)
            assert [i for c in mine for i in c["token_ids"]] == choice["token_ids"]


def test_continuous_usage_is_sent_with_every_chunk(client: httpx.Client, model: str) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    parts = chunks(client, model, max_tokens=4, stream_options=options, return_token_ids=False)
    counts = [chunk["usage"]["completion_tokens"] for chunk in parts]
    assert counts == sorted(counts) and counts[-1] == 4 and counts[0] < 4
    assert parts[-1]["choices"] == [] and all(chunk["choices"] for chunk in parts[:-1])
    assert all(chunk["usage"]["prompt_tokens"] == len(PROMPT) for chunk in parts)
    plain = chunks(client, model, max_tokens=4, stream_options={"continuous_usage_stats": True})
    assert all(chunk["usage"] is None for chunk in plain)


OPTIONS = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["a", "世界", ["ab", "c🎵"], [[1, 5, 9], [200, 7]]]),
        "max_tokens": st.sampled_from([1, 2, 7, 16]),
        "temperature": st.sampled_from([0, 0.7, 1.5]),
        "n": st.integers(1, 3),
        "seed": st.integers(0, 50),
        "ignore_eos": st.booleans(),
    },
    optional={
        "echo": st.booleans(),
        "logprobs": st.integers(0, 5),
        "prompt_logprobs": st.integers(0, 3),
        "stop": st.sampled_from(["a", ["\ufffd", "q"], "\ufffd\ufffd"]),
        "stop_token_ids": st.lists(st.integers(3, 258), max_size=20),
        "include_stop_str_in_output": st.booleans(),
        "min_tokens": st.sampled_from([0, 1]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
    },
)


@pytest.mark.parametrize(("name", "architecture"), STREAMED.items())
@given(options=OPTIONS, nothing=st.booleans())
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_stream_equals_the_whole_reply(
    client: httpx.Client, real: Real, name: str, architecture: str, options: dict[str, Any], nothing: bool
) -> None:
    real.serve(name, architecture)
    if nothing and options.get("echo"):
        options |= {"max_tokens": 0, "min_tokens": 0}
    whole = complete(client, name, **options)
    parts = chunks(client, name, stream_options={"include_usage": True}, **options)
    assert parts[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [c for chunk in parts for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in mine) == choice["text"]
        ends = [(c["finish_reason"], c["stop_reason"]) for c in mine]
        assert ends == [(None, None)] * (len(mine) - 1) + [(choice["finish_reason"], choice["stop_reason"])]
        assert [i for c in mine for i in c["token_ids"]] == choice["token_ids"]
        reports = [c["logprobs"] for c in mine if c["logprobs"]]
        joined = (
            {key: [value for report in reports for value in report[key]] for key in reports[0]} if reports else None
        )
        assert flat(joined) == pytest.approx(flat(choice["logprobs"]), abs=1e-4)
        prompts = [c["prompt_logprobs"] for c in mine if c.get("prompt_logprobs")]
        expected = [choice["prompt_logprobs"]] if choice.get("prompt_logprobs") else []
        assert flat(prompts) == pytest.approx(flat(expected), abs=1e-4)


@pytest.mark.parametrize(("name", "architecture"), STREAMED.items())
def test_a_stop_string_of_characters_of_several_tokens_ends_streams_too(
    client: httpx.Client, real: Real, name: str, architecture: str
) -> None:
    """The sampled bytes form characters of two bytes, single letters, and bytes that are not part of any character."""
    real.serve(name, architecture)
    likely = {str(id_): 60 for id_ in real.tokenizers[name].encode("üa")}
    stopped = 0
    for seed in range(8):
        options = {"logit_bias": likely, "temperature": 1.0, "seed": seed, "max_tokens": 24}
        text = complete(client, name, **options)["choices"][0]["text"]
        place = text.find("ü", 4)
        if place < 0 or text.index(text[place - 1 : place + 1]) != place - 1:
            continue
        stopped += 1
        options["stop"] = [text[place - 1 : place + 1], "ü never"]
        choice = complete(client, name, **options)["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == (text[: place - 1], "stop")
        streamed = chunks(client, name, **options)
        assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == choice["text"]
        assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    assert stopped >= 2


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """The leaves of a JSON value, by path. Numbers depend on the batch, so they must be compared approximately."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, part in items for key, leaf in flat(part, f"{place}/{name}").items()}
    return {place: value}
