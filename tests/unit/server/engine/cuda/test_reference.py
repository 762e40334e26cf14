"""The judge of the kernels: what is right passes, and each way to be wrong is named."""

import numpy as np
import pytest

from veneer_server.engine.vllm.cuda.reference import Array, Batch, batches, expected, find_fault

RNG = np.random.default_rng(3)
RANK, WIDTH, OUT = 8, 48, 40
A = {n: [RNG.standard_normal((RANK, WIDTH)) for _ in range(2)] for n in (1, 2, 3)}
B = {n: [RNG.standard_normal((OUT, RANK)) for _ in range(2)] for n in (1, 2, 3)}


def case(index: int = 0) -> tuple[Batch, Array, Array]:
    batch = batches(3, 4096)[index]
    x = RNG.standard_normal((len(batch.adapters), WIDTH))
    return batch, x, expected(x, A, B, batch)


def test_the_batches_are_a_long_prompt_and_a_decode_step_that_mix_adapters_and_the_base() -> None:
    prompt, decode = batches(3, 4096)
    assert len(prompt.adapters) > 600
    assert prompt.is_prefill
    assert not decode.is_prefill
    assert set(prompt.adapters) == set(decode.adapters) == {0, 1, 2, 3}


@pytest.mark.parametrize(("adapters", "rows"), [(1, 4096), (3, 256), (2, 4)])
def test_the_batches_fit_the_slots_and_the_steps(adapters: int, rows: int) -> None:
    for batch in batches(adapters, rows):
        assert 0 < len(batch.adapters) <= rows
        assert max(batch.adapters) == adapters


def test_each_row_gets_its_own_adapter_and_the_base_none() -> None:
    batch, x, want = case()
    for row in (0, 200, 400, 699):
        adapter = batch.adapters[row]
        parts = zip(A.get(adapter, []), B.get(adapter, []), strict=True)
        one = [up @ (down @ x[row]) for down, up in parts] or [np.zeros(2 * OUT)]
        assert np.allclose(want[row], np.concatenate(one))


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_rounded_to_bfloat16_is_right(index: int) -> None:
    batch, _, want = case(index)
    rounded = (want.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert find_fault(rounded, want, batch) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_wrong(value: float) -> None:
    batch, _, want = case()
    want = want.copy()
    want[650, 3] = value
    assert find_fault(want, case()[2], batch) == (
        "a prompt of 700 tokens: 1 of 700 rows are not finite"
    )


def test_a_row_with_the_adapter_of_another_is_wrong() -> None:
    batch, x, want = case(1)
    shifted = Batch(batch.name, tuple((n % 3) + 1 if n else 0 for n in batch.adapters), False)
    fault = find_fault(expected(x, A, B, shifted), want, batch)
    assert fault is not None
    assert fault.startswith("a decode step: a row is wrong by")


def test_a_row_of_the_base_with_an_adapter_is_wrong() -> None:
    batch, x, want = case(1)
    everywhere = Batch(batch.name, tuple(n or 3 for n in batch.adapters), False)
    fault = find_fault(expected(x, A, B, everywhere), want, batch)
    assert fault == "a decode step: rows of the base get an adapter"
