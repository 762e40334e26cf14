"""Where settings come from: a file and the environment, put over each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

_PREFIX = "VENEER_"


class SettingsError(Exception):
    """The settings cannot be used; the message has one line for each fault."""


def asked_faults(environ: Mapping[str, str], *, allowed: bool) -> list[str]:
    """Return the faults that ``VENEER_FAULTS`` names, separated by commas, for a test.

    Raises:
        SettingsError: it names faults, and they are not ``allowed``.
    """
    specs = [spec.strip() for spec in environ.get("VENEER_FAULTS", "").split(",") if spec.strip()]
    if specs and not allowed:
        raise SettingsError(
            "VENEER_FAULTS breaks the server on purpose and is for tests only; unset this variable"
        )
    return specs


def read_yaml(file: Path | None) -> Mapping[str, Any]:
    """Return the sections of ``file``, none without a file; raises SettingsError."""
    if file is None:
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not YAML: {error}") from error
    if not isinstance(found or {}, dict):
        raise SettingsError(f"{file} must hold sections, as in 'server: {{port: 9000}}'")
    # A section is null when all its lines are comments.
    return {section: fields for section, fields in (found or {}).items() if fields is not None}


def read_environ(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the sections that variables set; raises SettingsError for a contradiction."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        if name.startswith(_PREFIX) and "__" in name:
            section, _, rest = name.removeprefix(_PREFIX).lower().partition("__")
            try:
                _place(found.setdefault(section, {}), rest.split("__"), value)
            except (AttributeError, TypeError) as error:
                raise SettingsError(f"{name} and another variable contradict each other") from error
    return found


def _place(section: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    # pydantic gets plain values as texts, so that a key such as 12345 stays a text. Lists,
    # mappings and single engine.args are written as in YAML.
    as_yaml = value.startswith(("[", "{")) or len(keys) > 1
    section[keys[-1]] = _parse_yaml(value) if as_yaml else value


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return all ``layers`` as one; a later one wins, field by field."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                merged[key] = merge(below, value)
            else:
                merged[key] = value
    return merged


def explain(error: ValidationError) -> str:
    """Return what is wrong, one line for each fault."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "settings"
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no such setting")
        else:
            lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
