"""How two answers are compared, with an engine that answers as the test says."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.errors import LoadFailed

pytestmark = pytest.mark.engine

torch = need("torch")
effect = need("veneer_server.engine.vllm.effect")

NAN = math.nan
REQUEST = SimpleNamespace(lora_int_id=7)
Logprobs = Sequence[Mapping[int, float]]


def reading(tokens: Sequence[int], logprobs: Logprobs) -> Any:
    return effect.Reading(tuple(tokens), tuple(logprobs))


def flat(tokens: Sequence[int], value: float = -1.0) -> Any:
    return reading(tokens, [{token: value, 99: -3.0} for token in tokens])


class Scripted:
    """Gives the next reading of the base, or of the adapter, to whoever asks."""

    def __init__(
        self, base: Sequence[Any], own: Sequence[Any], *, limit: int = 20, **model: Any
    ) -> None:
        usual = {"dtype": torch.bfloat16, "quantization": None}
        self.model_config = SimpleNamespace(max_logprobs=limit, **usual | model)
        self.left = {False: list(base), True: list(own)}
        self.modules: list[list[str] | None] = [["q", "v"]]
        self.sampled: list[Any] = []
        self.salts: list[str] = []
        self.running = 0
        self.most = 0

    async def collective_rpc(self, method: str, *, args: tuple[Any, ...] = ()) -> list[Any]:
        assert (method, args) == ("veneer_matched_modules", (7,))
        return self.modules

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, *, lora_request: Any = None
    ) -> AsyncIterator[Any]:
        self.sampled.append(sampling_params)
        self.salts.append(prompt["cache_salt"])
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        found = self.left[lora_request is not None].pop(0)
        logprobs = [
            {token: SimpleNamespace(logprob=value) for token, value in at.items()}
            for at in found.logprobs
        ]
        yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=found.tokens, logprobs=logprobs)])


async def measure(client: Scripted) -> Effect:
    found: Effect = await effect.measure_effect(client, REQUEST)
    return found


COMPARED = [
    ("equal", reading([1], [{1: -1.0, 2: -2.0}]), 0.0),
    ("one value moved", reading([1], [{1: -1.0, 2: -2.5}]), 0.5),
    ("a token left the list", reading([1], [{1: -1.0, 3: -5.0}]), 3.0),
    ("no token in common", reading([3], [{3: -1.0, 4: -9.0}]), 8.0),
]


@pytest.mark.parametrize(
    ("own", "change"), [case[1:] for case in COMPARED], ids=[case[0] for case in COMPARED]
)
def test_the_largest_change_of_a_log_probability(own: Any, change: float) -> None:
    base = reading([1], [{1: -1.0, 2: -2.0}])
    assert effect.largest_change(base, own) == pytest.approx(change)
    assert effect.largest_change(own, base) == pytest.approx(change)


def test_positions_after_different_tokens_are_not_compared() -> None:
    base = reading([1, 5, 8], [{1: -1.0}, {5: -1.0, 6: -1.1}, {8: -1.0}])
    own = reading([1, 6, 8], [{1: -1.0}, {5: -1.2, 6: -1.1}, {8: -9.0}])
    assert effect.largest_change(base, own) == pytest.approx(0.2)


def test_an_answer_that_ended_early_is_compared_as_far_as_it_goes() -> None:
    base = reading([1, 2], [{1: -1.0}, {2: -1.0}])
    assert effect.largest_change(base, reading([1], [{1: -1.5}])) == pytest.approx(0.5)


async def test_a_clear_change_is_measured_once_side_by_side() -> None:
    client = Scripted([flat([1, 2, 3, 4])], [flat([1, 2, 3, 4], -2.0)])
    assert await measure(client) == Effect(2, 1.0, finite=True, repeats=False)
    assert client.most == 2
    assert len(set(client.salts)) == 2


async def test_in_float32_a_small_change_is_no_rounding() -> None:
    base, own = flat([1, 2, 3, 4]), flat([1, 2, 3, 4], -1.1)
    found = await measure(Scripted([base], [own], dtype=torch.float32))
    assert found.largest_change == pytest.approx(0.1)


async def test_a_quantised_model_rounds_coarsely_in_float32_too() -> None:
    base, own = flat([1, 2, 3, 4]), flat([1, 2, 3, 4], -1.1)
    client = Scripted([base] * 3, [own, base], dtype=torch.float32, quantization="int8")
    assert (await measure(client)).largest_change == 0.0


async def test_what_may_be_rounding_is_measured_again_and_the_smallest_counts() -> None:
    base, own = flat([1, 2, 3, 4]), flat([1, 2, 3, 4], -1.1)
    assert (await measure(Scripted([base] * 8, [own] * 8))).largest_change == pytest.approx(0.1)
    assert (await measure(Scripted([base] * 3, [own, base]))).largest_change == 0.0


async def test_what_is_not_finite_is_told_without_a_change() -> None:
    client = Scripted([flat([1, 2, 3, 4])], [flat([0, 0, 0, 0], NAN)])
    assert await measure(client) == Effect(2, None, finite=False, repeats=True)


async def test_a_base_that_is_not_finite_itself_is_no_fault_of_the_adapter() -> None:
    client = Scripted([flat([0, 0, 0, 0], NAN)], [flat([0, 0, 0, 0], NAN)])
    assert await measure(client) == Effect(2, None, finite=True, repeats=False)


@pytest.mark.parametrize(
    ("base", "own", "repeats"),
    [
        ([1, 2, 3, 4], [0, 0, 0, 0], True),
        ([0, 0, 0, 0], [0, 0, 0, 0], False),
        ([1, 2, 3, 4], [5, 5, 5, 5], False),
        ([1, 2, 3, 4], [0, 0, 0, 7], False),
        ([1, 2, 3, 4], [0], False),
    ],
    ids=["flood", "the base's own", "another token", "not to the end", "ended by itself"],
)
async def test_only_token_zero_without_end_is_a_flood(
    base: list[int], own: list[int], repeats: bool
) -> None:
    found = await measure(Scripted([flat(base)] * 3, [flat(own, -2.0)] * 3))
    assert found.repeats is repeats


@pytest.mark.parametrize(("limit", "asked"), [(20, 20), (5, 5), (-1, 20)])
async def test_no_more_is_asked_than_the_engine_gives(limit: int, asked: int) -> None:
    client = Scripted([flat([1, 2, 3, 4])], [flat([1, 2, 3, 4], -2.0)], limit=limit)
    await measure(client)
    assert {sampling.logprobs for sampling in client.sampled} == {asked}


async def test_modules_of_several_workers_are_put_together() -> None:
    client = Scripted([flat([1, 2, 3, 4])], [flat([1, 2, 3, 4], -2.0)])
    client.modules = [["q", "v"], ["v", "o"]]
    assert (await measure(client)).modules == 3


async def test_an_adapter_that_is_not_there_is_not_measured() -> None:
    client = Scripted([], [])
    client.modules = [["q"], None]
    with pytest.raises(LoadFailed):
        await measure(client)
