"""Layers of the base model for a CPU without torch.compile: they call vLLM's fused C++ ops.

With LoRA, vLLM switches torch.compile off on a CPU. Then the fusion that vLLM's layers rely on is
missing too: a normalisation becomes eight small torch ops. vLLM's CPU extension has fused ops
that its own layers do not use. docs/adr/0008 has the figures.
"""

import torch
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.layernorm import RMSNorm


def register() -> None:
    """Make vLLM build its models from the classes below; a second call does nothing."""
    from vllm.model_executor.custom_op import op_registry_oot

    for own in (FusedRMSNorm, FusedSiluAndMul):
        stock = own.__mro__[1]
        if stock.__name__ not in op_registry_oot:
            stock.register_oot(own)


class FusedRMSNorm(RMSNorm):
    """Root mean square normalisation in one op, with the sum of the residual."""

    def forward_cpu(
        self, x: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return ``x`` normalised; with ``residual``, both are overwritten and returned."""
        if not self._suits(x, residual):
            return self.forward_native(x, residual)
        if residual is None:
            out = torch.empty_like(x)
            torch.ops._C.rms_norm(out, x, self.weight, self.variance_epsilon)
            return out
        torch.ops._C.fused_add_rms_norm(x, residual, self.weight, self.variance_epsilon)
        return x, residual

    def _suits(self, x: torch.Tensor, residual: torch.Tensor | None) -> bool:
        return (
            self.has_weight
            and self.variance_size_override is None
            and x.dtype == self.weight.dtype
            and x.is_contiguous()
            and (residual is None or residual.is_contiguous())
        )


class FusedSiluAndMul(SiluAndMul):
    """``silu(left half) * right half`` in one op."""

    def forward_cpu(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product, half as wide as ``x``."""
        if not x.is_contiguous():
            return self.forward_native(x)
        out = torch.empty((*x.shape[:-1], x.shape[-1] // 2), dtype=x.dtype)
        torch.ops._C.silu_and_mul(out, x)
        return out
