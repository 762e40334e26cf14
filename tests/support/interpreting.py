"""Our Triton kernels run by Triton's interpreter, without a GPU."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from support.asked import need

KERNELS = "veneer_server.engine.vllm.cuda.kernels"
_SWITCH = "TRITON_INTERPRET"


def interpreted_launch() -> Any:
    """Return ``cuda.launch``, whose kernels the interpreter runs in this process from now on."""
    need("triton")
    from triton.runtime.interpreter import InterpretedFunction

    with _switched("1"):
        loaded = sys.modules.get(KERNELS)
        if loaded is None:
            importlib.import_module(KERNELS)
        elif not isinstance(loaded.shrink, InterpretedFunction):
            importlib.reload(loaded)
    return importlib.import_module("veneer_server.engine.vllm.cuda.launch")


def compilable_kernels() -> ModuleType:
    """Return a copy of ``cuda.kernels`` that can be compiled, and not run."""
    need("triton")
    found = importlib.util.find_spec(KERNELS)
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("kernels_to_compile", Path(found.origin))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _switched("0"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _switched(value: str) -> Iterator[None]:
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = value
    try:
        yield
    finally:
        del os.environ[_SWITCH]
        if before is not None:
            os.environ[_SWITCH] = before
