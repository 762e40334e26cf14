"""The kernel on torch's threads: the same answers, and no thread more."""

import subprocess
import sys
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
need("veneer_server.engine.vllm.lora.op")
need("numba")

JOINED = """
import os
os.environ |= {"NUMBA_NUM_THREADS": "2", "VLLM_LOGGING_LEVEL": "ERROR"}  # as a server has them
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # as vLLM ties its worker
import torch
torch.set_num_threads(2)
torch.ones(10**6).exp()
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
"""
SHARED = """
from veneer_server.engine.vllm.lora.threads import SHARED_ROWS, find_kernel
import numpy as np
kernel = find_kernel(torch.float32, torch.float32)
rows = np.arange(SHARED_ROWS)
stacks = (np.ones((1, 1, 1, 1), np.float32),) + (np.ones((1, 1, 0, 0), np.float32),) * 2
x, y = np.ones((len(rows), 1), np.float32), np.zeros((len(rows), 1), np.float32)
kernel(y, x, rows, np.array([[0, 0, len(rows)]]), np.array([[1, 0, 0]]), stacks, stacks)
assert (y == 1).all()
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_kernel_uses_the_threads_that_torch_has() -> None:
    done = run(
        JOINED
        + SHARED
        + "torch.ones(10**6).exp()\n"
        + "import numba\n"
        + "print(count() - before, torch.get_num_threads(), numba.threading_layer())"
    )
    assert done.stdout.split() == ["0", "2", "omp"], done.stderr


def test_torch_keeps_its_number_of_threads() -> None:
    done = run(JOINED + "torch.set_num_threads(1)\n" + SHARED + "print(torch.get_num_threads())")
    assert done.stdout.split() == ["1"], done.stderr


def test_without_openmp_one_thread_computes_and_the_log_says_so() -> None:
    done = run(
        JOINED
        + "import sys\nsys.modules['numba.np.ufunc.omppool'] = None\n"
        + SHARED
        + "print(torch.get_num_threads())"
    )
    assert done.stdout.split()[-1] == "2", done.stderr
    assert "libgomp1" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("dtype", "weights"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("rank", [3, 16, 64])
@pytest.mark.parametrize("rows", [2, 7, 8, 33])
def test_each_row_comes_out_the_same_however_many_threads_share_the_work(
    dtype: Any, weights: Any, rank: int, rows: int
) -> None:
    import numpy as np

    from veneer_server.engine.vllm.lora.kernel import add_part, add_shared_delta
    from veneer_server.engine.vllm.lora.layer import LayerStacks, as_stored
    from veneer_server.engine.vllm.lora.rows import choose_routes, group_rows
    from veneer_server.engine.vllm.lora.threads import find_kernel

    assert find_kernel(None, None)
    torch.manual_seed(rows)
    layer = LayerStacks(
        [torch.randn(3, 1, rank, 576).to(weights) for _ in range(2)],
        [torch.randn(3, 1, 200, rank).to(weights) for _ in range(2)],
    )
    layer.ranks[:, :2] = rank
    routes = choose_routes(group_rows(torch.arange(rows) % 4 - 1), (rank,) * 3, np.inf)
    x, base = torch.randn(rows, 576).to(dtype), torch.randn(rows, 400).to(dtype)
    assert layer.stored
    batch = routes.rows, routes.short, layer.ranks, *layer.stored
    alone = base.clone()
    add_part(as_stored(alone), as_stored(x), *batch, (0, rows))
    for parts in (1, 2, 5):
        shared = base.clone()
        add_shared_delta(as_stored(shared), as_stored(x), *batch, parts)
        assert torch.equal(alone.view(torch.uint8), shared.view(torch.uint8))
    assert not torch.equal(alone, base)
