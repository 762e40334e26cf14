"""Which modules an adapter may change, from a config and the names and shapes of the weights."""

import json
from collections.abc import Mapping

import pytest

from veneer_adapters.artifact.tensors import Tensor
from veneer_adapters.doctor.base_layers import Shape, adaptable_modules
from veneer_adapters.errors import BaseUnreadable

Q = "model.layers.0.self_attn.q_proj"


def found(
    config: Mapping[str, object],
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    values: Mapping[str, bytes] = {},
) -> dict[str, Shape]:
    headers = {n: Tensor(n, dtype, shape, 0, 0) for n, (dtype, shape) in tensors.items()}
    return adaptable_modules({"model_type": "llama", **config}, headers, values.__getitem__)


def quantised(method: str, **more: object) -> dict[str, object]:
    return {"quantization_config": {"quant_method": method, **more}}


GROUPS = {"group_0": {"weights": {"num_bits": 4}}}
STATE = json.dumps({"shape": [8, 16], "dtype": "bfloat16"}).encode()
STORED = [
    ("plain", {}, {f"{Q}.weight": ("BF16", (8, 16))}),
    ("fp8", quantised("fp8"), {f"{Q}.weight": ("F8_E4M3", (8, 16)), f"{Q}.scale": ("F32", (1,))}),
    ("gptq", quantised("gptq", bits=4), {f"{Q}.qweight": ("I32", (2, 8))}),
    ("awq", quantised("awq", bits=4), {f"{Q}.qweight": ("I32", (16, 1))}),
    ("packed", quantised("compressed-tensors", config_groups=GROUPS),
     {f"{Q}.weight_packed": ("I32", (8, 2)), f"{Q}.weight_shape": ("I64", (2,))}),
    ("eight bits", quantised("bitsandbytes"), {f"{Q}.weight": ("I8", (8, 16))}),
    ("four bits", quantised("bitsandbytes"),
     {f"{Q}.weight": ("U8", (64, 1)), f"{Q}.weight.quant_state.bitsandbytes__nf4": ("U8", (40,))}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "tensors"), [c[1:] for c in STORED], ids=[c[0] for c in STORED])
def test_a_module_has_its_shape_however_its_weight_is_stored(
    config: Mapping[str, object], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    values = {f"{Q}.weight.quant_state.bitsandbytes__nf4": STATE}
    assert found(config, tensors, values) == {Q: (16, 8)}


UNKNOWN = [
    ("another method", quantised("new"), {f"{Q}.qweight": ("I32", (2, 8))}),
    ("no number of bits", quantised("gptq"), {f"{Q}.qweight": ("I32", (2, 8))}),
    ("no state", quantised("bitsandbytes"), {f"{Q}.weight": ("U8", (64, 1))}),
    ("integers", {}, {f"{Q}.weight": ("I32", (8, 16))}),
]


@pytest.mark.parametrize(
    ("config", "tensors"), [c[1:] for c in UNKNOWN], ids=[c[0] for c in UNKNOWN]
)
def test_weights_in_an_unknown_form_are_refused(
    config: Mapping[str, object], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    with pytest.raises(BaseUnreadable):
        found(config, tensors)


NAMES = [
    # stored name, config, PEFT's name or None
    ("model.layers.0.self_attn.qkv_proj", {"model_type": "phi3"}, "same"),
    ("gpt_neox.layers.0.attention.query_key_value", {"model_type": "gpt_neox"}, "same"),
    ("h.0.mlp.dense_h_to_4h", {"model_type": "bloom"}, "transformer.h.0.mlp.dense_h_to_4h"),
    ("lm_head", {}, None),
    ("model.embed_tokens", {}, None),
    ("model.layers.0.conv1d", {}, None),
    ("model.layers.0.mlp.experts.3.up_proj", {"num_experts": 8}, None),
    ("model.layers.0.mlp.gate", {"num_experts": 8}, None),
    ("model.layers.0.mlp.gate", {}, "same"),
    ("model.layers.0.self_attn.kv_b_proj", {"kv_lora_rank": 512}, None),
    ("model.layers.0.self_attn.kv_a_proj_with_mqa", {"kv_lora_rank": 512}, "same"),
    ("model.layers.2.self_attn.q_proj", {"num_hidden_layers": 2}, None),
    ("model.layers.1.self_attn.q_proj", {"num_hidden_layers": 2}, "same"),
    ("visual.blocks.0.attn.qkv", {"text_config": {}}, None),
    ("model.layers.0.self_attn.q_proj", {"text_config": {}},
     "model.language_model.layers.0.self_attn.q_proj"),
    ("language_model.model.layers.0.self_attn.q_proj", {"text_config": {}},
     "model.language_model.layers.0.self_attn.q_proj"),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "config", "name"), NAMES)
def test_a_module_has_the_name_that_peft_writes_or_none(
    stored: str, config: Mapping[str, object], name: str | None
) -> None:
    expected = {stored if name == "same" else name: (16, 8)} if name else {}
    assert found(config, {f"{stored}.weight": ("F32", (8, 16))}) == expected


def test_a_kind_of_model_without_lora_is_refused() -> None:
    with pytest.raises(BaseUnreadable, match="no LoRA"):
        found({"model_type": "gpt2"}, {"h.0.attn.c_attn.weight": ("F32", (16, 48))})
