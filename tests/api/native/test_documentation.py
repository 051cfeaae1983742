"""The documentation pages and the OpenAPI document behind them."""

from __future__ import annotations

import re

import httpx

from tests.serving import Api


def test_documentation_loads_nothing_from_other_sites(api: Api) -> None:
    with api.client() as client:
        for page in ("/docs", "/redoc"):
            html = client.get(page).text
            sources = re.findall(r'(?:src|href)="([^"]+)"', html)
            assert sources and not [s for s in sources if not s.startswith("/")]
            for source in sources:
                assert client.get(source).status_code == 200, source


def test_every_route_is_described(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    names = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary") and operation.get("description"), where
            assert any(s.startswith("2") for s in operation["responses"]), where
            assert "HTTPValidationError" not in str(operation["responses"]), where
            names.append(operation["operationId"])
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert media.get("examples") or media.get("example") or "form" in str(operation["requestBody"]), where
    assert len(names) == len(set(names))


def test_schema_references_of_the_document_exist(api: Api) -> None:
    text = httpx.get(f"{api.url}/openapi.json", timeout=60).text
    names = set(httpx.get(f"{api.url}/openapi.json", timeout=60).json()["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= names


def test_redoc_asks_no_other_site_for_a_picture(api: Api) -> None:
    with api.client() as client:
        script = client.get("/redoc/redoc.standalone.js").text
    assert "cdn.redoc.ly" not in script and 'src:"data:,"' in script
