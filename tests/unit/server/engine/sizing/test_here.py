"""The dtypes that a server would choose on this machine, without an engine."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from support.checkpoints import checkpoint
from unit.server.engine.sizing.test_precision import CPUS, OLD
from veneer_server.engine.sizing import here
from veneer_server.engine.sizing.here import device_here, dtypes_here
from veneer_server.engine.sizing.sizes import Asked, Device


@pytest.mark.parametrize(
    ("instructions", "stored", "asked", "found"),
    [
        ("x86 without instructions for bfloat16", "bfloat16", "auto", ("float32", "bfloat16")),
        ("x86 without instructions for bfloat16", "float32", "auto", ("float32", "bfloat16")),
        ("x86 without instructions for bfloat16", "bfloat16", "bfloat16", ("bfloat16", "bfloat16")),
        ("AMX, or AVX512 with bfloat16", "float32", "auto", ("bfloat16", "bfloat16")),
        ("AMX, or AVX512 with bfloat16", "bfloat16", "float32", ("float32", "float32")),
    ],
)
def test_the_dtypes_are_what_was_asked_for_or_what_the_cpu_can(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instructions: str,
    stored: str,
    asked: str,
    found: tuple[str, str],
) -> None:
    cpu = Device("cpu", "this machine", OLD.memory_bytes, CPUS[instructions])
    monkeypatch.setattr(here, "this_cpu", lambda: cpu)
    assert dtypes_here(checkpoint(tmp_path, dtype=stored), Asked(dtype=asked)) == found


@pytest.mark.parametrize(
    ("installed", "target", "on_cpu"),
    [
        ("0.32.0", None, False),
        ("0.32.0", "cpu", True),
        ("0.32.0+cpu", None, True),
        (None, None, True),
    ],
)
def test_a_build_for_gpus_is_told_from_one_for_cpus(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, target: str | None, on_cpu: bool
) -> None:
    def version(_name: str) -> str:
        if installed is None:
            raise PackageNotFoundError
        return installed

    monkeypatch.setattr(here, "version", version)
    if target:
        monkeypatch.setenv("VLLM_TARGET_DEVICE", target)
    assert device_here().is_cpu == on_cpu
