"""What vLLM puts into the environment of its processes on a CPU, before vLLM is imported.

Rule: vLLM sets it, and these functions foresee it. A wrong guess costs time and nothing else: who
was begun with it is not used (``spare``).
"""

import re
from collections.abc import Mapping
from glob import glob
from importlib.util import find_spec
from pathlib import Path

_OPENMP = ("libomp", "libgomp", "libiomp")
_MALLOC = "libtcmalloc"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_INDUCTOR = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1"}


def foreseen(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what vLLM sets in ``environ`` for the processes that it starts, and they need early.

    Source: ``check_and_update_config`` in vllm/platforms/cpu.py of vLLM 0.32.
    """
    libraries = _preloads(environ)
    return {"LD_PRELOAD": libraries} | _INDUCTOR if libraries else dict(_INDUCTOR)


def _preloads(environ: Mapping[str, str]) -> str:
    names = environ.get("LD_PRELOAD", "")
    torch, vllm = _folder("torch"), _folder("vllm")
    if not any(name in names for name in _OPENMP):
        found = _first(f"{torch.parent}/torch.libs/libgomp*.so*", f"{torch}/lib/libgomp*.so*")
        names = ":".join(filter(None, [names, found]))
    if _MALLOC not in names:
        found = _first(f"{vllm}/libs/libtcmalloc_minimal*.so*", f"{vllm}/libs/libtcmalloc.so*")
        names = ":".join(filter(None, [found, names]))
    return names


def binding(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the variables of OpenMP that vLLM sets in ``environ`` for its first worker.

    None where they depend on more than ``environ``. Source: vllm/utils/ompmultiprocessing.py of
    vLLM 0.32.
    """
    cpus = environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto")
    if cpus == "nobind":
        return {}
    parts = [_RANGE.fullmatch(part) for part in cpus.split(",")]
    if not all(parts) or "libgomp" not in environ.get("LD_PRELOAD", ""):
        return None
    spans = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
    listed = [str(cpu) for first, last in spans for cpu in range(first, last + 1)]
    return {"OMP_NUM_THREADS": str(len(listed)), "GOMP_CPU_AFFINITY": " ".join(listed)}


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Path(spec.origin).parent


def _first(*patterns: str) -> str | None:
    # In the order of ``glob``, of which vLLM takes the first too.
    return next((path for pattern in patterns for path in glob(pattern)), None)
