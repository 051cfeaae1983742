"""OpenAI's dialect: completions, embeddings, models, files, uploads and fine-tuning jobs."""

from __future__ import annotations

from app.api.http.dialects import Dialect
from app.api.openai import completions, embeddings, files, fine_tuning, models, uploads

COMPLETIONS = "send the text as `prompt` to POST /v1/completions"

# There is no `render_error`, because the default format of errors is OpenAI's.
DIALECT = Dialect(
    inference=(completions.router, embeddings.router),
    management=(models.router, files.router, uploads.router, fine_tuning.router),
    missing={
        "/v1/chat/completions": f"chat completions are not supported yet; {COMPLETIONS}. A version trained on "
        "conversations reads messages as lines such as `user: …`; end the prompt with `assistant:`",
        "/v1/responses": f"responses are not supported yet; {COMPLETIONS}",
        "/v1/assistants": f"assistants are not supported; {COMPLETIONS}",
        "/v1/engines": "engines are called models now; GET /v1/models lists all models",
        "/v1/moderations": "moderations are not supported yet; send the text as `input` to POST /v1/classify",
        "/v1/batches": "batches are not supported yet; /v1/classify, /v1/completions and /v1/embeddings accept lists",
    },
)
