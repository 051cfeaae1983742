"""Versions with one base share its network as soon as two of them are loaded, and answer as merged networks do."""

from __future__ import annotations

import gc
import json
import random
import shutil
import struct
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import ADAPTER, PREFIX
from app.checkpoint.directory import WEIGHTS
from app.engine import loading, sharing, version
from app.engine.host import EngineHost
from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.scorer import BACKGROUND_ROWS, steps_of
from app.engine.shared_scorer import SharedScorer
from app.engine.sharing import Sharing
from app.wire import engine as wire
from app.wire.modes import ModeChoice
from models.adapters import DOWN, UP
from tests.checkpoints import make_adapter
from tests.engine import builders as b
from tests.engine.test_host import Immediate, Replies

NUMBERS = count()
LIMITS = StepLimits(4096, 4, 16, prefixes=2**24)
HEAD = ("head.weight", "head.bias")


def load_message(directory: Path) -> wire.Load:
    manifest = checkpoint.manifest(directory)
    files = {name: entry.sha256 for name, entry in manifest.items()}
    return wire.Load(checkpoint.digest(manifest), str(directory), files, f"{directory.name}:1")


def family(folder: Path, adapters: int = 3, rank: int = 0, extra: Any = None, **options: Any) -> list[wire.Load]:
    """The messages for loading a base and its adapters, every other one of which has its own head.

    Without a `rank`, each adapter has another rank. `extra` contains fields of config.json.
    """
    shape = b.config("transformer", **{"task": "classification", **options})
    _, base = b.write_checkpoint(folder / "base", shape, **extra or {})
    messages = [base]
    for i in range(adapters):
        replaced = HEAD if i % 2 and shape.task != "generation" else ()
        directory = make_adapter(folder / "base", folder / f"adapter{i}", r=rank or 2 + i, seed=i, replaced=replaced)
        messages.append(load_message(directory))
    return messages


class Engine:
    """An engine that loads versions at once."""

    def __init__(self, *messages: wire.Load, limits: StepLimits = LIMITS) -> None:
        self.replies = Replies()
        self.loader = Immediate()
        self.host = EngineHost(limits, self.loader, self.replies)
        self.load(*messages)

    def load(self, *messages: wire.Load) -> None:
        for message in messages:
            self.host.receive(b.PEER, message)
            self.host.collect_loads()
            (loaded,) = self.replies.all.pop(message.digest)
            assert isinstance(loaded, wire.Loaded), loaded

    def unload(self, message: wire.Load) -> None:
        self.host.receive(b.PEER, wire.Unload(message.digest))

    def network(self, message: wire.Load) -> LoadedNetwork:
        return self.host.versions[message.digest].loaded

    def run(self) -> None:
        b.run_ready(self.host)

    def answer(self, request: Any) -> Any:
        self.host.receive(b.PEER, request)
        self.run()
        return self.replies.final(request.id)

    def tokens(self, request: wire.Generate) -> list[int]:
        assert isinstance(self.answer(request), wire.Finished)
        return self.replies.tokens(request.id)


def shares(engine: Engine, *messages: wire.Load) -> bool:
    """Whether all of these versions share one base."""
    bases = {engine.network(message).shared for message in messages}
    return len(bases) == 1 and None not in bases


def rows(seed: int, count: int, shortest: int = 1) -> list[list[int]]:
    draw = random.Random(seed)
    return [draw.choices(range(b.VOCABULARY), k=draw.randint(shortest, b.CONTEXT)) for _ in range(count)]


def generate(message: wire.Load, id: str, prompt: list[int], **options: Any) -> wire.Generate:
    params = wire.SamplingParams(temperature=0.0, **{"max_tokens": 6, **options})
    return wire.Generate(id, message.digest, "p", prompt, params)


def assert_near(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.tensor(actual), torch.tensor(expected), atol=2e-4, rtol=2e-4)


