"""Which layers are prepared for adapters, and which of them run in every step."""

from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
modules = need("veneer_server.engine.vllm.inside.modules")

NAMES = ["qkv_proj", "lm_head", "embed_tokens", "wte", "experts", "gate", "conv1d", "conv_proj"]


def test_heads_embeddings_and_convolutions_take_no_adapters() -> None:
    found = modules.choose_modules(NAMES, heads={"wte"}, experts=())
    assert found == ["experts", "gate", "qkv_proj"]


def test_experts_take_none_where_they_are_named() -> None:
    assert "experts" not in modules.choose_modules(NAMES, heads=(), experts={"experts"})


SPLIT = {"gate_up_proj": ["gate_proj", "up_proj"], "qkv_proj": ["q_proj", "k_proj", "v_proj"]}
TRAINED = [
    ("all apart", ["gate_proj", "up_proj", "q_proj", "k_proj", "v_proj"], set()),
    ("one of them whole", ["gate_up_proj", "q_proj", "k_proj", "v_proj"], {"gate_up_proj"}),
    ("some here, some there", ["gate_up_proj", "gate_proj", "up_proj", "qkv_proj"], {"qkv_proj"}),
    ("nobody knows", [], set()),
]


@pytest.mark.parametrize(("names", "whole"), [t[1:] for t in TRAINED], ids=[t[0] for t in TRAINED])
def test_a_layer_that_was_trained_as_one_module_is_one(names: list[str], whole: set[str]) -> None:
    found = modules.keep_fused(SPLIT, [f"model.layers.0.mlp.{name}" for name in names])
    assert found == SPLIT | {name: [name] for name in whole}


def test_a_layer_that_a_step_leaves_out_is_told() -> None:
    layers = {name: torch.nn.Linear(2, 2) for name in ("always", "once", "never")}
    watch = modules.Watch(layers)
    for names in (("always", "once"), ("always",)):
        for name in names:
            layers[name](torch.zeros(1, 2))
    assert watch.stop(2) == {"once", "never"}
    layers["once"](torch.zeros(1, 2))
    assert watch.stop(2) == {"once", "never"}


def spans(**config: Any) -> dict[str, Any]:
    base = SimpleNamespace(input_size=4, output_sizes=[4, 2, 2])
    layer = object.__new__(modules.BaseLinearLayerWithLoRA)
    torch.nn.Module.__init__(layer)
    layer.base_layer, layer.n_slices = base, 3
    trained = {"h.0.attn.q": (4, 4), "h.0.attn.k": (4, 2), "h.0.attn.v": (4, 2)}
    manager = SimpleNamespace(
        model=SimpleNamespace(veneer_linear_modules=trained),
        modules={"h.0.attn.kv_b_proj": layer},
        packed_modules={"h.0.attn.kv_b_proj": list(trained)},
    )
    return modules.adaptable_spans(manager, SimpleNamespace(**config))


def test_modules_go_where_vllm_computes_them() -> None:
    found = spans(use_mla=False)
    assert {name: (span.first, span.shape) for name, span in found.items()} == {
        "h.0.attn.q": (0, (4, 4)),
        "h.0.attn.k": (1, (4, 2)),
        "h.0.attn.v": (2, (4, 2)),
    }


def test_a_layer_that_is_folded_into_others_takes_none() -> None:
    assert spans(use_mla=True) == {}
