"""Every setting, and the only reader of the environment: `OSTINATO_<NAME>` variables.

Knows names, types, bounds and defaults; knows nothing of what they are used for.
"""

from __future__ import annotations

import ctypes
import difflib
import gc
import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from app.errors import InvalidRequest

PREFIX = "OSTINATO_"
REFUSED = 2  # exit status of a program whose settings or arguments cannot be: another start would end the same
SOCKET_PATH_LIMIT = 78  # a UNIX socket's path has 103 bytes at most (Linux: 107), of which its name takes up to 25

# How URLs begin, known before any program starts; what is wrong with the rest, those find who open them.
_DATABASES = re.compile(r"sqlite:///.+|postgres(ql)?(\+psycopg)?://.*")
_BUCKETS = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https")
_STORES = "file:///folder, s3://bucket, gs://bucket, az://container or https://server"

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class SettingError(InvalidRequest):
    code = "invalid_setting"


def _help(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The settings of one process. `help_lines` prints them as documentation."""

    host: Annotated[str, _help("address that the API binds; without keys, loopback only")] = "127.0.0.1"
    port: Annotated[Port, _help("port of the API; 0 takes a free one")] = 8000
    api_processes: Annotated[Positive, _help("API processes that share the port")] = 1
    data_dir: Annotated[str, _help("folder for the database, blobs, caches and runs")] = "./ostinato-data"
    database_url: Annotated[str, _help("SQLAlchemy URL; empty: SQLite in the data folder")] = ""
    storage_url: Annotated[str, _help("blob store URL (file://, s3://, …); empty: the data folder")] = ""
    api_keys: Annotated[str, _help("name:secret pairs, comma-separated; `ostinato keys` makes one")] = ""
    threads: Annotated[Count, _help("threads of an engine and of a trainer; 0: one a core")] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], _help("where networks run")] = "auto"
    dtype: Annotated[Literal["float32", "bfloat16"], _help("number type of the engine's weights")] = "float32"
    batch_invariant: Annotated[bool, _help("fixed shapes: replies do not depend on neighbours, bit for bit")] = False
    model_memory: Annotated[
        Count, _help("MiB of weights that an engine keeps loaded, the least recently used go; 0: half of the memory")
    ] = 0
    max_batch_tokens: Annotated[Positive, _help("tokens, padding included, of a classification batch")] = 4096
    max_slots: Annotated[Positive, _help("sequences generated at once, a version")] = 32
    prefill_tokens: Annotated[Positive, _help("prompt tokens taken in between two decode steps")] = 512
    max_waiting: Annotated[Positive, _help("requests that may wait before more are refused with 429")] = 1024
    max_waiting_tokens: Annotated[Positive, _help("tokens that may wait before more are refused with 429")] = 1_000_000
    max_texts: Annotated[Positive, _help("texts in one request")] = 1024
    max_body_bytes: Annotated[Positive, _help("size of a JSON request body")] = 8_388_608
    max_upload_bytes: Annotated[Positive, _help("size of an uploaded file")] = 536_870_912
    cache_bytes: Annotated[
        Positive, _help("bytes of checkpoints that a machine keeps beside the blob store; the least recently used go")
    ] = 34_359_738_368
    request_timeout: Annotated[Seconds, _help("seconds after which an unanswered request ends with 504")] = 600.0
    load_timeout: Annotated[
        Seconds, _help("seconds that a request waits for its version to load, or for a silent engine")
    ] = 60.0
    lease_seconds: Annotated[Seconds, _help("seconds after which a silent worker's job is another's")] = 20.0
    stop_seconds: Annotated[Seconds, _help("seconds that a trainer has to save and stop")] = 1.5
    max_attempts: Annotated[Positive, _help("tries of a job whose worker is lost")] = 10
    resume_every_seconds: Annotated[Seconds, _help("seconds between two resume points of a training")] = 15.0
    keep_runs: Annotated[Count, _help("finished run folders that are kept")] = 20
    keep_checkpoints: Annotated[Positive, _help("best checkpoints kept of each job; others go after a grace")] = 3
    delete_grace_seconds: Annotated[float, Meta(ge=0), _help("seconds before what was deleted may be collected")] = (
        86_400.0
    )
    default_model: Annotated[str, _help("model reference for routes that name none")] = ""
    log_format: Annotated[Literal["text", "json"], _help("form of the log lines")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _help("least level that is logged")] = "info"
    url: Annotated[str, _help("for the command line: where the service is")] = "http://127.0.0.1:8000"
    api_key: Annotated[str, _help("for the command line: the secret of a key")] = ""

    @property
    def data(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()

    @property
    def run_dir(self) -> Path:
        """Where the running programs are listed."""
        return self.data / "run"

    @property
    def scratch_dir(self) -> Path:
        """Where large uploads are unpacked: beside the blobs, since the system's temporary folder is often memory."""
        return self.data / "scratch"

    @cached_property
    def socket_dir(self) -> Path:
        """Where the engines' sockets lie: the run folder, or a short private one where that path is too long."""
        if len(os.fsencode(self.run_dir)) <= SOCKET_PATH_LIMIT:
            return self.run_dir
        name = hashlib.sha256(os.fsencode(self.run_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ostinato-{os.getuid()}-{name}"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'ostinato.db'}"

    @property
    def storage(self) -> str:
        return self.storage_url or (self.data / "blobs").as_uri()

    @property
    def keys(self) -> dict[str, str]:
        """Principal by secret."""
        return {secret: name for name, secret in _pairs(self.api_keys)}


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, separator, secret = part.partition(":")
        if not (separator and name and len(secret) >= 8):
            raise SettingError(f"{PREFIX}API_KEYS needs name:secret pairs with secrets of 8 characters or more")
        if name == "local":  # the principal where no keys are configured, who sees everybody's things
            raise SettingError(f"{PREFIX}API_KEYS: no key can have the name 'local'; choose another")
        if secret in (known for _, known in pairs):
            raise SettingError(f"{PREFIX}API_KEYS has one secret twice; each key needs a secret of its own")
        pairs.append((name, secret))
    return pairs


def load(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings from the environment; `overrides` (from a command line) win where they are not None.

    Raises SettingError with a plain message for an unknown variable or an impossible value.
    """
    environment = os.environ if environment is None else environment
    given = {k.removeprefix(PREFIX).lower(): v for k, v in environment.items() if k.startswith(PREFIX)}
    known = set(Settings.__struct_fields__)
    for name in sorted(set(given) - known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else "; `ostinato settings` lists them all"
        raise SettingError(f"unknown setting {PREFIX}{name.upper()}{hint}")
    merged: dict[str, object] = {k: v for k, v in given.items() if v != ""}
    merged |= {k: v for k, v in overrides.items() if v is not None}
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        where, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        hint = f"; it can be {_listed(_choices(name))}" if _choices(name) else ""
        raise SettingError(f"{PREFIX}{name.upper()}: {where}{hint}") from None
    _ = settings.keys  # malformed keys stop the start, not the first request
    _check_database(settings.database_url)
    _check_storage(settings.storage_url)
    return settings


def _check_database(url: str) -> None:
    if url and not _DATABASES.fullmatch(url):
        raise SettingError(f"{PREFIX}DATABASE_URL cannot be used; it looks like sqlite:///path or postgresql://…")


def _check_storage(url: str) -> None:
    """The URL is not repeated: it may hold a secret."""
    if not url:
        return
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingError(f"{PREFIX}STORAGE_URL cannot be read ({error}); it can be {_STORES}") from None
    if parts.scheme in _BUCKETS:
        if not parts.netloc:
            raise SettingError(f"{PREFIX}STORAGE_URL names no bucket; it looks like {parts.scheme}://bucket")
    elif parts.scheme not in ("", "file"):
        raise SettingError(f"{PREFIX}STORAGE_URL cannot begin with {parts.scheme!r}; it can be {_STORES}")
    elif parts.netloc not in ("", "localhost") or not parts.path:
        raise SettingError(f"{PREFIX}STORAGE_URL names no folder; a folder has three slashes: file:///folder")


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Settings)


def _choices(name: str) -> tuple[str, ...]:
    """The words that a setting may be, in their order; none where it is anything else."""
    hint = _hints().get(name)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def help_lines() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, in order; the meaning names the words that it may be."""
    lines = []
    for field in msgspec.inspect.type_info(Settings).fields:  # type: ignore[attr-defined]
        meta = (field.type.extra_json_schema or {}) if isinstance(field.type, msgspec.inspect.Metadata) else {}
        words = f": {_listed(_choices(field.name))}" if _choices(field.name) else ""
        lines.append((PREFIX + field.name.upper(), str(field.default), str(meta.get("description", "")) + words))
    return lines


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_the_machine() -> None:
    """Call before torch is imported, in a program that computes. API, engine and trainer share a machine.

    Idle threads spin for some microseconds only, then they sleep: threads that spin for long starve busy neighbours,
    threads that sleep at once make small networks several times slower. A value set already wins.

    Freed memory is kept for the next step: glibc gives large blocks back at once and fetches them anew, page by page,
    which costs up to half of a large batch's time. What a program no longer needs it returns by `malloc_trim`.
    (The figures are in docs/log.md.)
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if platform.libc_ver()[0] == "glibc":
        for option, value in _MALLOC:
            ctypes.CDLL(None).mallopt(option, value)


@contextmanager
def quick_imports() -> Iterator[None]:
    """For what imports torch: Python's garbage collector looks at none of the million objects that come with it.

    Else it goes through them again and again while they come, and once more when the program ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


# <malloc.h>. Blocks up to MMAP_THRESHOLD come from the heap (some versions allow no more than 32 MiB), of which up to
# TRIM_THRESHOLD may lie free; threads share one heap, since the others are small.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC = ((_M_MMAP_THRESHOLD, 1 << 25), (_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_ARENA_MAX, 1))