def test_a_version_is_merged_until_another_one_of_its_base_is_loaded(tmp_path: Path) -> None:
    base, one, two, three = family(tmp_path)
    engine = Engine(one)
    assert engine.network(one).shared is None and engine.network(one).adapter is None
    engine.load(two)
    assert shares(engine, one, two)
    engine.load(base)
    assert shares(engine, base, one, two)
    engine.load(three)
    assert shares(engine, base, one, two, three)
    engine.unload(one)
    engine.unload(base)
    assert set(engine.host.versions) == {two.digest, three.digest} and shares(engine, two, three)
    engine.load(base)
    assert shares(engine, base, two, three)


@pytest.mark.parametrize("kind", [wire.Score, wire.Embed])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"task": "multilabel"}, {"task": "regression", "classes": 1}, {"output_norm": "steps"},
        {"head_widths": (6,), "output_norm": "pooled", "output_activation": "relu"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "plain",
)  # fmt: skip
def test_requests_to_all_versions_are_computed_in_one_batch(
    tmp_path: Path, kind: type[wire.Score | wire.Embed], options: dict[str, Any]
) -> None:
    messages = family(tmp_path, **options)
    engine = Engine(*messages)
    texts = [(message, rows(seed, 3, b.CONTEXT - 5)) for seed, message in enumerate(messages)]
    for message, sequences in texts:
        engine.host.receive(b.PEER, kind(message.digest, message.digest, "p", sequences))
    assert all(engine.host.versions[message.digest].status().waiting == 1 for message in messages)
    engine.run()
    assert engine.host.counters["batches"] == 1 and engine.host.counters["batch_sequences"] == 3 * len(messages)
    for message, sequences in texts:
        assert_near(
            engine.replies.final(message.digest).scores,
            Engine(message).answer(kind("x", message.digest, "p", sequences)).scores,
        )
        work = engine.host.versions[message.digest].status().work
        assert (work.requests, work.rows, work.prompt_tokens) == (1, 3, sum(map(len, sequences)))


def test_a_classifier_shares_the_body_of_a_base_that_only_computes_embeddings(tmp_path: Path) -> None:
    classifier, *_ = family(tmp_path, 0)
    weights = load_file(Path(classifier.directory) / "model.safetensors")
    body = {name: tensor for name, tensor in weights.items() if name not in HEAD}
    base = Path(shutil.copytree(classifier.directory, tmp_path / "vectors"))
    raw = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(raw | {"task": "embedding", "classes": 0}))
    (base / "labels.json").unlink()
    save_file(body, base / "model.safetensors")
    adapter = make_adapter(base, tmp_path / "adapter", 3)
    own = json.loads((adapter / "config.json").read_text()) | {"task": "classification", "classes": 3}
    (adapter / "config.json").write_text(json.dumps(own))
    shutil.copy(Path(classifier.directory) / "labels.json", adapter)
    matrices = load_file(adapter / ADAPTER) | {PREFIX + name: weights[name] for name in HEAD}
    save_file(matrices, adapter / ADAPTER)
    messages = vectors, labels = load_message(base), load_message(adapter)
    engine = Engine(*messages)
    assert shares(engine, *messages)
    for message, kind in ((vectors, wire.Embed), (labels, wire.Embed), (labels, wire.Score)):
        expected = Engine(message).answer(kind("x", message.digest, "p", rows(1, 3)))
        actual = engine.answer(kind(f"{message.name}-{kind}", message.digest, "p", rows(1, 3)))
        assert_near(actual.scores, expected.scores)
    assert isinstance(engine.answer(wire.Score("y", vectors.digest, "p", rows(1, 3))), wire.Failed)


