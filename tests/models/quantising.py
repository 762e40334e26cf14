"""Writes a tiny model again as people publish quantised ones, and says what its weights are then.

The layouts are those of AutoAWQ ("gemm"), GPTQ and compressed-tensors, read from vLLM 0.32's
loaders. A weight is ``(out, in)``; four-bit values have a scale for 32 inputs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

GROUP = 32
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
Tensors = dict[str, torch.Tensor]
Quantised = tuple[Tensors, torch.Tensor]
"""What is stored of a layer, by the end of its name, and the weight that it stands for."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to quantise: what config.json says of it, and what it makes of one weight."""

    config: Mapping[str, Any]
    quantise: Callable[[torch.Tensor], Quantised]


def write_quantised(plain: Path, folder: Path, kind: Kind) -> Tensors:
    """Write the quantised model of ``plain`` into ``folder``; return its weights in float32."""
    from safetensors.torch import load_file, save_file

    stored, meant = {}, load_file(plain / "model.safetensors")
    for name, weight in meant.items():
        if not name.endswith("_proj.weight"):
            stored[name] = weight
            continue
        parts, meant[name] = kind.quantise(weight)
        stored |= {name.removesuffix("weight") + end: part for end, part in parts.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((plain / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": kind.config}))
    return meant


def awq(weight: torch.Tensor) -> Quantised:
    """Return four-bit values in groups, laid out by inputs, eight outputs in a word."""
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scales = ((high - low) / 15).clamp(min=1e-6).half().float()  # they are stored in half
    zeros = (-low / scales).round().clamp(0, 15)
    values = ((groups / scales).round() + zeros).clamp(0, 15)
    parts = {
        "qweight": _packed(_mixed(values.flatten(1)), 1),
        "qzeros": _packed(_mixed(zeros[..., 0]), 1),
        "scales": scales[..., 0].t().contiguous().half(),
    }
    return parts, ((values - zeros) * scales).flatten(1)


def gptq(weight: torch.Tensor) -> Quantised:
    """Return four-bit values in groups around 8, laid out by inputs, eight inputs in a word."""
    groups = weight.unflatten(1, (-1, GROUP))
    scales = (groups.abs().amax(-1, keepdim=True) / 7).clamp(min=1e-6).half().float()
    values = ((groups / scales).round() + 8).clamp(0, 15)
    zeros = torch.full((scales.shape[1], scales.shape[0]), 7)  # the format stores one less
    parts = {
        "qweight": _packed(values.flatten(1).t(), 0),
        "qzeros": _packed(zeros, 1),
        "scales": scales[..., 0].t().contiguous().half(),
        "g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // GROUP,
    }
    return parts, ((values - 8) * scales).flatten(1)


def int8(weight: torch.Tensor) -> Quantised:
    """Return eight-bit values with one scale for each output."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    values = (weight / scale).round()
    return {"weight": values.to(torch.int8), "weight_scale": scale}, values * scale


def float8(weight: torch.Tensor) -> Quantised:
    """Return eight-bit floats with one scale for all of them."""
    scale = weight.abs().max() / 448
    values = (weight / scale).to(torch.float8_e4m3fn)
    return {"weight": values, "weight_scale": scale.reshape(1)}, values.float() * scale


def _mixed(values: torch.Tensor) -> torch.Tensor:
    """Return ``(out, n)`` values as ``(n, out)``, each eight outputs in the order of AutoAWQ."""
    return values.t().unflatten(1, (-1, 8))[:, :, _AWQ_ORDER].flatten(1)


def _packed(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return words of eight values, of which the first has the lowest bits, along ``dim``."""
    eights = values.to(torch.int64).unflatten(dim, (-1, 8)).movedim(dim + 1, -1)
    words = (eights << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32).contiguous()


def _compressed(kind: str, layout: str, strategy: str) -> dict[str, Any]:
    number = {"num_bits": 8, "type": kind, "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**number, "strategy": strategy, "dynamic": False},
        "input_activations": {**number, "strategy": "token", "dynamic": True},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


_FOUR = {"bits": 4, "group_size": GROUP}
KINDS = {
    "awq": Kind({"quant_method": "awq", "zero_point": True, "version": "gemm", **_FOUR}, awq),
    "gptq": Kind({"quant_method": "gptq", "desc_act": False, "sym": True, **_FOUR}, gptq),
    "int8": Kind(_compressed("int", "int-quantized", "channel"), int8),
}
"""What vLLM computes on an x86 CPU that has the instructions, and its adapters with it."""
REFUSED = {
    "fp8": Kind({"quant_method": "fp8", "activation_scheme": "dynamic"}, float8),
    "fp8 by compressed-tensors": Kind(_compressed("float", "float-quantized", "tensor"), float8),
    "bitsandbytes": Kind({"quant_method": "bitsandbytes", "load_in_8bit": True}, int8),
}
