"""What vLLM's kernels read of a batch is what vLLM itself would have written."""

import numpy as np
import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
metadata = need("vllm.lora.ops.triton_ops.lora_kernel_metadata")

from veneer_server.engine.vllm.cuda.tables import Mix, Tables  # noqa: E402

ROWS, SLOTS = 40, 5


def vllms(slots: list[int]) -> object:
    meta = metadata.LoRAKernelMeta.make(SLOTS, ROWS, "cpu")
    meta.prepare_tensors(torch.tensor(slots))
    return meta


def check(mix: Mix, slots: list[int]) -> None:
    meta = vllms(slots)
    ours = {
        "token_lora_mapping": mix.slot_of_row,
        "token_indices_sorted_by_lora_ids": mix.rows,
        "active_lora_ids": mix.slots,
        "num_tokens_per_lora": mix.counts,
        "lora_token_start_loc": mix.firsts,
    }
    for name, got in ours.items():
        want = getattr(meta, name)
        length = len(slots) if len(want) == ROWS else len(want)
        assert got.dtype == want.dtype
        assert torch.equal(got[:length], want[:length]), name


@pytest.mark.parametrize("seed", range(6))
def test_vllms_tables_hold_what_vllm_would_write(seed: int) -> None:
    chance = np.random.default_rng(seed)
    tables = Tables(ROWS, SLOTS, "cpu")
    for rows in (ROWS, 7, 1):  # what an earlier, longer batch left must not count
        tokens = chance.integers(-1, SLOTS, rows).astype(np.int32)
        samples = chance.integers(0, SLOTS, max(1, rows // 2)).astype(np.int32)
        tokens[0] = 0
        tables.place(tokens, samples, {}, 16)
        check(tables.tokens, tokens.tolist())
        check(tables.samples, samples.tolist())
        assert not tables.no_lora


def test_a_batch_of_the_base_is_said_to_have_no_adapter() -> None:
    tables = Tables(ROWS, SLOTS, "cpu")
    base, mixed = np.full(3, -1, np.int32), np.array([-1, 2], np.int32)
    tables.place(mixed, base, {}, 16)
    assert (tables.no_lora, tables.no_lora_samples) == (False, True)
    tables.place(base, np.empty(0, np.int32), {}, 16)
    assert (tables.no_lora, tables.no_lora_samples) == (True, True)
    assert int(tables.tiles(16)[0]) == 0


def test_the_tables_stay_where_they_are() -> None:
    tables = Tables(ROWS, SLOTS, "cpu")
    before = [tables.rows.data_ptr(), *(tables.tiles(height).data_ptr() for height in (16, 64))]
    tables.place(np.zeros(9, np.int32), np.zeros(1, np.int32), {}, 16)
    after = [tables.rows.data_ptr(), *(tables.tiles(height).data_ptr() for height in (16, 64))]
    assert before == after
    assert all(address % 16 == 0 for address in after)
