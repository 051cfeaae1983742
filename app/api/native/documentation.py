"""The documentation pages, Swagger UI and Redoc. The pages load nothing from other sites."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

router = APIRouter()
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:; "
    "frame-ancestors 'none'"
)
START = b"""window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true,
    persistAuthorization: true, presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"});
});
"""
SWAGGER = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Ostinato API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon.png"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body></html>"""
REDOC = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Ostinato API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="/docs/favicon.png"></head>
<body><redoc spec-url="/openapi.json" disable-google-font="true"></redoc>
<script src="/redoc/redoc.standalone.js"></script></body></html>"""
REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
NO_PICTURE = b"data:,"
TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "png": "image/png"}


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    return HTMLResponse(SWAGGER, headers={"content-security-policy": CONTENT_SECURITY_POLICY})


@router.get("/redoc", include_in_schema=False)
async def redoc() -> Response:
    return HTMLResponse(REDOC, headers={"content-security-policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js", include_in_schema=False)
async def start() -> Response:
    return Response(START, media_type=TYPES["js"])


@router.get("/docs/swagger-ui-bundle.js", include_in_schema=False)
async def swagger_script() -> Response:
    return _asset("swagger-ui-bundle.js")


@router.get("/docs/swagger-ui.css", include_in_schema=False)
async def swagger_style() -> Response:
    return _asset("swagger-ui.css")


@router.get("/docs/favicon.png", include_in_schema=False)
async def icon() -> Response:
    return _asset("favicon.png")


@router.get("/redoc/redoc.standalone.js", include_in_schema=False)
async def redoc_script() -> Response:
    return _asset("redoc.standalone.js", REDOC_LOGO)


def _asset(name: str, foreign: bytes = b"") -> Response:
    """A file from the package fastapi-offline, which contains Swagger UI (Apache-2.0) and Redoc (MIT).

    `foreign` is the URL of an image on another site, which is replaced by the URL of an empty image.
    """
    body = (files("fastapi_offline") / "static" / name).read_bytes()
    if foreign:
        body = body.replace(foreign, NO_PICTURE)
    return Response(body, media_type=TYPES[name.rpartition(".")[2]], headers={"cache-control": "public, max-age=86400"})
