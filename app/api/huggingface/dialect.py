"""Hugging Face's dialect: the inference API, TGI's generation, and TEI's classification and embeddings."""

from __future__ import annotations

from app.api.http.dialects import Dialect
from app.api.huggingface import embed, generate, hub, info, predict
from app.api.huggingface.errors import HuggingFaceError, render_error, render_tei_error

POOLED = "only one vector for each text is available: send the texts to POST /embed"

DIALECT = Dialect(
    inference=(hub.router, generate.router, info.router),
    prefixes=("/", "POST /models/", "/generate", "/generate_stream", "/info"),
    render_error=render_error,
    error_reply=HuggingFaceError,
)
TEI = Dialect(
    inference=(predict.router, embed.router),
    prefixes=("/predict", "/embed", "/embed_all", "/embed_sparse", "/rerank", "/similarity", "/decode"),
    render_error=render_tei_error,
    error_reply=HuggingFaceError,
    missing={
        "/embed_all": f"the vectors of single tokens are not available; {POOLED}",
        "/embed_sparse": f"sparse vectors are not available; {POOLED}",
        "/decode": "send the ids as `tokens` to POST /detokenize, which returns their text",
        "/rerank": "texts cannot be ranked by a query; POST /similarity compares a text with other texts",
    },
)
