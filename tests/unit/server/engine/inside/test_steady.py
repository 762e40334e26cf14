"""A row comes out of the base's layers as it would in any other batch, on a CPU."""

from collections.abc import Callable
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
steady_cpu = need("veneer_server.engine.vllm.inside.steady_cpu")

CASES = [
    ("all alike", {1: True, 2: True, 3: True, 64: True}, 1),
    ("one row alone is another kernel", {1: False, 2: True, 3: True, 64: True}, 2),
    ("the last thread gets a single row", {1: False, 2: True, 3: False, 4: True, 5: False}, 2),
    ("each thread gets a single row", {1: False, 2: False, 3: False, 4: True, 5: False}, 4),
    ("too many rows would be needed", {1: False, 8: False, 16: True, 64: True}, None),
    ("every number is rounded otherwise", {1: False, 64: False}, None),
]


@pytest.mark.parametrize(("alike", "multiple"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_row_multiple(alike: dict[int, bool], multiple: int | None) -> None:
    assert steady_cpu.row_multiple(alike) == multiple


def test_a_step_of_one_row_may_take_twice_as_long_and_no_more() -> None:
    cheap, dear = steady_cpu.Tried(2, 1.0, 1.2), steady_cpu.Tried(4, 1.0, 2.5)
    assert steady_cpu.is_worth_it([cheap, dear])
    assert not steady_cpu.is_worth_it([dear, dear, cheap])
    assert steady_cpu.is_worth_it([])


class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Two layers as vLLM has them; where ``odd`` says so, one row of all is rounded otherwise."""

    def __init__(self, odd: Callable[[int], bool]) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.a, self.b = torch.nn.Module(), torch.nn.Module()
        for layer in (self.a, self.b):
            layer.weight = torch.nn.Parameter(torch.empty(0))
            layer.input_size_per_partition, layer.output_size_per_partition = 8, 4
            layer.cpu_linear = self.compute
        self.matrix, self.odd, self.special = torch.randn(4, 8), odd, None

    def compute(self, x: Any, _weight: Any, _bias: Any) -> Any:
        self.calls.append(len(x))
        found = (x[:, None] * self.matrix).sum(-1)
        if self.special is None:
            self.special = x[-1].clone()
        if self.odd(len(x)):
            found[(x == self.special).all(-1)] += 0.5
        return found


@pytest.fixture(autouse=True)
def _time_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_cpu, "_time", lambda *_: 1.0)


def test_a_layer_that_differs_in_one_row_of_many_gets_the_rows_that_it_needs() -> None:
    model = Model(lambda rows: rows % 4 != 0)
    assert steady_cpu.make_steady(model) == {"a": 4, "b": 4}
    x = torch.randn(9, 8)
    x[0] = model.special
    model.calls.clear()
    for rows in (1, 2, 4, 5, 9):
        found = model.b.cpu_linear(x[:rows], None, None)
        assert torch.allclose(found, x[:rows] @ model.matrix.T, atol=1e-4)
    assert model.calls == [4, 4, 4, 8, 12]


def test_a_shape_is_tried_once_and_what_cannot_be_helped_is_named() -> None:
    model = Model(lambda rows: False)
    assert steady_cpu.make_steady(model) == {}
    tried = len(model.calls)
    steady_cpu._try(model.compute, model.a.weight, (8, 4))
    assert len(model.calls) == 2 * tried
    assert steady_cpu.make_steady(Model(lambda rows: rows < 90)) == {"a": None, "b": None}


def test_what_would_cost_too_much_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_cpu, "_time", lambda _compute, x, _weight: float(len(x)))
    model = Model(lambda rows: rows % 4 != 0)
    assert steady_cpu.make_steady(model) == {"a": None, "b": None}
    assert model.a.cpu_linear == model.compute


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(576, 960), (576, 576), (1536, 576)])
def test_after_it_a_real_layer_rounds_one_row_as_it_does_many(
    dtype: Any, shape: tuple[int, int]
) -> None:
    layers = need("vllm.model_executor.layers.utils")
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(
        torch.randn(shape[1], shape[0]).to(dtype), requires_grad=False
    )
    layer.input_size_per_partition, layer.output_size_per_partition = shape
    # By oneDNN, or by PyTorch where that has no product in this dtype, as in bfloat16 for AVX2.
    layers.dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
    if None in steady_cpu.make_steady(torch.nn.ModuleList([layer])).values():
        pytest.skip("this CPU has a kernel of its own for more rows than are worth it")
    x = torch.randn(64, shape[0]).to(dtype)
    whole = layer.cpu_linear(x, layer.weight, None)
    for rows in (1, 2, 5, 16, 33):
        for at in range(0, len(x) - rows + 1, rows):
            found = layer.cpu_linear(x[at : at + rows], layer.weight, None)
            assert torch.equal(found, whole[at : at + rows])
