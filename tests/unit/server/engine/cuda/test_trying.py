"""Our kernels are tried at the start, and nothing that goes wrong with them ends it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
need("triton")
need("vllm")

from support.cuda_lora import RANK, SLOTS, give_triton, punica_gpu, rig, wrapper_of  # noqa: E402
from veneer_server.engine.vllm.cuda import making, op, selftest, surroundings, trying  # noqa: E402
from veneer_server.engine.vllm.cuda.choosing import ROWS  # noqa: E402
from veneer_server.engine.vllm.cuda.guards import Surroundings, why_unknown  # noqa: E402
from veneer_server.engine.vllm.cuda.ranks import Ranks  # noqa: E402

GOOD = Surroundings(
    capability=(9, 0),
    rank=RANK,
    dtype="bfloat16",
    workers=1,
    fully_sharded=False,
    batch_invariant=False,
)


class Card:
    """What of a GPU the trial asks for: the interpreter is right, and these are its times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.vllm_ms, self.our_ms, self.timed = 8.0, 1.3, 0
        self.wrapper = wrapper_of(op.PunicaWrapperVeneerGPU)
        self.slots = rig(self.wrapper)
        monkeypatch.setattr(trying, "describe", lambda _: GOOD)
        monkeypatch.setattr(trying, "facts_of", lambda *_: {"card": "a card"})
        monkeypatch.setattr(trying, "_compile", lambda *_: None)
        monkeypatch.setattr(trying, "_time_step", self._time_step)
        monkeypatch.setattr(selftest, "_replay", selftest._run)

    def _time_step(self, slots: Any, rows: int) -> float:
        self.timed += 1
        assert slots is self.slots
        return self.our_ms if self.wrapper.served.takes(rows) else self.vllm_ms


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    give_triton(monkeypatch)
    found = Card(monkeypatch)
    yield found
    assert found.slots._last_mapping is None
    assert found.wrapper.no_lora


def test_the_faster_right_kernels_serve_and_their_figures_are_kept(
    card: Card, tmp_path: Path
) -> None:
    choice = trying.try_kernels(card.slots, tmp_path / "lora")
    assert (choice.served, card.wrapper.served) == ("veneer", op.Served(small=True, large=True))


def test_slower_kernels_do_not_serve_and_keep_no_memory(card: Card, tmp_path: Path) -> None:
    card.our_ms = 9.0
    choice = trying.try_kernels(card.slots, tmp_path)
    assert (choice.served, card.wrapper.served) == ("vllm", op.Served())
    assert card.wrapper._part.numel() == 0


def test_the_next_start_tests_again_but_times_nothing(card: Card, tmp_path: Path) -> None:
    first = trying.try_kernels(card.slots, tmp_path)
    timed, card.our_ms = card.timed, 9.0
    assert timed == 2 * len(ROWS)
    assert trying.try_kernels(card.slots, tmp_path) == first
    assert card.timed == timed


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the compiler does not know this card")