def test_numeric_sequences_are_scored_together(tmp_path: Path) -> None:
    messages = family(tmp_path, input="features", extra={"normalization": {"mean": [1.0] * 3, "std": [2.0] * 3}})
    engine, draw = Engine(*messages), random.Random(0)
    values = [[draw.gauss(0, 1) for _ in range(3 * steps)] for steps in (5, 9)]
    sequences = [wire.FeatureSequence(len(v) // 3, 3, struct.pack(f"<{len(v)}f", *v)) for v in values]
    for message in messages:
        request = wire.Score(message.name, message.digest, "p", features=sequences)
        assert_near(engine.answer(request).scores, Engine(message).answer(request).scores)
    assert shares(engine, *messages)


def test_batches_contain_rows_of_all_lengths_but_no_background_rows(tmp_path: Path) -> None:
    messages = family(tmp_path)
    engine = Engine(*messages)
    part = engine.host.versions[messages[0].digest].parts[wire.Score]
    assert isinstance(part, SharedScorer)
    for message in messages:
        texts = [[1] * length for length in range(1, b.CONTEXT, 4)]
        engine.host.receive(b.PEER, wire.Score(message.name, message.digest, "p", texts))
        engine.host.receive(b.PEER, wire.Score(f"{message.name} later", message.digest, "p", texts, background=True))
    batch = part.take()
    rows_of_all = 4 * len(range(1, b.CONTEXT, 4))
    assert len(batch) == rows_of_all and not any("later" in item.request.id for item in batch)
    order = [(item.request.member.digest, len(item.row)) for item in batch if isinstance(item.row, list)]
    assert order == sorted(order) and len(order) == rows_of_all
    assert len(part.take()) <= BACKGROUND_ROWS


def test_the_padding_of_a_batch_of_several_versions_is_limited(tmp_path: Path) -> None:
    messages = family(tmp_path)
    engine = Engine(*messages, limits=StepLimits(256, 4, 16))
    part = engine.host.versions[messages[0].digest].parts[wire.Score]
    for message in messages:
        texts = [*([[1]] * 20), [1] * b.CONTEXT, [1] * 20]
        engine.host.receive(b.PEER, wire.Score(message.name, message.digest, "p", texts))
    assert isinstance(part, SharedScorer)
    sizes = []
    while batch := part.take():
        sizes.append(len(batch) * max(steps_of(item.row) for item in batch))
    assert max(sizes) <= 256 and len(sizes) < 4 * 3  # versions are still computed together


def test_a_request_to_one_version_does_not_wait_for_all_those_to_another(tmp_path: Path) -> None:
    _, one, two, _ = family(tmp_path)
    engine = Engine(one, two, limits=StepLimits(64, 4, 16))
    for number in range(50):
        engine.host.receive(b.PEER, wire.Score(f"{number}", one.digest, "p", [[1] * 40]))
    engine.host.receive(b.PEER, wire.Score("lone", two.digest, "p", [[1] * 20]))
    engine.host.step()
    engine.host.step()
    assert isinstance(engine.replies.final("lone"), wire.Scored)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[wire.Load], Engine, list[Engine]]:
    """Versions that generate text: in one engine, and each of them in its own engine."""
    messages = family(tmp_path_factory.mktemp("texts"), task="generation")
    return messages, Engine(*messages), [Engine(message) for message in messages]


MIX = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, b.VOCABULARY - 1), min_size=1, max_size=40)),
    min_size=1, max_size=8,
)  # fmt: skip


@given(mix=MIX)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sequences_of_all_versions_are_decoded_together(
    mix: list[tuple[int, list[int]]], texts: tuple[list[wire.Load], Engine, list[Engine]]
) -> None:
    messages, together, alone = texts
    requests = [
        generate(messages[which], f"{next(NUMBERS)}", prompt, logprobs=0, ignore_eos=True) for which, prompt in mix
    ]
    for request in requests:
        together.host.receive(b.PEER, request)
    together.run()
    for (which, _), request in zip(mix, requests, strict=True):
        tokens = alone[which].tokens(request)
        assert together.replies.tokens(request.id) == tokens
        assert_near(
            [report.logprob for report in together.replies.reports(request.id)],
            [report.logprob for report in alone[which].replies.reports(request.id)],
        )


