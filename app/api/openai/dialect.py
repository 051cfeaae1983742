"""OpenAI's dialect: completions, chat, responses, embeddings, moderations, models, files, uploads,
fine-tuning, batches and webhooks."""

from __future__ import annotations

from app.api.http.dialects import Dialect
from app.api.openai import (
    batches,
    chat,
    completions,
    embeddings,
    file_previews,
    files,
    fine_tuning,
    fine_tuning_events,
    models,
    moderations,
    responses,
    uploads,
    webhooks,
)

COMPLETIONS = "send the text as `prompt` to POST /v1/completions"
RANKING = "texts cannot be ranked by a query; POST /similarity compares a text with other texts"

# Routes that llama.cpp and other servers have in addition to OpenAI's.
OTHER_SERVERS = {
    "/completion": f"this is llama.cpp's own route; {COMPLETIONS}",
    "/infill": f"gaps in a text cannot be filled; {COMPLETIONS}",
    "/embedding": "this is llama.cpp's own route; send the text as `input` to POST /v1/embeddings",
    "/apply-template": "conversations cannot be rendered as text; send them as `messages` to POST /v1/chat/completions",
    "/invocations": "this is SageMaker's own route; send `input` to POST /v1/classify, or `prompt` to POST "
    "/v1/completions",
    "/props": "GET /v1/models lists all models, and GET /v1/settings lists the settings of the service",
    "/slots": "GET /v1/engine shows the state of the engines",
    "/lora-adapters": "adapters are not loaded separately; to merge one into its base model, run ostinato import BASE "
    "--set adapter=DIRECTORY",
    "/reranking": RANKING,
    "/v1/rerank": RANKING,
    "/v1/reranking": RANKING,
}

# There is no `render_error`, because the default format of errors is OpenAI's.
DIALECT = Dialect(
    inference=(completions.router, chat.router, responses.router, embeddings.router, moderations.router),
    management=(
        models.router,
        files.router,
        file_previews.router,
        uploads.router,
        fine_tuning.router,
        fine_tuning_events.router,
        batches.router,
        webhooks.router,
    ),
    prefixes=("POST /models/{}/v1",),
    missing={
        "/v1/chat/completions": "chat completions are not stored, so they cannot be retrieved, listed or changed",
        "/v1/responses": "responses are not stored, so they cannot be retrieved, cancelled or compacted; send the "
        "whole conversation as `input` to POST /v1/responses",
        "/v1/assistants": f"assistants are not supported; {COMPLETIONS}",
        "/v1/fine_tuning/checkpoints": "checkpoints have no permissions of their own; they belong to the owner of "
        "their job, and GET /v1/fine_tuning/jobs/{id}/checkpoints lists them",
        "/v1/fine_tuning/alpha/graders": "graders are not supported, because there is no reinforcement fine-tuning; "
        "POST /v1/evaluations measures a model on a file of labelled rows",
        "/v1/engines": "OpenAI's engines are now called models; GET /v1/models lists all models",
        **OTHER_SERVERS,
    },
)
