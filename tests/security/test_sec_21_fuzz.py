"""SEC-21: requests with wrong values or damaged bytes are answered or refused, and none causes an internal error.

`make accept CHECKS=fuzz_raw` sends 100,000 of them to the whole service.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from benchmarks.hostile_requests import EXPECTED, Requests, send_all
from tests.clients.service import CLASSIFIERS, GENERATORS, serving

COUNT = 300


def test_hostile_requests_are_answered_or_refused(tmp_path: Path) -> None:
    with serving(tmp_path, "me:0123456789abcdef") as api:
        document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
        models = [*CLASSIFIERS, *GENERATORS]
        existing = {"name": models, "model": models, "version": ["1"], "alias": ["champion"]}
        requests = Requests(document, 1, "0123456789abcdef", existing, kept=("/v1/registry", "/v1/models"))
        tally = asyncio.run(send_all(api.url, requests, COUNT, at_once=32, expected=EXPECTED))
        assert tally.findings == [], tally.findings[0]
        assert len(tally.replies) > 5 and tally.replies["200"] > COUNT / 20, tally.replies
        assert httpx.get(f"{api.url}/livez", timeout=60).status_code == 200
