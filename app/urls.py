"""Checks the format of the URLs in settings. Other errors in a URL are detected when it is opened."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.access import PREFIX, SettingError

_DATABASES = re.compile(r"sqlite:///.+|postgres(ql)?(\+psycopg)?://.*")
_BUCKETS = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https")
_STORES = "file:///folder, s3://bucket, gs://bucket, az://container or https://server"


def check_database(url: str) -> None:
    """Check the format of the database's URL. An empty URL stands for SQLite in the data folder."""
    if url and not _DATABASES.fullmatch(url):
        raise SettingError(f"{PREFIX}DATABASE_URL is not valid; it must look like sqlite:///path or postgresql://…")


def check_storage(url: str) -> None:
    """Check the format of the blob store's URL. Messages do not repeat the URL, because it may contain a secret."""
    if not url:
        return
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingError(f"{PREFIX}STORAGE_URL is not a valid URL ({error}); it must look like {_STORES}") from None
    if parts.scheme in _BUCKETS:
        if not parts.netloc:
            raise SettingError(f"{PREFIX}STORAGE_URL contains no bucket; it must look like {parts.scheme}://bucket")
    elif parts.scheme not in ("", "file"):
        raise SettingError(f"{PREFIX}STORAGE_URL cannot begin with {parts.scheme!r}; it must look like {_STORES}")
    elif parts.netloc not in ("", "localhost") or not parts.path:
        raise SettingError(f"{PREFIX}STORAGE_URL contains no folder; a folder needs three slashes: file:///folder")
