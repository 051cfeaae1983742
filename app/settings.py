"""The settings: names, types, bounds and defaults. Only this module reads settings from the environment."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from app import access, urls
from app.access import PREFIX as PREFIX
from app.access import SettingError as SettingError
from app.quotas import Quotas
from app.quotas import parse as parse_quotas
from app.similarity import most_similar
from app.wording import listed, type_in_words

REFUSED = 2  # exit status of a program that rejects its settings or arguments; restarting it would not help
# The maximum length in bytes of the path of the sockets' folder. The path of a UNIX socket may have 103 bytes (107 on
# Linux), and the file name takes up to 25 of them.
SOCKET_PATH_LIMIT = 78

PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


def _help(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The settings of a process, each read from the environment variable `OSTINATO_<NAME>`."""

    host: Annotated[str, _help("address that the API binds to; without API keys, loopback only")] = "127.0.0.1"
    port: Annotated[PortNumber, _help("port of the API; 0 chooses a free port")] = 8000
    api_processes: Annotated[Positive, _help("number of API processes, which share the port")] = 1
    data_dir: Annotated[str, _help("folder for the database, blobs, caches and runs")] = "./ostinato-data"
    database_url: Annotated[str, _help("SQLAlchemy URL of the database; empty: SQLite in the data folder")] = ""
    storage_url: Annotated[str, _help("URL of the blob store (file://, s3://, …); empty: the data folder")] = ""
    api_keys: Annotated[str, _help("comma-separated name:secret pairs; `ostinato keys` creates one")] = ""
    key_scopes: Annotated[
        str,
        _help("what each key may do, such as ann:infer+train,ops:operator; scopes: infer, train, registry, operator"),
    ] = ""
    key_quotas: Annotated[
        str,
        _help(
            "limits for each key, such as ann:requests=60+tokens=100000+bytes=10GiB+queued=20+running=2; * stands for "
            "the other keys"
        ),
    ] = ""
    threads: Annotated[Count, _help("number of threads of each engine and trainer; 0: one per core")] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], _help("device that networks run on")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        _help("data type of networks; with auto, the fastest whose answers stay close to those of float32"),
    ] = "auto"
    batch_invariant: Annotated[
        bool, _help("compute with fixed shapes, so that replies are bit-identical regardless of concurrent requests")
    ] = False
    model_memory: Annotated[
        Count,
        _help("MiB of weights above which an engine unloads the least recently used versions; 0: half of the memory"),
    ] = 0
    prefix_memory: Annotated[Count, _help("MiB for the prefix cache (states of earlier prompts); 0: no cache")] = 256
    max_batch_tokens: Annotated[Positive, _help("maximum tokens per classification batch, including padding")] = 4096
    max_slots: Annotated[Positive, _help("maximum concurrent texts of a version, or of adapters of one base")] = 32
    prefill_tokens: Annotated[Positive, _help("maximum prompt tokens processed between two decode steps")] = 512
    max_waiting: Annotated[Positive, _help("limit on waiting requests; further requests get 429")] = 1024
    max_waiting_tokens: Annotated[Positive, _help("limit on waiting tokens; further requests get 429")] = 1_000_000
    max_sequence_seconds: Annotated[
        Seconds, _help("maximum predicted seconds for computing one sequence; requests above it get 400")
    ] = 30.0
    max_texts: Annotated[Positive, _help("maximum number of texts in one request")] = 2048
    max_body_bytes: Annotated[Positive, _help("maximum size of a JSON request body")] = 8_388_608
    max_connections: Annotated[
        Count,
        _help("maximum number of connections to one API process; 0: 4096, or fewer if the limit on open files is low"),
    ] = 0
    max_connections_per_address: Annotated[
        Count,
        _help("maximum number of connections from one address; 0: three quarters of OSTINATO_MAX_CONNECTIONS"),
    ] = 0
    max_upload_bytes: Annotated[Positive, _help("maximum size of an uploaded file")] = 536_870_912
    cache_bytes: Annotated[
        Positive,
        _help("maximum size of a machine's checkpoint cache; the least recently used checkpoints are evicted"),
    ] = 34_359_738_368
    request_timeout: Annotated[Seconds, _help("seconds after which an unfinished request fails with 504")] = 600.0
    load_timeout: Annotated[
        Seconds, _help("maximum seconds that a request waits for its version to load or for an unresponsive engine")
    ] = 60.0
    lease_seconds: Annotated[
        Seconds, Meta(le=600), _help("seconds without a lease renewal after which a job may be taken over; at most 600")
    ] = 20.0
    training_memory: Annotated[
        Count, _help("MiB that a training run may use; larger runs are rejected; 0: the memory of the machine")
    ] = 0
    training_processor_seconds: Annotated[
        Count, _help("seconds of processor time, over all cores, that an attempt at a job may use; 0: no limit")
    ] = 0
    stop_seconds: Annotated[Seconds, _help("seconds that a trainer has to save its progress and stop")] = 1.5
    max_attempts: Annotated[Positive, _help("number of attempts lost in crashes after which a job fails")] = 10
    resume_every_seconds: Annotated[Seconds, _help("seconds between two resume points of a training run")] = 15.0
    keep_runs: Annotated[Count, _help("number of finished run folders to keep")] = 20
    keep_checkpoints: Annotated[
        Positive, _help("number of best checkpoints to keep per job; the others are deleted after a grace period")
    ] = 3
    delete_grace_seconds: Annotated[
        float, Meta(ge=0), _help("seconds after which the blobs of deleted objects may be removed")
    ] = 86_400.0
    default_model: Annotated[str, _help("default model for requests that do not name one")] = ""
    accept_token_ids: Annotated[
        bool, _help("accept token ids on /v1/embeddings even if requests do not name their tokenizer (`token_ids_of`)")
    ] = False
    chat_fallback: Annotated[
        bool,
        _help("accept chat requests for every language model, not only for those trained on conversations"),
    ] = False
    allowed_origins: Annotated[
        str, _help("comma-separated origins of web pages that may call the API from a browser, such as https://my.site")
    ] = ""
    webhook_networks: Annotated[
        str,
        _help(
            "comma-separated networks that webhooks may be sent to, in addition to public addresses, such as "
            "10.1.0.0/16"
        ),
    ] = ""
    webhook_timeout: Annotated[Seconds, _help("time limit in seconds for an endpoint to answer a webhook")] = 10.0
    webhook_attempts: Annotated[Positive, _help("maximum number of attempts to deliver a webhook")] = 20
    webhook_retry_seconds: Annotated[
        Seconds, _help("seconds before the second attempt to send a webhook; each further delay is three times as long")
    ] = 5.0
    max_webhook_endpoints: Annotated[Positive, _help("maximum number of webhook endpoints of each API key")] = 20
    log_format: Annotated[Literal["text", "json"], _help("format of the log lines")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _help("lowest level that is logged")] = "info"
    url: Annotated[
        str,
        _help("for the command line: URL of the service; empty: this machine, with OSTINATO_HOST and OSTINATO_PORT"),
    ] = ""
    api_key: Annotated[str, _help("for the command line: the secret of an API key")] = ""

    @property
    def data(self) -> Path:
        """The data folder, as an absolute path."""
        return Path(self.data_dir).expanduser().resolve()

    @property
    def run_dir(self) -> Path:
        """The folder for the files of running programs, such as their list, the launcher's lock and the quotas."""
        return self.data / "run"

    @property
    def scratch_dir(self) -> Path:
        """The folder for temporary files. The system's temporary folder is not used, because it is often in memory."""
        return self.data / "scratch"

    @cached_property
    def socket_dir(self) -> Path:
        """The folder for engines' sockets: the run folder, or a private temporary one if its path is too long."""
        name = f"ostinato-{os.getuid()}-{hashlib.sha256(os.fsencode(self.run_dir)).hexdigest()[:16]}"
        short = Path("/tmp") / name
        folders = (self.run_dir, Path(tempfile.gettempdir()) / name)
        return next((folder for folder in folders if len(os.fsencode(folder)) <= SOCKET_PATH_LIMIT), short)

    @property
    def training_bytes(self) -> int:
        """The memory that a training run may use on this machine, in bytes."""
        return self.training_memory * 2**20 or installed_memory()

    @property
    def database(self) -> str:
        """The URL of the database: `database_url`, or an SQLite file in the data folder if that setting is empty."""
        return self.database_url or f"sqlite:///{self.data / 'ostinato.db'}"

    @property
    def storage(self) -> str:
        """The URL of the blob store: `storage_url`, or a subfolder of the data folder if that setting is empty."""
        return self.storage_url or (self.data / "blobs").as_uri()

    @property
    def local_url(self) -> str:
        """The URL at which programs on this machine reach the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def service_url(self) -> str:
        """The URL of the service that the command line uses."""
        return self.url or self.local_url

    @property
    def keys(self) -> dict[str, str]:
        """The API keys: a mapping from secrets to names. Raises SettingError if the setting `api_keys` is invalid."""
        return {secret: name for name, secret in access.key_pairs(self.api_keys)}

    @property
    def scopes(self) -> dict[str, frozenset[str]]:
        """The scopes of each key, by name. Raises SettingError if the setting `key_scopes` is invalid."""
        return access.key_scopes(self.key_scopes, self.keys.values())

    @property
    def quotas(self) -> Quotas:
        """The quotas of the keys. Raises SettingError if the setting `key_quotas` is invalid."""
        return parse_quotas(self.key_quotas, self.keys.values())

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of web pages that may call the API. Raises SettingError if `allowed_origins` is invalid."""
        return access.origins(self.allowed_origins, bool(self.api_keys))

    @property
    def networks(self) -> tuple[access.IPNetwork, ...]:
        """The networks that webhooks may be sent to. Raises SettingError if `webhook_networks` is invalid."""
        return access.networks(self.webhook_networks)


