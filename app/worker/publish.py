"""Ends a job: registers the version that the training run produced, or records why the run failed.

Blobs are uploaded first. One transaction then writes all rows that refer to them. A crash in between leaves
unreferenced blobs, which garbage collection removes. The trainer of the next attempt reports the same result again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app import disk_errors
from app.checkpoint import directory as checkpoint
from app.checkpoint.directory import FileEntry
from app.errors import OstinatoError
from app.jobs.records import CANCELLED, FAILED, SUCCEEDED, JobProgress, NewEvent
from app.registry.repository import dump_manifest
from app.runs.run_directory import RunDirectory
from app.strict_json import mend
from app.wire.trainer import CheckpointSaved, Done, TrainFailed
from app.worker import checkpoints
from app.worker.lease import Lease
from app.worker.resources import Resources
from app.worker.transcript import clean

log = logging.getLogger(__name__)
RESULTS = "fine-tune-results"  # the purpose of the file that contains the metrics


def publish(
    resources: Resources, lease: Lease, run: RunDirectory, done: Done, result: dict[str, Any] | None = None
) -> str:
    """Register the trained version and end the job with this `result`. Return the job's status.

    If the registry rejects the version, for example because the alias has moved or another owner has the name, the job
    fails and the checkpoint is kept. Raises retryable errors and LeaseLost.
    """
    directory = run.inside(done.checkpoint)
    files, contents = resources.registry.upload_files(directory), checkpoint.read(directory)
    results = run.inside(done.results)
    blob = resources.blobs.put_file(results), results.stat().st_size
    probes = None if done.probes is None else FileEntry(**_put(resources, run.inside(done.probes)))

    def end(session: Session) -> str:
        job, attempt = lease.job, lease.job.attempt
        # Lock the job's row, so that a cancellation is either noticed here or comes too late to have an effect.
        if resources.jobs.hold(session, job.id, attempt).cancel:
            return resources.jobs.finish(session, job.id, attempt, CANCELLED)
        expected = job.request.get("publish", {}).get("expected_version", msgspec.UNSET)
        version = resources.registry.publish(
            session,
            name=job.publish_name,
            owner=job.owner,
            files=files,
            checkpoint=contents,
            metrics=done.metrics,
            job_id=job.id,
            alias=job.publish_alias,
            expected_version=expected,
        )
        if probes is not None:
            resources.probes.add(session, version, probes)
        file = resources.files.record(session, job.owner, f"{job.id}-results.csv", RESULTS, *blob)
        progress = JobProgress(settled=run.settled())
        resources.jobs.report(session, job.id, attempt, progress, _published_events(version.ref, result))
        values = {"fine_tuned_model": version.ref, "result_files": [file.id], "trained_tokens": done.trained_tokens}
        values |= {"result": result}
        return resources.jobs.finish(session, job.id, attempt, SUCCEEDED, **values)

    try:
        return lease.end(end)
    except OstinatoError as error:
        if error.retryable:
            raise
        log.warning("%s: the version cannot be published: %s", lease.job.id, error.message)
        best = done.checkpoint, _flatten(done.metrics), done.step
        return fail(resources, lease, run, TrainFailed(error.code, error.message, error.param, *best))


def keep(resources: Resources, lease: Lease, run: RunDirectory, done: Done) -> str:
    """Store a trial's files for its auto job, and end the trial. Return the trial's status.

    Raises retryable errors and LeaseLost.
    """
    directory = run.inside(done.checkpoint)
    files = resources.registry.upload_files(directory)
    assert done.errors is not None
    paths = {"results": done.results, "errors": done.errors, "probes": done.probes}
    blobs = {name: _put(resources, run.inside(path)) for name, path in paths.items() if path is not None}
    names = ("task", "architecture", "parameters", "step", "trained_tokens")
    result = {name: getattr(done, name) for name in names}
    result |= {"files": dump_manifest(files), "blobs": blobs, "metrics": mend(_scalars(done.metrics))}

    def end(session: Session) -> str:
        job, attempt = lease.job, lease.job.attempt
        if resources.jobs.hold(session, job.id, attempt).cancel:
            return resources.jobs.finish(session, job.id, attempt, CANCELLED)
        resources.registry.hold_files(session, files | {name: FileEntry(**blob) for name, blob in blobs.items()})
        resources.jobs.report(session, job.id, attempt, JobProgress(settled=run.settled()), [])
        values = {"trained_tokens": done.trained_tokens, "result": result}
        return resources.jobs.finish(session, job.id, attempt, SUCCEEDED, **values)

    return lease.end(end)


def fail(resources: Resources, lease: Lease, run: RunDirectory, failed: TrainFailed) -> str:
    """Store the best checkpoint, if any, and end the job as failed. Return the job's status.

    Raises LeaseLost. If a retryable error or a full disk prevents the checkpoint from being stored, raises that error
    instead of ending the job, so that the checkpoint is not lost.
    """
    if failed.checkpoint is not None and failed.step not in checkpoints.stored_steps(lease):
        try:
            saved = CheckpointSaved(failed.step, failed.checkpoint, failed.metrics)
            checkpoints.store(resources, lease, run, saved)
        except (OstinatoError, OSError) as error:
            if disk_errors.awaited(error) or (isinstance(error, OstinatoError) and error.retryable):
                raise
            log.warning("%s: cannot store the last checkpoint: %s", lease.job.id, error)
    fields = {"code": failed.code, "message": clean(failed.message), "param": failed.param}
    job = lease.job

    def end(session: Session) -> str:
        resources.jobs.report(session, job.id, job.attempt, JobProgress(settled=run.settled()), [])
        return resources.jobs.finish(session, job.id, job.attempt, FAILED, error=fields)

    return lease.end(end)


def _published_events(reference: str, result: dict[str, Any] | None) -> list[NewEvent]:
    published = NewEvent(kind="job.published", step=0, message=f"New fine-tuned model created: {reference}")
    chosen = [] if result is None else [NewEvent(kind="trial.chosen", step=0, message=f"Chosen: {result['reason']}")]
    return [*chosen, published]


def _put(resources: Resources, path: Path) -> dict[str, Any]:
    return {"sha256": resources.blobs.put_file(path), "size": path.stat().st_size}


def _scalars(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the scalar metrics of each split. Omits tables, whose size depends on the number of labels."""
    splits = {name: split for name, split in metrics.items() if isinstance(split, dict)}
    return {name: {k: v for k, v in split.items() if isinstance(v, int | float)} for name, split in splits.items()}


def _flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """Flatten a version's metrics into a dict of numbers, with names of the form `<split>_<metric>`."""
    splits = {name: split for name, split in metrics.items() if isinstance(split, dict)}
    return {
        f"{name}_{metric}": float(value)
        for name, split in splits.items()
        for metric, value in split.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