def test_sequences_of_several_versions_share_decode_steps(tmp_path: Path) -> None:
    messages = family(tmp_path, task="generation")
    engine = Engine(*messages)
    for message in messages:
        engine.host.receive(b.PEER, generate(message, message.digest, [1, 2, 3], ignore_eos=True))
    engine.run()
    assert engine.host.counters["decode_calls"] == 5 and engine.host.counters["decode_rows"] == 20
    works = [engine.host.versions[message.digest].status().work for message in messages]
    amounts = [(work.requests, work.prompt_tokens, work.generated_tokens, work.rows) for work in works]
    assert amounts == [(1, 3, 6, 5)] * 4
    assert sum(work.calls for work in works) == 5


def test_cached_prefixes_belong_to_one_version(tmp_path: Path) -> None:
    messages = family(tmp_path, task="generation")
    engine, prompt = Engine(*messages), list(range(30))
    for message in messages:
        alone = Engine(message)
        for turn in ("first", "second"):
            request = generate(message, f"{message.name}-{turn}", prompt)
            assert engine.tokens(request) == alone.tokens(request)
            assert (engine.replies.final(request.id).cached_tokens > 0) == (turn == "second")
        assert engine.host.versions[message.digest].status().prefix_bytes > 0


def test_cached_prefixes_are_kept_when_a_replaced_network_is_unloaded(tmp_path: Path) -> None:
    _, one, two, _ = family(tmp_path, task="generation")
    engine, prompt = Engine(one), list(range(30))
    engine.host.receive(b.PEER, generate(one, "old", [1], max_tokens=40, ignore_eos=True))
    engine.host.step()
    engine.load(two)
    engine.host.receive(b.PEER, generate(one, "new", prompt, max_tokens=2))
    engine.run()
    assert not engine.host.loading._replaced
    assert engine.answer(generate(one, "next", prompt)).cached_tokens > 0
    engine.unload(one)
    assert engine.host.prefixes is not None and one.digest not in engine.host.prefixes.bytes


def test_open_requests_finish_with_the_network_with_which_they_began(tmp_path: Path) -> None:
    _, one, two, _ = family(tmp_path, task="generation")
    expected = Engine(one).tokens(generate(one, "x", [1, 2, 3], max_tokens=20, ignore_eos=True))
    engine = Engine(one)
    merged = engine.host.versions[one.digest]
    engine.host.receive(b.PEER, generate(one, "old", [1, 2, 3], max_tokens=20, ignore_eos=True))
    engine.host.step()
    engine.load(two)
    engine.host.receive(b.PEER, generate(one, "new", [1, 2, 3], max_tokens=20, ignore_eos=True))
    assert engine.host.versions[one.digest] is not merged and merged.busy
    assert engine.host.loading._replaced == [merged]
    status, shared = engine.host.statuses()[0], engine.network(one).shared
    assert (status.digest, status.running, status.waiting) == (one.digest, 1, 1)
    assert shared is not None
    own = sum(engine.network(message).nbytes for message in (one, two))
    assert engine.host.memory.bytes == merged.loaded.nbytes + shared.nbytes + own
    engine.run()
    assert engine.host.memory.bytes == shared.nbytes + own and engine.host.statuses()[0].running == 0
    assert engine.replies.tokens("old") == engine.replies.tokens("new") == expected
    assert not engine.host.loading._replaced
    assert engine.host.versions[one.digest].status().work.requests == 2  # the counters continue


