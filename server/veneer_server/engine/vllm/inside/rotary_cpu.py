"""Rotary positions on a CPU for queries whose heads are a dimension of their own.

vLLM 0.32's C++ op takes ``(tokens, heads * head_size)``. Given ``(tokens, heads, head_size)``, as
multi-head latent attention gives it, the op takes the last dimension for all heads: it turns some
heads by the positions of other tokens, and leaves the rest as they are. Nothing fails, and the base
model answers nonsense. vLLM's own code in torch is right.
"""

from typing import Any

import torch
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding

_MARK = "veneer_stock_forward_cpu"


def rotate_every_head() -> None:
    """Make vLLM's layer use torch where the op would be wrong; a second call does nothing."""
    if hasattr(RotaryEmbedding, _MARK):
        return
    stock = RotaryEmbedding.forward_cpu

    def forward_cpu(
        self: Any, positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        flat = query.dim() == 2 and (key is None or key.dim() == 2)
        forward = stock if flat else RotaryEmbedding.forward_native
        return forward(self, positions, query, key)

    setattr(RotaryEmbedding, _MARK, stock)
    RotaryEmbedding.forward_cpu = forward_cpu
