"""A worker moves its memory only where it may have it in more than one node."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch: Any = need("torch")
cpu_worker: Any = need("vllm.v1.worker.cpu_worker")
memory_nodes: Any = need("veneer_server.engine.vllm.startup.memory_nodes")


@pytest.mark.parametrize(("nodes", "moved"), [([0], []), ([1], []), ([0, 1], [[0]])])
def test_memory_is_moved_where_there_is_a_choice(
    monkeypatch: pytest.MonkeyPatch, nodes: list[int], moved: list[list[int]]
) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(torch.ops, "_C", SimpleNamespace(init_cpu_memory_env=asked.append))
    monkeypatch.setattr(memory_nodes, "get_memory_affinity", lambda: nodes)
    memory_nodes.bind_where_there_is_a_choice()
    memory_nodes.bind_where_there_is_a_choice()
    torch.ops._C.init_cpu_memory_env([0])
    assert asked == moved


def test_vllms_worker_binds_its_memory_by_the_name_we_replace() -> None:
    source = inspect.getsource(cpu_worker.CPUWorker.__init__)
    assert "torch.ops._C.init_cpu_memory_env([" in source
