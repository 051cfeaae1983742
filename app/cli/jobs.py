"""`ostinato jobs`: see, follow, stop and resume trainings. Knows the job routes."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import typer

from app.cli.follow import conclude, line
from app.cli.follow import follow as follow_job
from app.cli.output import Json, connect, duration, fields, json_for_all, print_json, table, when

ROOT = "/v1/fine_tuning/jobs"
Job = Annotated[str, typer.Argument(help="Id of a job: ftjob-…")]
Count = Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")]

jobs = typer.Typer(help="See, follow, stop and resume trainings.", invoke_without_command=True)


@jobs.callback()
def root(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_jobs(as_json=as_json)
    elif as_json:
        json_for_all(context)


@jobs.command("list")
def list_jobs(limit: Count = 20, as_json: Json = False) -> None:
    """List the jobs, the newest first."""
    with connect() as client:
        found = list(itertools.islice(client.pages(ROOT, limit=min(limit, 100)), limit))
    if as_json:
        print_json(found)
        return
    rows = [
        (job["id"], state(job), f"{float(job.get('progress') or 0):.0%}", job["model"],
         job.get("fine_tuned_model") or (job.get("publish") or {}).get("name") or "", when(job["created_at"]))
        for job in found
    ]  # fmt: skip
    table(
        ["job", "status", "done", "model", "version", "made"], rows, empty="no job yet; train with: ostinato train FILE"
    )


def state(job: dict[str, Any]) -> str:
    phase = job.get("phase")
    return (
        f"{job['status']} ({phase})" if job["status"] == "running" and phase not in (None, "running") else job["status"]
    )


@jobs.command("show")
def show(job_id: Job, as_json: Json = False) -> None:
    """Show one job."""
    with connect() as client:
        job = client.get(f"{ROOT}/{job_id}")
    if as_json:
        print_json(job)
        return
    error = job.get("error") or {}
    chosen = job.get("hyperparameters") or {}
    spent = (job.get("finished_at") or 0) - job["created_at"] if job.get("finished_at") else None
    fields([
        ("job", job["id"]), ("status", state(job)), ("done", f"{float(job.get('progress') or 0):.0%}"),
        ("task", job.get("task")), ("model", job["model"]), ("version", job.get("fine_tuned_model")),
        ("error", error.get("message")), ("file", job["training_file"]), ("validation", job.get("validation_file")),
        ("seed", job.get("seed")), ("attempt", job.get("attempt")), ("tokens", job.get("trained_tokens")),
        ("options", ", ".join(f"{k} {v}" for k, v in chosen.items() if v is not None)),
        ("made", when(job["created_at"])), ("finished", when(job.get("finished_at"))),
        ("expected", when(job.get("estimated_finish"))), ("took", duration(spent) if spent else None),
    ])  # fmt: skip


@jobs.command("follow")
def follow(job_id: Job, as_json: Json = False) -> None:
    """Follow a job until it ends."""
    from app.cli.train import published

    with connect() as client:
        job = follow_job(client, job_id, as_json=as_json)
        if as_json:
            raise typer.Exit(job["status"] != "succeeded")
        conclude(job, published(client, job))


@jobs.command("events")
def events(job_id: Job, limit: Count = 50, as_json: Json = False) -> None:
    """Print a job's events, the oldest first."""
    with connect() as client:
        found = list(itertools.islice(client.pages(f"{ROOT}/{job_id}/events", limit=min(limit, 100)), limit))[::-1]
    if as_json:
        print_json(found)
        return
    table(["when", "event"], [(when(e["created_at"]), line(e) or e["message"]) for e in found])


@jobs.command("checkpoints")
def checkpoints(job_id: Job, as_json: Json = False) -> None:
    """List a job's checkpoints; each is a model reference."""
    with connect() as client:
        found = list(client.pages(f"{ROOT}/{job_id}/checkpoints"))
    if as_json:
        print_json(found)
        return
    rows = [
        (c["id"], c["step_number"], " ".join(f"{k} {v:.3f}" for k, v in c["metrics"].items() if isinstance(v, float)))
        for c in found
    ]
    table(["checkpoint", "step", "figures"], rows)


@jobs.command("cancel")
def cancel(job_id: Job, as_json: Json = False) -> None:
    """End a job; nothing is published."""
    _ask(job_id, "cancel", as_json)


@jobs.command("pause")
def pause(job_id: Job, as_json: Json = False) -> None:
    """Stop a job for now; it keeps its place."""
    _ask(job_id, "pause", as_json)


@jobs.command("resume")
def resume(job_id: Job, as_json: Json = False) -> None:
    """Let a paused job go on."""
    _ask(job_id, "resume", as_json)


def _ask(job_id: str, verb: str, as_json: bool) -> None:
    with connect() as client:
        job = client.post(f"{ROOT}/{job_id}/{verb}")
    print_json(job) if as_json else print(f"{job['id']} is {state(job)}")
