"""OpenAI's dialect: completions, embeddings, models, files, uploads and fine-tuning jobs."""

from __future__ import annotations

from app.api.http.dialects import Dialect
from app.api.openai import completions, embeddings, files, fine_tuning, models, uploads

# Its errors have the default shape, which is OpenAI's.
DIALECT = Dialect(
    inference=(completions.router, embeddings.router),
    management=(models.router, files.router, uploads.router, fine_tuning.router),
)
