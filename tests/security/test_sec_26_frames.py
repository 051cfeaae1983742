"""SEC-26: other sites cannot show the documentation in a frame to capture a visitor's clicks."""

from __future__ import annotations

import pytest

from tests.serving import Api


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_cannot_be_framed(api: Api, path: str) -> None:
    with api.client() as client:
        assert "frame-ancestors 'none'" in client.get(path).headers["content-security-policy"]
