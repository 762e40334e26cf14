"""What this run of pytest was asked for with ``-m``, known before any test file is read."""

from typing import Any

import pytest

engine = True
"""Whether tests of the engine are among it."""


def note(markers: str) -> None:
    """Remember the expression given with ``-m``, empty when there is none."""
    global engine  # noqa: PLW0603 - one run, one answer
    engine = "not engine" not in markers


def need(module: str) -> Any:
    """Return a module of the engine's packages; skip the whole file where there is none.

    Nor is it imported where nobody asked for the engine: PyTorch and vLLM take seconds of
    every process. Whoever needs one is marked ``engine``.
    """
    if not engine:
        pytest.skip("the engine was not asked for", allow_module_level=True)
    return pytest.importorskip(module)
