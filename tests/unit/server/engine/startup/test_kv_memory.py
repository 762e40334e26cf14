"""The KV cache's memory is the system's own zeros, taken as they are written."""

import mmap
from pathlib import Path
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch: Any = need("torch")
kv_memory: Any = need("veneer_server.engine.vllm.startup.kv_memory")

PAGES = 4096


def taken_pages() -> int:
    """How many pages of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_a_mapped_cache_is_zero_and_takes_memory_where_it_is_written() -> None:
    before = taken_pages()
    cache = kv_memory.mapped_zeros(PAGES * mmap.PAGESIZE)
    assert cache.dtype is torch.int8
    assert taken_pages() - before < PAGES // 2
    cache[:] = 1
    assert taken_pages() - before > PAGES // 2
    assert not kv_memory.mapped_zeros(PAGES * mmap.PAGESIZE).any()


def test_vllm_makes_its_cache_of_such_memory_and_everything_else_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = need("vllm.v1.worker.gpu_model_runner")
    made = []

    def allocate(size: int) -> Any:
        made.append(torch.zeros(3, dtype=torch.float32))
        return torch.zeros(size, dtype=torch.int8, device=torch.device("cpu"))

    monkeypatch.setattr(runner, "allocate_kv_cache", allocate)
    kv_memory.take_when_used()
    wrapped = runner.allocate_kv_cache
    kv_memory.take_when_used()
    assert runner.allocate_kv_cache is wrapped
    before = taken_pages()
    cache = wrapped(PAGES * mmap.PAGESIZE)
    assert taken_pages() - before < PAGES // 2
    assert cache.numel() == PAGES * mmap.PAGESIZE
    assert made[0].tolist() == [0, 0, 0]
