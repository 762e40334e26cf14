"""Reads what a base model says of itself, before vLLM is started on it: its config and template."""

import json
from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import cached_file

_TEMPLATE, _TOKENIZER, _CONFIG = "chat_template.jinja", "tokenizer_config.json", "config.json"


def read_config(model: str) -> dict[str, Any]:
    """Return the config.json of ``model``, a folder or an id of the Hub; {} if there is none."""
    return _read_object(model, _CONFIG)


def missing_architectures(model: str) -> list[str] | None:
    """Return the class that writes text for a model whose config names none; else None.

    vLLM would take the class without a head, which only embeds.
    """
    config = read_config(model)
    if config.get("architectures"):
        return None
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    return [name] if name else None


def read_template(model: str) -> str | None:
    """Return the chat template of ``model``, a folder or an id of the Hub; None if it has none."""
    if (text := _read(model, _TEMPLATE)) is not None:
        return text
    found = _read_object(model, _TOKENIZER).get("chat_template")
    if isinstance(found, list):
        # Several templates by name; vLLM takes the one for tools when there are tools.
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("tool_use") or named.get("default")
    return found if isinstance(found, str) else None


def _read_object(model: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_read(model, name) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(model: str, name: str) -> str | None:
    # vLLM reads the same files and says what is wrong with them; here they decide only a default.
    try:
        place = cached_file(
            model,
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if place is None else Path(place).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
