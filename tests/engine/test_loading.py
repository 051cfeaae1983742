"""Checks when a host unloads a version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import torch

from app.engine import host as module
from app.engine.host import EngineHost
from app.wire import engine as wire
from tests.engine import builders as b
from tests.engine.test_host import gated
from tests.serving import wait_until


@pytest.fixture
def threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("long", [True, False])
def test_a_version_stays_while_a_row_of_a_closed_request_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: None, long: bool
) -> None:
    """The version's memory is in use until the row is computed, so no other version may be loaded in its place."""
    monkeypatch.setattr(module, "predict", lambda *_: 2 * module.LONG_SECONDS if long else 0.0)
    host, network, digest = gated(tmp_path, Event())
    for id in ("x", "y"):
        host.receive(b.PEER, wire.Score(id, digest, "p", [[1] * 48, [2] * 48]))
    b.run_ready(host)
    wait_until(lambda: network.calls)
    for id in ("x", "y"):
        host.receive(b.PEER, wire.Abort(id))
    host.receive(b.PEER, wire.Unload(digest))
    b.run_ready(host)
    assert not host.busy and digest in host.versions and host.memory.bytes > 0
    network.go.set()
    wait_until(lambda: not _holds(host, digest))
    assert host.memory.bytes == 0 and host.busy_since is None


def _holds(host: EngineHost, digest: str) -> bool:
    """Run the work that is ready. Returns whether the version is still loaded."""
    b.run_ready(host)
    return digest in host.versions
