"""Ostinato's own dialect: classification, the registry and operations."""

from __future__ import annotations

from app.api.http.dialects import Dialect
from app.api.native import (
    audit,
    classify,
    console,
    documentation,
    evaluations,
    operations,
    queue,
    registry,
    registry_aliases,
    registry_evaluations,
    registry_files,
    registry_probes,
    settings,
    tokenization,
    traffic,
)

DIALECT = Dialect(
    inference=(classify.router, tokenization.router),
    management=(
        registry.router,
        registry_aliases.router,
        registry_evaluations.router,
        registry_files.router,
        registry_probes.router,
        evaluations.router,
        operations.router,
        queue.router,
        traffic.router,
        settings.router,
        audit.router,
        documentation.router,
        console.router,
    ),
)
