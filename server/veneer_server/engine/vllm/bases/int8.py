"""Whether a processor computes a base whose layers take their inputs in int8; pure.

x86 processors without VNNI add two products of int8 in 16 bits, which overflow with large weights:
oneDNN's product of weights up to 127 was wrong by 22 % of its largest value, and that of weights up
to 60 right (tests/bench/LOG.md, 2026-11-29). Nothing says so, and answers are words all the same.
"""

from collections.abc import Mapping, Set
from typing import Any

from veneer_server.engine.cpu import lacks

REASON = (
    "The base model is quantised to int8 with its inputs, and this processor has no instructions"
    " that multiply int8 exactly (avx512_vnni, avx_vnni or amx_int8), so its answers would be"
    " wrong; serve the same model unquantised, or use another processor."
)


def overflows(config: Mapping[str, Any], instructions: Set[str]) -> bool:
    """Return whether a processor with these ``instructions`` would compute the base wrongly."""
    return lacks("int8", instructions) and _takes_int8(config)


def _takes_int8(config: Mapping[str, Any]) -> bool:
    """Return whether the quantisation of compressed-tensors has int8 inputs in any layer."""
    quantisation = config.get("quantization_config")
    groups = quantisation.get("config_groups") if isinstance(quantisation, dict) else None
    found = groups.values() if isinstance(groups, dict) else ()
    inputs = [group.get("input_activations") for group in found if isinstance(group, dict)]
    return any(
        isinstance(one, dict) and one.get("num_bits") == 8 and one.get("type") == "int"
        for one in inputs
    )
