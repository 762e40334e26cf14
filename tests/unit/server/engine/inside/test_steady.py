"""A row comes out of the base's layers as it would in any other batch, on a CPU."""

from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
steady_cpu = need("veneer_server.engine.vllm.inside.steady_cpu")

CASES = [
    ("all alike", {1: True, 2: True, 64: True}, 1),
    ("one row alone is another kernel", {1: False, 2: True, 64: True}, 2),
    ("up to four", {1: False, 2: True, 4: False, 8: True, 64: True}, 8),
    ("too many rows would be needed", {1: False, 8: False, 16: True, 64: True}, None),
    ("every number is rounded otherwise", {1: False, 64: False}, None),
]


@pytest.mark.parametrize(("alike", "least"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_least_rows(alike: dict[int, bool], least: int | None) -> None:
    assert steady_cpu.least_rows(alike) == least


class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Two layers as vLLM has them; below ``least`` rows they round in another way."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.a, self.b = torch.nn.Module(), torch.nn.Module()
        for layer in (self.a, self.b):
            layer.weight = torch.nn.Parameter(torch.empty(0))
            layer.input_size_per_partition, layer.output_size_per_partition = 8, 4
            layer.cpu_linear = self.compute
        self.matrix, self.least = torch.randn(4, 8), least

    def compute(self, x: Any, _weight: Any, _bias: Any) -> Any:
        self.calls.append(len(x))
        return (x[:, None] * self.matrix).sum(-1) + (0.5 if len(x) < self.least else 0.0)


def test_a_layer_gets_the_rows_that_it_needs_and_no_more() -> None:
    model = Model(least=3)
    assert steady_cpu.make_steady(model) == {"a": 3, "b": 3}
    x = torch.randn(5, 8)
    model.calls.clear()
    for rows in (1, 2, 3, 5):
        found = model.b.cpu_linear(x[:rows], None, None)
        assert torch.allclose(found, x[:rows] @ model.matrix.T)
    assert model.calls == [3, 3, 3, 5]


def test_a_shape_is_tried_once_and_what_cannot_be_helped_is_named() -> None:
    model = Model(least=1000)
    assert steady_cpu.make_steady(model) == {}  # alike in every batch that was tried
    assert len(model.calls) == 1 + len(steady_cpu._ROWS)
    model = Model(least=100)
    assert steady_cpu.make_steady(model) == {"a": None, "b": None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(576, 960), (576, 576), (1536, 576)])
def test_after_it_a_real_layer_rounds_one_row_as_it_does_many(
    dtype: Any, shape: tuple[int, int]
) -> None:
    ops = need("vllm._custom_ops")
    weight = torch.randn(shape[1], shape[0]).to(dtype)
    handler = ops.create_onednn_mm(weight.t(), 32)
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(torch.empty(0, dtype=dtype))
    layer.input_size_per_partition, layer.output_size_per_partition = shape
    layer.cpu_linear = lambda x, _weight, bias: ops.onednn_mm(handler, x, bias)
    if None in steady_cpu.make_steady(torch.nn.ModuleList([layer])).values():
        pytest.skip("this CPU has a kernel of its own for more rows than are worth it")
    x = torch.randn(64, shape[0]).to(dtype)
    whole = layer.cpu_linear(x, layer.weight, None)
    for rows in (1, 2, 5, 16, 33):
        assert torch.equal(layer.cpu_linear(x[:rows], layer.weight, None), whole[:rows])