@pytest.mark.parametrize("kept", [False, True])
def test_wrong_kernels_never_serve(
    card: Card, tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept:
        trying.try_kernels(card.slots, tmp_path)
    monkeypatch.setattr(op, "launches", lambda *_: [])
    choice = trying.try_kernels(card.slots, tmp_path)
    assert card.wrapper.served == op.Served()
    assert choice.reason.startswith("ours are wrong: qkv, rank 16, a prompt of 700 tokens: a row")


@pytest.mark.parametrize("step", ["_compile", "_time_step", "describe", "find_fault_of"])
def test_a_failure_leaves_vllms_kernels_and_is_the_reason(
    card: Card, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, step, fail)
    selftest.map_batch(card.slots, card.slots.modules["qkv"], selftest.NOTHING)
    choice = trying.try_kernels(card.slots, tmp_path)
    assert choice.reason == "ours failed: RuntimeError: the compiler does not know this card"
    assert card.wrapper.served == op.Served()
    assert not list(tmp_path.glob("*.trying"))
    assert selftest.self_test(card.slots) is None


def test_starts_that_ended_meanwhile_are_not_followed_by_a_third(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> Any:
        raise SystemExit  # as a killed process, but for what it cleans up

    monkeypatch.setattr(trying, "_compile", end)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    for _ in range(2):
        with pytest.raises(SystemExit):
            trying.try_kernels(card.slots, tmp_path)
    choice = trying.try_kernels(card.slots, tmp_path)
    assert choice.reason.startswith("2 starts ended while they tried ours")
    assert card.wrapper.served == op.Served()
    selftest.map_batch(card.slots, card.slots.modules["qkv"], selftest.NOTHING)


def test_a_guard_keeps_vllms_kernels(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "why_not", lambda _: "the card is old")
    selftest.map_batch(card.slots, card.slots.modules["qkv"], selftest.NOTHING)
    assert trying.try_kernels(card.slots, tmp_path).reason == "the card is old"


def test_the_vllm_that_is_installed_is_the_one_we_know() -> None:
    assert why_unknown(surroundings.version(), surroundings.sources()) is None


def test_the_surroundings_are_read_from_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    give_triton(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert surroundings.describe(rig(wrapper_of(op.PunicaWrapperVeneerGPU))) == GOOD


class Adapter:
    """An adapter as vLLM keeps it: plain weights, and packed ones of a fused layer; none of one
    that we packed."""

    rank = 24

    def __init__(self, *parts: Any) -> None:
        self.loras = {str(i): SimpleNamespace(lora_a=part) for i, part in enumerate(parts)}


def matrix(rank: int) -> Any:
    return torch.zeros(rank, 6)


@pytest.mark.parametrize(
    ("adapter", "rank"),
    [
        (Adapter(matrix(8), [matrix(4), None]), 8),
        (Adapter(matrix(8), [matrix(16), matrix(4)]), 16),
        (Adapter(matrix(8), torch.zeros(2, 8, 6)), None),
        (Adapter(matrix(8), "of a mixture"), None),
        (Adapter(), 24),
    ],
)
def test_an_adapters_rank_is_the_largest_of_its_weights(adapter: Any, rank: int | None) -> None:
    ranks = Ranks(SimpleNamespace(_registered_adapters={7: adapter}))
    assert (ranks.rank_of(7), ranks.rank_of(7), ranks.rank_of(8)) == (rank, rank, None)


def make() -> Any:
    from support.cuda_lora import ROWS, config

    return making.make_wrapper(ROWS, 64, "cpu", lora_config=config())


def test_the_wrapper_is_ours_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    give_triton(monkeypatch)
    assert type(make()) is op.PunicaWrapperVeneerGPU


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((op.PunicaWrapperVeneerGPU, "__init__", fail), "ours failed: RuntimeError: the compiler"),
        ((surroundings, "version", lambda: "0.33.0"), "vLLM 0.33.0 is not 0.32.x"),
    ],
)
def test_where_it_does_not_fit_or_fails_the_wrapper_is_vllms_and_says_why(
    change: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_triton(monkeypatch)
    monkeypatch.setattr(*change)
    wrapper = make()
    assert type(wrapper) is punica_gpu.PunicaWrapperGPU
    assert wrapper.veneer_reason.startswith(reason)
    assert selftest.self_test(rig(wrapper)) is None
    assert wrapper.max_loras == SLOTS


def asked(wrapper: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    from veneer_server.engine.vllm.inside import worker

    monkeypatch.setenv("VENEER_LORA_CACHE", str(folder))
    return worker._try_own_kernels(rig(wrapper))


def test_a_worker_says_why_vllms_wrapper_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_triton(monkeypatch)
    wrapper = wrapper_of(punica_gpu.PunicaWrapperGPU)
    said = "LoRA kernels that serve: vllm; "
    assert asked(wrapper, monkeypatch, tmp_path) == f"{said}engine.lora_op is vllm"
    wrapper.veneer_reason = "vLLM 0.33.0 is not 0.32.x"
    assert asked(wrapper, monkeypatch, tmp_path) == f"{said}vLLM 0.33.0 is not 0.32.x"


def test_a_worker_goes_on_where_the_trial_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_triton(monkeypatch)
    monkeypatch.setitem(sys.modules, trying.__name__, None)
    said = asked(wrapper_of(op.PunicaWrapperVeneerGPU), monkeypatch, tmp_path)
    assert said.startswith("LoRA kernels that serve: vllm; ours failed: ")


def test_a_worker_tries_our_kernels_and_says_the_times(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veneer_server.engine.vllm.inside import worker

    monkeypatch.setenv("VENEER_LORA_CACHE", str(tmp_path))
    said = worker._try_own_kernels(card.slots)
    assert said.startswith("LoRA kernels that serve: veneer; timed on this card (vLLM's / ours: 8")
