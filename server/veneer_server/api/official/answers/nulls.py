"""Null members: vLLM writes them where the official schemas want no member at all."""

from collections.abc import Mapping
from typing import Any


def without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``document`` without its null members; nested null members stay."""
    return {key: value for key, value in document.items() if value is not None}
