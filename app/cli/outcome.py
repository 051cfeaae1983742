"""Prints a training job's outcome: its version and metrics or its error, and the next steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from app.cli.follow import ENDED
from app.cli.output import headline, warn
from app.cli.wording import in_own_words
from app.errors import NotFound, OstinatoError
from app.wire.measurement import shown_metrics, too_few

if TYPE_CHECKING:
    from app.client import Client


def conclude(client: Client, job: dict[str, Any]) -> None:
    """Print a job's outcome, and how to try its version. Exits with status 1 unless the job succeeded."""
    if job["status"] not in ENDED:
        warn(f"the job continues when there is free disk space; follow it with: ostinato jobs follow {job['id']}")
        raise typer.Exit(1)
    if job["status"] != "succeeded":
        warn(failure(job))
        raise typer.Exit(1)
    if job.get("parent_id"):
        _conclude_trial(client, job)
    else:
        _conclude_version(str(job["fine_tuned_model"]), _published(client, job) or {})


def failure(job: dict[str, Any]) -> str:
    """Describe how and why a job ended without success: `ftjob-1 failed: …`."""
    message = (job.get("error") or {}).get("message")
    return f"{job['id']} {job['status']}" + (f": {in_own_words(message)}" if message else "")


def _conclude_trial(client: Client, job: dict[str, Any]) -> None:
    """Print a trial's metrics, and how to compare it with other trials. A trial does not publish a version."""
    parent = job["parent_id"]
    compared = client.get(f"/v1/fine_tuning/jobs/{parent}")
    metrics: dict[str, Any] = next(
        (trial["metrics"] for trial in compared.get("trials") or [] if trial["id"] == job["id"]), {}
    )
    name = ", validation on" if too_few(metrics.get("rows")) else ", validation"
    print(f"{job['id']} has ended: {job['model']}" + (f"{name} {shown_metrics(metrics)}" if metrics else ""))
    if compared["status"] in ENDED:
        print(f"it is a trial of {parent}; compare the trials with: ostinato jobs show {parent}")
    else:
        print(f"it is a trial of {parent}, which publishes the best of its trials; follow it with:")
        print(f"  ostinato jobs follow {parent}")


def _conclude_version(reference: str, version: dict[str, Any]) -> None:
    quality = headline(version.get("metrics"))
    print(f"{reference} is ready" + (f": {quality}" if quality else ""))
    config = version.get("config") or {}
    if config.get("chat_template"):
        print(f"try it: ostinato chat {reference}")
    elif version.get("task") == "generation":
        print(f'try it: ostinato generate --model {reference} "Once upon a time"')
    elif config.get("input") != "features":
        print(f'try it: ostinato classify --model {reference} "some text"')


def _published(client: Client, job: dict[str, Any]) -> dict[str, Any] | None:
    """The version that a job published. Returns None if there is no version, or if it cannot be read."""
    name, _, number = str(job.get("fine_tuned_model") or "").partition(":")
    if not number:
        return None
    try:
        return dict(client.get(f"/v1/registry/models/{name}/versions/{number}"))
    except OstinatoError as error:
        if error.status != NotFound.status:
            warn(in_own_words(error.message))
        return None