def load(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings from the environment. `overrides` that are not None take precedence.

    An empty variable counts as unset. Raises SettingError for an unknown variable or an invalid value.
    """
    environment = os.environ if environment is None else environment
    variables = {k.removeprefix(PREFIX).lower(): v for k, v in environment.items() if k.startswith(PREFIX)}
    _check_names(variables)
    merged: dict[str, object] = {k: v for k, v in variables.items() if v != ""}
    merged |= {k: v for k, v in overrides.items() if v is not None}
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        fault, _, place = str(error).partition(" - at `$.")  # Expected `int` <= 65535 - at `$.port`
        name = place.rstrip("`")
        kind = fault.removeprefix("Expected ").partition(", got ")[0]
        expected = listed(_choices(name)) or type_in_words(kind)
        raise SettingError(f"{PREFIX}{name.upper()}: expected {expected}, not {str(merged[name])!r}") from None
    _ = settings.origins
    _ = settings.networks
    _ = settings.scopes
    _ = settings.quotas
    _ = settings.keys  # malformed keys must be detected at startup, not at the first request
    urls.check_database(settings.database_url)
    urls.check_storage(settings.storage_url)
    return settings


def _check_names(variables: Mapping[str, str]) -> None:
    names = Settings.__struct_fields__
    for name in sorted(set(variables) - set(names)):
        match = most_similar(name, names)
        hint = f"did you mean {PREFIX}{match.upper()}?" if match else "`ostinato settings` lists all settings"
        raise SettingError(f"unknown setting {PREFIX}{name.upper()}; {hint}")


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Settings)


def _choices(name: str) -> tuple[str, ...]:
    """Return the permitted values of a setting, in order; empty if there is no fixed list of values."""
    declared = _types().get(name)
    return get_args(declared) if get_origin(declared) is Literal else ()


def help_lines() -> list[tuple[str, str, str]]:
    """Return (variable, default, description) for every setting. The description lists the permitted values, if any."""
    lines = []
    for field in msgspec.inspect.type_info(Settings).fields:  # type: ignore[attr-defined]
        meta = (field.type.extra_json_schema or {}) if isinstance(field.type, msgspec.inspect.Metadata) else {}
        choices = f": {listed(_choices(field.name))}" if _choices(field.name) else ""
        lines.append((PREFIX + field.name.upper(), str(field.default), str(meta.get("description", "")) + choices))
    return lines


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_memory() -> int:
    """Return the memory of this machine, or of the container in which this process runs, in bytes."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # there is no control group, or it has no limit ("max")
        return min(installed, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return installed
