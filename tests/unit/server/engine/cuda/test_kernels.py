"""Our kernels for CUDA against float64, in Triton's interpreter."""

from typing import Any

import numpy as np
import pytest

from support.asked import need
from support.interpreting import interpreted_launch

pytestmark = pytest.mark.engine

torch = need("torch")
launch = interpreted_launch()

from veneer_server.engine.vllm.cuda.tables import Tables  # noqa: E402

ROUNDED = {torch.float16: 0.002, torch.bfloat16: 0.014}
"""The largest relative error of a row. The interpreter cuts bfloat16 off where a GPU rounds."""
UNTOUCHED = 0.375
DEVICE = launch.Device(processors=1, has_pdl=False, interprets=True)


class Case:
    """A layer with adapters of two ranks in its slots, and a batch that mixes them and the base."""

    def __init__(self, rows: int, width: int, outs: tuple[int, ...], rank: int, slots: int) -> None:
        self.chance = torch.Generator().manual_seed(rows + rank)
        self.rank, self.slots = rank, slots
        self.ranks = {slot: rank if slot % 2 == 0 else max(1, rank // 2) for slot in range(slots)}
        self.mapping = np.array([(7 * row + 3) % (slots + 1) - 1 for row in range(rows)], np.int32)
        self.x = self._random(rows, width, scale=1)
        self.a = [self._random(slots, 1, rank, width, scale=width**-0.5) for _ in outs]
        self.b = [self._random(slots, 1, out, rank, scale=1) for out in outs]
        for slot, own in self.ranks.items():
            for stack in self.b:
                stack[slot, 0, :, own:] = 0  # as vLLM leaves a slot

    def _random(self, *shape: int, scale: float) -> Any:
        return torch.randn(shape, generator=self.chance) * scale

    def to(self, dtype: Any) -> "Case":
        self.x = self.x.to(dtype)
        self.a, self.b = ([stack.to(dtype) for stack in stacks] for stacks in (self.a, self.b))
        return self

    def with_stale_ranks(self) -> "Case":
        """Leave NaN in A beyond each adapter's rank, which nothing may read."""
        for slot, own in self.ranks.items():
            for stack in self.a:
                stack[slot, 0, own:] = torch.nan
        return self

    def run(self) -> Any:
        tables = Tables(max(len(self.x), 8), self.slots, "cpu")
        tables.place(self.mapping, self.mapping[:1], self.ranks, self.rank)
        y = torch.zeros(len(self.x), sum(stack.shape[2] for stack in self.b), dtype=self.x.dtype)
        y[self.mapping < 0] = UNTOUCHED
        layer = launch.layer_of(self.a, self.b)
        size = launch.plan_for(layer, len(self.x)).workspace(layer, len(self.x))
        part = torch.full((size,), torch.nan)
        for one in launch.launches(y, self.x, self.a, self.b, tables, part, DEVICE):
            one.run()
        return y

    def expected(self) -> Any:
        rows = []
        for row, slot in enumerate(self.mapping.tolist()):
            own, x = self.ranks.get(slot, 0), self.x[row].double()
            rows.append(
                [
                    b[slot, 0, :, :own].double() @ (a[slot, 0, :own].double() @ x)
                    if slot >= 0
                    else torch.full((b.shape[2],), UNTOUCHED, dtype=torch.float64)
                    for a, b in zip(self.a, self.b, strict=True)
                ]
            )
        return torch.stack([torch.cat(parts) for parts in rows])


def error_of(case: Case) -> float:
    got, want = case.run().double(), case.expected()
    base = torch.from_numpy(case.mapping < 0)
    assert torch.isfinite(got).all()
    assert torch.equal(got[base], want[base])
    return float(((got - want).norm(dim=1) / want.norm(dim=1)).max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rank", [1, 8, 16, 32, 64, 128])
def test_every_row_gets_its_own_adapter_at_any_rank(rank: int, dtype: Any) -> None:
    case = Case(rows=13, width=128, outs=(64, 64, 64), rank=rank, slots=4).to(dtype)
    assert error_of(case.with_stale_ranks()) < ROUNDED[dtype]


@pytest.mark.parametrize("slots", [1, 3, 32])
def test_any_number_of_adapters_shares_a_step(slots: int) -> None:
    case = Case(rows=40, width=256, outs=(128,), rank=16, slots=slots).to(torch.float16)
    assert error_of(case) < ROUNDED[torch.float16]


@pytest.mark.parametrize("outs", [(192,), (64, 48), (96, 32, 32), (576, 192, 192)], ids=str)
def test_slices_and_inputs_of_uneven_width_are_whole(outs: tuple[int, ...]) -> None:
    case = Case(rows=6, width=576 + 16, outs=outs, rank=16, slots=2).to(torch.float16)
    assert error_of(case) < ROUNDED[torch.float16]


@pytest.mark.parametrize(("width", "parts"), [(2048, 4), (1488, 3), (8192, 8)])
@pytest.mark.parametrize("rows", [6, 260])
def test_the_parts_of_a_wide_input_are_summed(width: int, parts: int, rows: int) -> None:
    case = Case(rows=rows, width=width, outs=(64, 32), rank=8, slots=2).to(torch.float16)
    plan = launch.plan_for(launch.layer_of(case.a, case.b), rows)
    assert plan.parts == (parts if rows == 6 else max(1, parts // 4))
    assert error_of(case) < ROUNDED[torch.float16]


def test_a_prompt_is_cut_into_high_tiles() -> None:
    case = Case(rows=300, width=128, outs=(64, 64), rank=16, slots=3).to(torch.float16)
    assert launch.plan_for(launch.layer_of(case.a, case.b), 300).height == 64
    assert error_of(case) < ROUNDED[torch.float16]


def test_a_step_without_adapters_changes_nothing() -> None:
    case = Case(rows=5, width=64, outs=(64,), rank=8, slots=2).to(torch.float16)
    case.mapping = np.full(5, -1, np.int32)
    assert bool((case.run() == UNTOUCHED).all())


def test_the_same_rows_get_the_same_bits_whoever_else_runs() -> None:
    case = Case(rows=20, width=256, outs=(64,), rank=16, slots=3).to(torch.bfloat16)
    together = case.run()
    others = case.mapping != 1
    case.mapping[others] = -1
    assert torch.equal(case.run()[~others], together[~others])
