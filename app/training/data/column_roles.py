"""Checks that no column of a table has two roles."""

from __future__ import annotations

from app.training.data.files import Source


def check_roles(source: Source, roles: dict[str, str], one_hot: tuple[str, ...], steps: tuple[str, ...]) -> None:
    """Raise BadData if one column has two roles, because a model would read the answer or read a text twice.

    Only the time of a step may also be one of its features.
    """
    pairs = [*roles.items(), *(("label", name) for name in one_hot)]
    pairs += [("features", name) for name in steps if name != roles.get("time")]
    by_column: dict[str, str] = {}
    for key, name in pairs:
        other = by_column.setdefault(name, key)
        if other != key:
            raise source.fault(
                f"uses the column {name!r} both as {other} and as {key}; name another column in columns.{other} or "
                f"columns.{key}",
                param=f"columns.{key}",
            )
