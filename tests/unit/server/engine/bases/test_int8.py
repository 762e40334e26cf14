"""Bases with inputs in int8, by what the processor can: no engine."""

from typing import Any

import pytest

from veneer_server.engine.vllm.bases.int8 import overflows

OLD = frozenset({"avx2", "fma"})


def config(inputs: Any) -> dict[str, Any]:
    groups = {"group_0": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": inputs}}
    return {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}


INT8 = config({"num_bits": 8, "type": "int"})


@pytest.mark.parametrize("instruction", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_a_processor_with_instructions_for_int8_computes_it(instruction: str) -> None:
    assert overflows(INT8, OLD)
    assert not overflows(INT8, OLD | {instruction})


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"quantization_config": None},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"quantization_config": {"config_groups": ["odd"]}},
        {"quantization_config": {"config_groups": {"g": "odd"}}},
        config(None),
        config({"num_bits": 8, "type": "float"}),
        config({"num_bits": 4, "type": "int"}),
    ],
)
def test_other_bases_are_no_matter_of_it(other: dict[str, Any]) -> None:
    assert not overflows(other, OLD)


def test_nothing_is_said_of_a_processor_that_names_nothing() -> None:
    assert not overflows(INT8, frozenset())
