"""What every part of a row is checked with. Pure functions that raise ``InvalidRow``."""

from collections.abc import Collection, Mapping
from typing import Any

from veneer_server.training.rows.faults import InvalidRow

_SHOWN_CHARS = 40


def refuse_unknown(found: Mapping[str, Any], known: Collection[str], path: str) -> None:
    """Return if ``found`` has only ``known`` members."""
    if unknown := [key for key in found if key not in known]:
        at = f"'{path}' has" if path else "the row has"
        raise InvalidRow(f"{at} a member {short(unknown[0])}, which is none of {listed(known)}")


def array(found: Any, path: str, most: int) -> list[Any]:
    """Return ``found``, an array of 1 to ``most`` values."""
    if not isinstance(found, list) or not found:
        raise InvalidRow(f"'{path}' must be an array with at least one value")
    if len(found) > most:
        raise InvalidRow(f"'{path}' has {len(found)} values, more than {most}")
    return found


def an_object(found: Any, path: str) -> dict[str, Any]:
    """Return ``found``, an object."""
    if not isinstance(found, dict):
        raise InvalidRow(f"'{path}' must be an object")
    return found


def text(found: Any, path: str) -> str:
    """Return ``found``, a text."""
    if not isinstance(found, str):
        raise InvalidRow(f"'{path}' must be a text")
    return found


def short(found: Any) -> str:
    """Return what to show of a value that a stranger wrote."""
    shown = repr(found)
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "..."


def listed(known: Collection[str]) -> str:
    """Return the names, to be read."""
    return ", ".join(f"'{name}'" for name in known)
