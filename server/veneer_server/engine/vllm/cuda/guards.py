"""When our kernels may be tried at all. Pure: the answer is a clause for the log, or None."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

VLLM = "0.32."
"""The versions of vLLM whose wrapper and metadata we know."""
LEAST_RANK, MOST_RANK = 8, 64
LEAST_CAPABILITY = (8, 0)
KNOWN: Mapping[str, str] = {
    "PunicaWrapperGPU.__init__": "fb27cb682d3c37ad",
    "PunicaWrapperGPU.update_metadata": "54a6549cb9424090",
    "PunicaWrapperGPU.add_lora_linear": "5cf2c5090565f287",
    "PunicaWrapperBase._update_base_metadata": "9039cb2f76605aa9",
    "LoRAKernelMeta.prepare_tensors": "cb4c8f795606d159",
    "LoRAKernelMeta.meta_args": "75e69f39be9384ac",
    "BaseLinearLayerWithLoRA._apply_lora_to_output": "09db73aea7b03de3",
    "BaseLinearLayerWithLoRA.create_lora_weights": "79de9cce139c81b4",
}
"""Digests of the methods of vLLM's that we replace, imitate or build on."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the kernels would run in."""

    capability: tuple[int, int]
    rank: int
    """The rank of the slots."""
    dtype: str
    """Of the adapters' weights."""
    workers: int
    fully_sharded: bool
    batch_invariant: bool
    """vLLM's own mode of equal answers, which has kernels of its own."""


def why_unknown(vllm: str, sources: Mapping[str, str]) -> str | None:
    """Return why this vLLM is not one whose wrapper we can stand in for, or None.

    ``sources`` are the source texts of the methods that we replace or imitate, by name.
    """
    changed = [name for name, source in sources.items() if digest(source) != KNOWN.get(name)]
    if not vllm.startswith(VLLM):
        return f"vLLM {vllm} is not {VLLM}x"
    return f"vLLM's {', '.join(changed)} is not the one we know" if changed else None


def why_not(here: Surroundings) -> str | None:
    """Return why vLLM's kernels serve without a try, or None."""
    major, minor = here.capability
    reasons = {
        f"the card's capability is {major}.{minor}": here.capability < LEAST_CAPABILITY,
        f"the slots have rank {here.rank}": not LEAST_RANK <= here.rank <= MOST_RANK,
        f"the adapters are {here.dtype}": here.dtype not in ("bfloat16", "float16"),
        "the model has no linear layer for adapters": here.workers == 0,
        f"{here.workers} workers share each layer": here.workers > 1,
        "the adapters are fully sharded": here.fully_sharded,
        "VLLM_BATCH_INVARIANT is set": here.batch_invariant,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def digest(source: str) -> str:
    """Return a short digest of a source text, without its indentation and blank lines."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
