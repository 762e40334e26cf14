"""What an adapter does to the model's answers, found by asking the engine twice at once.

The same short prompt is answered greedily with the adapter and without it. Both are asked side
by side, for the numbers depend on the shape of the batch: a sum is rounded differently among
other rows. Two equal rows of one batch are rounded alike, so an adapter without any effect
differs from its base by exactly zero, also while the engine serves others.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from vllm.inputs import TextPrompt
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams

from veneer_adapters.catalog.proof import Effect
from veneer_adapters.errors import LoadFailed

PROMPT = "The ship left the harbour at dawn, and the people on the shore"
TOKENS = 4
_TOP = 20
"""Log-probabilities read per token; vLLM's own default limit."""
_FLOOD = 0
"""What argmax gives where no logit stands out from the others."""
_ROUNDING = 0.5
"""A smaller change may be rounding: the two may have come into different steps, where bfloat16
was seen to move a log-probability by 0.18. A trained adapter moves one by more than 1."""
_TRIES = 8
"""On a busy machine the two often miss each other's steps, three times in a row as well."""


class Client(Protocol):
    """As much of ``AsyncLLM`` as the measurement needs."""

    model_config: Any

    def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, *, lora_request: Any = None
    ) -> Any:
        """Iterate over the outputs of one request."""

    async def collective_rpc(self, method: str, *, args: tuple[Any, ...] = ()) -> list[Any]:
        """Return what ``method`` returned in each worker."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A greedy answer, and the likeliest tokens at each of its positions."""

    tokens: tuple[int, ...]
    logprobs: tuple[Mapping[int, float], ...]

    @property
    def is_finite(self) -> bool:
        """True when no log-probability is NaN or infinite."""
        return all(math.isfinite(value) for found in self.logprobs for value in found.values())

    @property
    def is_flood(self) -> bool:
        """True when the whole answer is token 0; one that ended by itself is none."""
        return len(self.tokens) == TOKENS and set(self.tokens) == {_FLOOD}


async def measure_effect(client: Client, request: LoRARequest) -> Effect:
    """Return what the loaded adapter of ``request`` does; see ``AdapterEngine``.

    Raises:
        LoadFailed: the adapter is in no slot of a worker.
    """
    matched = await client.collective_rpc("veneer_matched_modules", args=(request.lora_int_id,))
    modules = count_modules(matched)
    smallest = math.inf
    for _ in range(_TRIES):
        base, own = await asyncio.gather(_read(client, None), _read(client, request))
        if not (base.is_finite and own.is_finite):
            blamed = base.is_finite
            return Effect(modules, None, finite=not blamed, repeats=own.is_flood and blamed)
        smallest = min(smallest, largest_change(base, own))
        if smallest == 0.0 or smallest >= _ROUNDING:
            break
    return Effect(modules, smallest, finite=True, repeats=own.is_flood and not base.is_flood)


def count_modules(matched: Iterable[Iterable[str] | None]) -> int:
    """Return how many modules have weights of the adapter, each worker's own put together.

    Raises:
        LoadFailed: a worker does not hold the adapter.
    """
    names: set[str] = set()
    for found in matched:
        if found is None:
            raise LoadFailed("The adapter is not loaded, so its effect cannot be measured.")
        names.update(found)
    return len(names)


def largest_change(base: Reading, own: Reading) -> float:
    """Return the largest difference of a log-probability where both had read the same tokens.

    That is the first position, and each that follows as long as both chose the same.
    """
    largest = 0.0
    for at, (ours, theirs) in enumerate(zip(base.logprobs, own.logprobs, strict=False)):
        largest = max(largest, _difference(ours, theirs))
        if base.tokens[at] != own.tokens[at]:
            break
    return largest


def _difference(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    shared = (abs(one[token] - other[token]) for token in one.keys() & other.keys())
    return max(*shared, _lost(one, other), _lost(other, one), 0.0)


def _lost(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    # A token the other does not list is there at most as likely as the last one it lists.
    lowest = min(other.values())
    return max((one[token] - lowest for token in one.keys() - other.keys()), default=0.0)


async def _read(client: Client, request: LoRARequest | None) -> Reading:
    allowed = client.model_config.max_logprobs
    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=TOKENS,
        logprobs=_TOP if allowed < 0 else min(_TOP, allowed),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    name = f"effect-{uuid4().hex}"
    # A salt of its own: what is taken from the prefix cache was computed in another batch.
    prompt = TextPrompt(prompt=PROMPT, cache_salt=name)
    async for output in client.generate(prompt, sampling, name, lora_request=request):
        last = output.outputs[0]
    logprobs = tuple({token: p.logprob for token, p in at.items()} for at in last.logprobs)
    return Reading(tuple(last.token_ids), logprobs)
