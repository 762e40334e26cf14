"""What an adapter does to the model's answers, measured by two requests at the same time.

The engine answers the same short prompt greedily with the adapter and without it. The two requests
run side by side, because the numbers depend on the shape of the batch: among other rows, a sum is
rounded differently. Two equal rows of one batch are rounded in the same way. So an adapter without
any effect differs from the base by exactly zero, also while the engine serves other requests.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import torch
from vllm.inputs import TextPrompt
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams

from veneer_adapters.catalog.proof import Effect
from veneer_adapters.errors import LoadFailed

PROMPT = "The ship left the harbour at dawn, and the people on the shore"
TOKENS = 4
_TOP = 20
"""Log-probabilities that are read for each token; 20 is vLLM's own default limit."""
_FLOOD = 0
"""The token that argmax gives when no logit is larger than the others."""
_ROUNDING = 0.5
"""A smaller change may be rounding, because the two requests may run in different steps. In one
such case bfloat16 moved a log-probability by 0.18. A trained adapter moves one by more than 1."""
_FINE_ROUNDING = 0.001
"""The same in float32. Answers in a batch are within 0.0001 of Transformers' (docs/models.md)."""
_TRIES = 8
"""Most measurements of one adapter. On a busy machine the two requests often run in different
steps, sometimes three times in a row."""


class Client(Protocol):
    """The part of ``AsyncLLM`` that the measurement needs."""

    model_config: Any

    def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, *, lora_request: Any = None
    ) -> Any:
        """Iterate over the outputs of one request."""

    async def collective_rpc(self, method: str, *, args: tuple[Any, ...] = ()) -> list[Any]:
        """Return what ``method`` returned in each worker."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A greedy answer, and the log-probabilities of the likeliest tokens at each position."""

    tokens: tuple[int, ...]
    logprobs: tuple[Mapping[int, float], ...]

    @property
    def is_finite(self) -> bool:
        """True when no log-probability is NaN or infinite."""
        return all(math.isfinite(value) for found in self.logprobs for value in found.values())

    @property
    def is_flood(self) -> bool:
        """True when the answer is ``TOKENS`` times token 0; a shorter answer is no flood."""
        return len(self.tokens) == TOKENS and set(self.tokens) == {_FLOOD}


async def measure_effect(client: Client, request: LoRARequest) -> Effect:
    """Return the effect of the loaded adapter of ``request``; see ``AdapterEngine``.

    Raises:
        LoadFailed: a worker does not hold the adapter.
    """
    matched = await client.collective_rpc("veneer_matched_modules", args=(request.lora_int_id,))
    modules = count_modules(matched)
    smallest, rounding = math.inf, _rounding_of(client.model_config)
    for _ in range(_TRIES):
        base, own = await asyncio.gather(_read(client, None), _read(client, request))
        if not (base.is_finite and own.is_finite):
            blamed = base.is_finite
            return Effect(modules, None, finite=not blamed, repeats=own.is_flood and blamed)
        smallest = min(smallest, largest_change(base, own))
        if smallest == 0.0 or smallest >= rounding:
            break
    return Effect(modules, smallest, finite=True, repeats=own.is_flood and not base.is_flood)


def _rounding_of(model: Any) -> float:
    # What is computed in integers rounds coarsely, whatever the dtype around it.
    is_fine = model.dtype == torch.float32 and model.quantization is None
    return _FINE_ROUNDING if is_fine else _ROUNDING


def count_modules(matched: Iterable[Iterable[str] | None]) -> int:
    """Return how many modules have weights of the adapter, in all workers together.

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
    """Return the largest difference of a log-probability between the two answers.

    Only positions before which both answers are equal count: the first one, and each next one as
    long as both chose the same token.
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
    # A token that ``other`` does not list is at most as likely there as the last one it lists.
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
    # Each request has its own salt, because the prefix cache has numbers from another batch.
    prompt = TextPrompt(prompt=PROMPT, cache_salt=name)
    async for output in client.generate(prompt, sampling, name, lora_request=request):
        last = output.outputs[0]
    logprobs = tuple({token: p.logprob for token, p in at.items()} for at in last.logprobs)
    return Reading(tuple(last.token_ids), logprobs)
