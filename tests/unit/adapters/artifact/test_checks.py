"""Which modules of an adapter the base has."""

import pytest

from support import builders
from veneer_adapters.artifact.checks import check_shapes
from veneer_adapters.artifact.manifest import Pair
from veneer_adapters.artifact.tensors import Tensor
from veneer_adapters.errors import AdapterRejected, BaseMismatch, NoEffect, UnsupportedFeature

EXPERT = "model.layers.0.mlp.experts.3.up_proj"


def pair(inputs: int, outputs: int) -> Pair:
    a, b = (Tensor("", "F32", shape, 0, 0) for shape in ((4, inputs), (outputs, 4)))
    return Pair(a, b)


@pytest.mark.parametrize(
    ("modules", "fact", "said"),
    [
        ((builders.Q, EXPERT), UnsupportedFeature, "experts.3.up_proj"),
        ((EXPERT,), UnsupportedFeature, "experts.3.up_proj"),
        ((builders.Q, "model.layers.0.mlp.gate"), BaseMismatch, "mlp.gate"),
        (("elsewhere",), NoEffect, "None of the modules"),
    ],
    ids=["an expert", "only an expert", "another module", "nothing"],
)
def test_a_module_that_the_engine_cannot_change_is_refused_by_name(
    modules: tuple[str, ...], fact: type[AdapterRejected], said: str
) -> None:
    with pytest.raises(fact, match=said):
        check_shapes(dict.fromkeys(modules, pair(16, 16)), builders.FACTS)


def test_every_fault_beside_an_expert_is_told_too() -> None:
    faults: list[AdapterRejected] = []
    pairs = {EXPERT: pair(16, 16), builders.Q: pair(16, 99), builders.V: pair(16, 8)}
    check_shapes(pairs, builders.FACTS, faults.append)
    assert [type(fault) for fault in faults] == [UnsupportedFeature, BaseMismatch]
