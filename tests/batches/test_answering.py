"""The batch program's loop: one answer to each request, retries after transient errors, and a quick stop."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from app.batches import answering
from app.batches.answering import BatchAnswering
from app.batches.routes import RouteReply
from app.disk_errors import awaited
from app.runs.batch_spool import Spool, SpoolReader
from app.wire.batch import ANSWERS, INPUT, SPEC, BatchSpec
from app.wire.trainer import DataFile
from tests.jobs.batch_fixtures import line_of

COUNT = 5


class Routes:
    """Computes each reply from the body and the number of earlier requests with the same body."""

    def __init__(self, reply: Callable[[bytes, int], Awaitable[RouteReply]]) -> None:
        self._reply = reply
        self.sent: Counter[bytes] = Counter()
        self.open = self.most_open = 0

    async def post(self, path: str, body: bytes) -> RouteReply:
        earlier = self.sent[body]
        self.sent[body] += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._reply(body, earlier)
        finally:
            self.open -= 1


def reply(status: int, body: bytes = b"{}", code: str = "") -> RouteReply:
    return RouteReply(status, {b"x-error-code": code.encode()}, body, "req-1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return prepared(tmp_path)


def prepared(folder: Path, endpoint: str = "/v1/embeddings") -> Path:
    (folder / "inputs").mkdir()
    (folder / INPUT).write_text("".join(line_of(i, {"n": i}) for i in range(COUNT)))
    spec = BatchSpec(endpoint, "ann", DataFile(INPUT, "x", ""))
    (folder / SPEC).write_bytes(msgspec.json.encode(spec))
    return folder


def answers(run: Path) -> list[tuple[bool, bytes] | None]:
    return list(SpoolReader(run / ANSWERS).read().in_order(COUNT))


async def echo(body: bytes, earlier: int) -> RouteReply:
    await asyncio.sleep(0)
    return reply(400 if json.loads(body)["n"] == 1 else 200, body)


@pytest.mark.parametrize(("endpoint", "most"), [("/v1/embeddings", 1), ("/v1/completions", 2)])
def test_open_requests_are_answered_once(tmp_path: Path, endpoint: str, most: int) -> None:
    run, routes = prepared(tmp_path, endpoint), Routes(echo)
    with Spool(run / ANSWERS) as spool:
        spool.append(3, True, b"earlier")
    asyncio.run(BatchAnswering(run, routes).run())
    assert len(routes.sent) == COUNT - 1 and set(routes.sent.values()) == {1} and routes.most_open == most
    all_answers = answers(run)
    assert all_answers[3] == (True, b"earlier")
    for index, answer in enumerate(all_answers):
        assert answer is not None and answer[0] == (index != 1)
        if index != 3:
            line = json.loads(answer[1])
            assert (line["custom_id"], line["error"], line["id"][:10]) == (f"r{index}", None, "batch_req-")
            status = 400 if index == 1 else 200
            assert line["response"] == {"status_code": status, "request_id": "req-1", "body": {"n": index}}


def test_transient_errors_are_tried_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "FIRST_WAIT", 0.0)

    async def later(body: bytes, earlier: int) -> RouteReply:
        return reply(200 if earlier == 2 else (429, 503)[earlier])

    routes = Routes(later)
    asyncio.run(BatchAnswering(run, routes).run())
    assert set(routes.sent.values()) == {3} and all(answer and answer[0] for answer in answers(run))


def test_patience_ends_unless_no_engine_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_WAIT", "PATIENCE_SECONDS"):
        monkeypatch.setattr(answering, name, 0.0)

    async def never(body: bytes, earlier: int) -> RouteReply:
        return reply(503, code="engine_lost" if earlier < 4 else "loading")

    routes = Routes(never)
    asyncio.run(BatchAnswering(run, routes).run())
    assert set(routes.sent.values()) == {5} and not any(answer and answer[0] for answer in answers(run))


@pytest.mark.parametrize(("status", "code"), [(504, "deadline_exceeded"), (429, "rate_limit_exceeded")])
def test_a_busy_service_and_a_quota_are_waited_for(
    run: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    for name in ("FIRST_WAIT", "PATIENCE_SECONDS"):
        monkeypatch.setattr(answering, name, 0.0)

    async def busy(body: bytes, earlier: int) -> RouteReply:
        return reply(200) if earlier == 3 else reply(status, code=code)

    asyncio.run(BatchAnswering(run, Routes(busy)).run())
    assert all(answer and answer[0] for answer in answers(run))


def test_memory_is_waited_for_once_for_each_model(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(answering, "PATIENCE_SECONDS", 3.0)
    monkeypatch.setattr(answering, "time", SimpleNamespace(monotonic=itertools.count(0.0).__next__))
    other = {"n": COUNT - 1, "model": "other"}
    (run / INPUT).write_text("".join(line_of(i, {"n": i, "model": "large"}) for i in range(4)) + line_of(4, other))

    async def no_memory(body: bytes, earlier: int) -> RouteReply:
        return reply(200) if json.loads(body)["n"] == 2 else reply(503, code="out_of_memory")

    routes = Routes(no_memory)
    asyncio.run(BatchAnswering(run, routes).run())
    sent = {json.loads(body)["n"]: count for body, count in routes.sent.items()}
    assert sent == {0: 3, 1: 1, 2: 1, 3: 3, 4: 3}  # the answer to 2 shows that memory is free again


def test_a_stop_leaves_the_rest_open(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "GRACE_SECONDS", 0.01)

    async def body() -> None:
        async def third_hangs(body: bytes, earlier: int) -> RouteReply:
            if json.loads(body)["n"] == 2:
                program.stop()
                await asyncio.sleep(3600)
            return reply(200)

        program = BatchAnswering(run, Routes(third_hangs))
        await program.run()

    asyncio.run(body())
    assert [answer is not None for answer in answers(run)] == [True, True, False, False, False]


def test_answers_beyond_the_limit_become_errors(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MOST_ANSWER_BYTES", 400)

    async def large(body: bytes, earlier: int) -> RouteReply:
        return reply(200, b'"' + b"x" * 150 + b'"')

    routes = Routes(large)
    asyncio.run(BatchAnswering(run, routes).run())
    successes = [answer[0] for answer in answers(run) if answer]
    kept = sum(successes)
    assert 0 < kept < COUNT - 1 and successes == sorted(successes, reverse=True) and len(successes) == COUNT
    assert len(routes.sent) == kept + 1  # no request is sent after the first answer that does not fit
    last = answers(run)[-1]
    assert last and json.loads(last[1])["error"]["code"] == "output_too_large"


def test_the_disk_is_not_filled_to_the_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "RESERVED_BYTES", 2**62)
    with pytest.raises(OSError, match="No space") as error:
        asyncio.run(BatchAnswering(run, Routes(echo)).run())
    assert awaited(error.value) and not any(answers(run))


def test_an_error_of_the_disk_ends_the_program(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Spool, "append", full)
    with pytest.raises(OSError, match="no space"):
        asyncio.run(BatchAnswering(run, Routes(echo)).run())