def test_a_version_is_unloaded_while_others_of_its_base_are_busy(tmp_path: Path) -> None:
    messages = base, one, two, three = family(tmp_path, task="generation")
    engine = Engine(*messages)
    engine.host.receive(b.PEER, generate(one, "x", [1, 2], max_tokens=10, ignore_eos=True))
    engine.host.receive(b.PEER, generate(two, "y", [1, 2], max_tokens=20, ignore_eos=True))
    engine.host.step()
    for message in (base, one, three):
        engine.unload(message)
    assert set(engine.host.versions) == {one.digest, two.digest}  # `one` has an open request
    engine.run()
    assert set(engine.host.versions) == {two.digest}
    assert engine.replies.tokens("x") == Engine(one).tokens(generate(one, "x", [1, 2], max_tokens=10, ignore_eos=True))
    assert engine.replies.tokens("y") == Engine(two).tokens(generate(two, "y", [1, 2], max_tokens=20, ignore_eos=True))
    refused = engine.answer(generate(one, "z", [1, 2]))
    assert isinstance(refused, wire.Failed) and refused.code == "model_not_loaded"


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_eight_adapters_need_the_memory_of_about_one_base(tmp_path: Path, task: str) -> None:
    base, *adapters = family(tmp_path, 8, 1, task=task, width=64, vocab_size=300)
    alone = Engine(base).host.memory.bytes
    engine = Engine(*adapters)
    assert shares(engine, *adapters)
    assert alone < engine.host.memory.bytes < 1.3 * alone
    networks = [engine.network(message) for message in adapters]
    own = sum(network.nbytes for network in networks)
    shared = networks[0].shared
    assert shared is not None and engine.host.memory.bytes == own + shared.nbytes
    total = sum(status.bytes for status in engine.host.statuses())
    assert own + shared.nbytes - 8 < total <= own + shared.nbytes
    del networks, shared
    for message in adapters:
        engine.unload(message)
    gc.collect()
    sharing = _sharing(engine)
    assert engine.host.memory.bytes == 0 and not (sharing._bases or sharing._separate or sharing._sharing)


def sized(message: wire.Load) -> wire.Load:
    """A message that contains the size of the weights file, as those of the API do."""
    return msgspec.structs.replace(message, bytes=(Path(message.directory) / WEIGHTS).stat().st_size)


def test_a_further_adapter_does_not_evict_its_base(tmp_path: Path) -> None:
    _, one, two, three = map(sized, family(tmp_path, rank=1, width=64, vocab_size=300))
    engine = Engine(one, two)
    engine.host.memory.limit = engine.host.memory.bytes + one.bytes // 2
    engine.load(three)
    assert shares(engine, one, two, three) and "unloads" not in engine.host.counters


@pytest.mark.parametrize("required", [False, True])
def test_a_version_that_cannot_share_its_base_as_expected_needs_its_whole_size(tmp_path: Path, required: bool) -> None:
    _, one, two, three = map(sized, family(tmp_path, rank=1, width=64, vocab_size=300))
    large = sized(enlarged(three))
    engine = Engine(one, two)
    engine.host.memory.limit = engine.host.memory.bytes + one.bytes // 2
    engine.host.memory.required = frozenset([one.digest] if required else [])
    engine.host.receive(b.PEER, large)
    engine.host.collect_loads()
    (reply,) = engine.replies.all[large.digest]
    assert isinstance(reply, wire.LoadFailed if required else wire.Loaded)
    assert set(engine.host.versions) == {one.digest, two.digest} if required else {large.digest}
    assert engine.host.memory.bytes <= engine.host.memory.limit


def _sharing(engine: Engine) -> Sharing:
    return engine.loader._load.__self__  # type: ignore[no-any-return, attr-defined]


