"""A worker on a CPU that moves its memory only where there is more than one node to move it to.

vLLM's worker ties itself to a memory node and moves what it has there. For that the kernel first
asks a thread of its own on every CPU, and waits. On a busy machine such a thread was kept waiting
for two minutes, and the start of the engine with it, for a machine with one node.
"""

import torch
from vllm.utils.cpu_resource_utils import get_memory_affinity

_BIND = "init_cpu_memory_env"
_MARK = "veneer_stock_init_cpu_memory_env"


def bind_where_there_is_a_choice() -> None:
    """Make vLLM's workers in this process leave a single memory node alone; twice is safe."""
    ops = torch.ops._C
    if hasattr(ops, _MARK):
        return
    stock = getattr(ops, _BIND)

    def bind(nodes: list[int]) -> None:
        if len(get_memory_affinity()) > 1:  # of those that the system lets this process have
            stock(nodes)

    setattr(ops, _MARK, stock)
    setattr(ops, _BIND, bind)
