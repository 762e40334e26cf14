"""What vLLM puts into the environment of its processes, foreseen before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import tiny
from veneer_server.engine.vllm.startup import environs
from veneer_server.engine.vllm.startup.environs import binding, foreseen

GOMP = {"LD_PRELOAD": "/somewhere/libgomp.so.1"}
NAMES = ("LD_PRELOAD", "TORCHINDUCTOR_COMPILE_THREADS", "TORCHINDUCTOR_CPP_DYNAMIC_THREADS")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with the libraries that vLLM would find."""
    for library in ("torch/lib/libgomp.so.1", "vllm/libs/libtcmalloc_minimal.so.4"):
        (tmp_path / library).parent.mkdir(parents=True)
        (tmp_path / library).touch()
    monkeypatch.setattr(environs, "_folder", lambda package: tmp_path / package)
    return tmp_path


def test_the_libraries_are_those_of_torch_and_vllm(packages: Path) -> None:
    found = foreseen({})["LD_PRELOAD"].split(":")
    assert found == [
        str(packages / "vllm/libs/libtcmalloc_minimal.so.4"),
        str(packages / "torch/lib/libgomp.so.1"),
    ]


def test_libraries_that_the_operator_preloads_stay(packages: Path) -> None:
    mine = "/opt/libiomp5.so:/opt/libtcmalloc.so.4"
    assert foreseen({"LD_PRELOAD": mine})["LD_PRELOAD"] == mine
    more = foreseen({"LD_PRELOAD": "/opt/libmine.so"})["LD_PRELOAD"].split(":")
    assert more[1:] == ["/opt/libmine.so", str(packages / "torch/lib/libgomp.so.1")]


def test_where_there_are_none_nothing_is_preloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environs, "_folder", lambda package: tmp_path / package)
    assert "LD_PRELOAD" not in foreseen({})


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"VLLM_CPU_OMP_THREADS_BIND": "nobind"}, {}),
        (
            {"VLLM_CPU_OMP_THREADS_BIND": "0,2", **GOMP},
            {"OMP_NUM_THREADS": "2", "GOMP_CPU_AFFINITY": "0 2"},
        ),
        ({"VLLM_CPU_OMP_THREADS_BIND": "0,2"}, None),
        (
            {"VLLM_CPU_OMP_THREADS_BIND": "6,0-2", **GOMP},
            {"OMP_NUM_THREADS": "4", "GOMP_CPU_AFFINITY": "6 0 1 2"},
        ),
        ({"VLLM_CPU_OMP_THREADS_BIND": "0-3|4-7", **GOMP}, None),
        ({"VLLM_CPU_OMP_THREADS_BIND": "", **GOMP}, None),
        ({"VLLM_CPU_OMP_THREADS_BIND": "auto", **GOMP}, None),
        (GOMP, None),
    ],
)
def test_the_threads_of_the_first_worker_are_known_where_the_environment_says_all(
    environ: dict[str, str], found: dict[str, str] | None
) -> None:
    assert binding(environ) == found


@pytest.mark.engine
@pytest.mark.timeout(180)
def test_vllm_sets_what_was_foreseen(tmp_path: Path) -> None:
    """Else no process that was begun early would be used, and every start would take longer."""
    code = (
        "import os, sys\n"
        "from vllm.engine.arg_utils import AsyncEngineArgs\n"
        "AsyncEngineArgs(model=sys.argv[1], enforce_eager=True).create_engine_config()\n"
        f"print('SET', [os.environ.get(name) for name in {NAMES!r}])\n"
    )
    model = tiny.model(tmp_path / "tiny")
    environ = {key: value for key, value in os.environ.items() if key not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)],
        env=environ, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    expected = foreseen(environ)
    assert f"SET {[expected.get(name) for name in NAMES]}" in done.stdout, done.stderr[-2000:]