def test_what_differs_from_the_base_is_not_shared(tmp_path: Path) -> None:
    """An adapter with another body, other weights, equal weights without an adapter, and an invariant engine."""
    base, one, two, _ = family(tmp_path)
    other = load_message(make_adapter(tmp_path / "base", tmp_path / "c", 3, replaced=["body.norm.weight"]))
    engine = Engine(one, other)
    assert engine.network(one).shared is None and engine.network(other).shared is None
    shutil.copytree(tmp_path / "base", tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("the same weights")
    engine = Engine(base, copy := load_message(tmp_path / "copy"))
    assert engine.network(base).shared is None and engine.network(copy).shared is None
    engine.load(one)
    assert shares(engine, base, copy, one)
    separate = Sharing(b.CPU, torch.float32, enabled=False)
    assert [len(separate.load(message)) for message in (one, two)] == [1, 1]


def test_an_adapter_of_a_language_model_with_its_own_head_is_not_shared(tmp_path: Path) -> None:
    _, one, _, _ = family(tmp_path, task="generation")
    other = load_message(make_adapter(tmp_path / "base", tmp_path / "c", 3, replaced=["head.bias"]))
    engine = Engine(one, other)
    assert engine.network(one).shared is None and engine.network(other).shared is None


def test_versions_share_a_base_only_in_the_same_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, two, three = family(tmp_path)
    modes = {one.digest: "float32/torch", two.digest: "bfloat16/torch", three.digest: "bfloat16/torch"}

    def choose(source: Any, *_: object, shared: bool = False) -> ModeChoice:
        assert shared
        return ModeChoice(modes[source.message.digest], "")

    monkeypatch.setattr(sharing, "choose_mode", choose)
    engine = Engine(one, two, three)
    assert engine.network(one).shared is None and shares(engine, two, three)
    assert engine.host.versions[two.digest].status().dtype == "bfloat16"
    texts = rows(1, 4)
    expected = Engine(two).answer(wire.Score("x", two.digest, "p", texts)).scores
    actual = engine.answer(wire.Score("x", two.digest, "p", texts)).scores
    assert float((torch.tensor(actual) - torch.tensor(expected)).abs().mean()) < 0.05


def enlarged(message: wire.Load) -> wire.Load:
    """Change an adapter so that its merged weights are finite, but alpha / r * B is infinite.

    Kept apart, it would spoil the rows of others.
    """
    directory = Path(message.directory)
    matrices = load_file(directory / ADAPTER)
    for name in matrices:
        matrices[name] *= 1e38 / 2 if name.endswith(UP) else 1e-38 if name.endswith(DOWN) else 1.0
    save_file(matrices, directory / ADAPTER)
    raw = json.loads((directory / "config.json").read_text())
    raw["adapter"]["alpha"] = 1000.0
    (directory / "config.json").write_text(json.dumps(raw))
    return load_message(directory)


def test_an_adapter_with_numbers_that_are_too_large_is_loaded_separately(tmp_path: Path) -> None:
    _, one, two, _ = family(tmp_path)
    engine = Engine(one, large := enlarged(two))
    assert engine.network(one).shared is None and engine.network(large).shared is None
    answer = engine.answer(wire.Score("x", large.digest, "p", rows(1, 2)))
    assert isinstance(answer, wire.Scored)


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_an_adapter_that_cannot_share_its_base_does_not_keep_others_from_it(tmp_path: Path, position: int) -> None:
    base, one, two, three = family(tmp_path)
    others = [base, one, three]
    engine = Engine(*others[:position], large := enlarged(two), *others[position:])
    assert shares(engine, *others) and engine.network(large).shared is None


@pytest.mark.parametrize("step", ["join", "_choose"])
def test_an_error_of_one_version_does_not_affect_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    _, one, two, three = family(tmp_path)
    place: Any = sharing if step == "join" else Sharing
    call = getattr(place, step)

    def fail(*args: Any) -> Any:
        if args[1].message.digest == one.digest:
            raise FileNotFoundError(args[1].directory)
        return call(*args)

    engine = Engine(one)
    monkeypatch.setattr(place, step, fail)
    engine.load(two, three)
    assert engine.network(one).shared is None and shares(engine, two, three)


def test_a_base_is_shared_after_an_attempt_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, two, _ = family(tmp_path)
    engine = Engine(one)

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(version, "_parts", full)
        patch.setattr(loading.logger, "exception", lambda *_: None)  # a log record would keep the networks alive
        engine.host.receive(b.PEER, two)
        engine.host.collect_loads()
    (failed,) = engine.replies.all.pop(two.digest)
    assert isinstance(failed, wire.LoadFailed) and engine.network(one).shared is None
    engine.load(two)
    assert shares(engine, one, two)


def test_after_an_error_versions_are_loaded_separately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, two, three = family(tmp_path)
    engine = Engine(one)
    shutil.move(one.directory, tmp_path / "elsewhere")
    engine.load(two)
    assert engine.network(one).shared is None and engine.network(two).shared is None

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(sharing, "build_base", full)
        engine.load(three)
    assert engine.network(three).shared is None
    assert isinstance(engine.answer(wire.Score("x", three.digest, "p", rows(1, 2))), wire.Scored)
