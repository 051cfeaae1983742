"""From a finished training to a registered version: bytes first, then one transaction for all that refers to them.

A crash in between leaves bytes that nothing refers to; the next attempt's trainer says again that it is done. Knows
the registry, the files and the job's end; knows no process.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app.checkpoint import directory as checkpoint
from app.db.paging import new_id
from app.errors import OstinatoError
from app.jobs import logbook
from app.jobs.records import CANCELLED, FAILED, SUCCEEDED, JobCheckpoint, JobProgress, NewEvent
from app.registry.metrics import finite
from app.wire.trainer import CheckpointSaved, Done, TrainFailed
from app.worker.lease import Lease
from app.worker.run_directory import RunDirectory
from app.worker.transcript import clean
from app.worker.workplace import Workplace

log = logging.getLogger(__name__)
RESULTS = "fine-tune-results"


def publish(place: Workplace, lease: Lease, run: RunDirectory, done: Done) -> str:
    """Register what the trainer has made and end the job; return its status.

    Where the registry refuses (the alias has moved, the name is another's) the job fails and the checkpoint is kept.
    """
    directory = run.inside(done.checkpoint)
    files, made = place.registry.upload_files(directory), checkpoint.read(directory)
    results = run.inside(done.results)
    put = place.blobs.put_file(results), results.stat().st_size

    def end(session: Session) -> str:
        job, attempt = lease.job, lease.job.attempt
        if place.jobs.hold(session, job.id, attempt).cancel:
            return place.jobs.finish(session, job.id, attempt, CANCELLED)
        expected = job.request.get("publish", {}).get("expected_version", msgspec.UNSET)
        version = place.registry.publish(
            session,
            name=job.publish_name,
            owner=job.owner,
            files=files,
            checkpoint=made,
            metrics=done.metrics,
            job_id=job.id,
            alias=job.publish_alias,
            expected_version=expected,
        )
        kept = place.files.record(session, job.owner, f"{job.id}-results.csv", RESULTS, *put)
        place.jobs.report(session, job.id, attempt, JobProgress(settled=run.settled()), [_made(version.ref)])
        values = {"fine_tuned_model": version.ref, "result_files": [kept.id], "trained_tokens": done.trained_tokens}
        return place.jobs.finish(session, job.id, attempt, SUCCEEDED, **values)

    try:
        return lease.end(end)
    except OstinatoError as error:
        if error.retryable:
            raise
        log.warning("%s: the version could not be published: %s", lease.job.id, error.message)
        kept = done.checkpoint, _numbers(done.metrics), done.step
        return fail(place, lease, run, TrainFailed(error.code, error.message, error.param, *kept))


def fail(place: Workplace, lease: Lease, run: RunDirectory, failed: TrainFailed) -> str:
    """End the job as failed; the best checkpoint so far is kept, where there is one and it is not kept already.

    Raises what is retryable, so that a store that is away for a moment costs no checkpoint.
    """
    if failed.checkpoint is not None and failed.step not in kept_steps(place, lease):
        try:
            keep(place, lease, run, CheckpointSaved(failed.step, failed.checkpoint, failed.metrics))
        except (OstinatoError, OSError) as error:
            if isinstance(error, OstinatoError) and error.retryable:
                raise
            log.warning("%s: the last checkpoint could not be kept: %s", lease.job.id, error)
    told = {"code": failed.code, "message": clean(failed.message), "param": failed.param}
    job = lease.job

    def end(session: Session) -> str:
        place.jobs.report(session, job.id, job.attempt, JobProgress(settled=run.settled()), [])
        return place.jobs.finish(session, job.id, job.attempt, FAILED, error=told)

    return lease.end(end)


def keep(place: Workplace, lease: Lease, run: RunDirectory, saved: CheckpointSaved) -> None:
    """Make a checkpoint of the run loadable by an id of its own."""
    directory = run.inside(saved.directory)
    files, made = place.registry.upload_files(directory), checkpoint.read(directory)
    job = lease.job
    labels = {"labels": made.labels} if made.labels else {}

    def add(session: Session) -> None:
        place.jobs.hold(session, job.id, job.attempt)
        place.registry.hold_files(session, files)
        kept = JobCheckpoint(
            id=new_id("ftckpt"),
            job_id=job.id,
            owner=job.owner,
            step=saved.step,
            digest=checkpoint.digest(files),
            files=msgspec.to_builtins(files),
            config=made.raw_config | labels,
            metrics=finite(dict(saved.metrics)),
            created_at=place.database.now(session),
        )
        logbook.add_checkpoint(session, kept)

    lease.write(add)


def kept_steps(place: Workplace, lease: Lease) -> set[int]:
    return lease.write(lambda session: logbook.checkpoint_steps(session, lease.job.id))


def _made(reference: str) -> NewEvent:
    return NewEvent(kind="job.published", step=0, message=f"New fine-tuned model created: {reference}")


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The plain figures of a version's metrics, with the part that they belong to."""
    parts = {name: part for name, part in metrics.items() if isinstance(part, dict)}
    return {
        f"{name}_{figure}": float(value)
        for name, part in parts.items()
        for figure, value in part.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
