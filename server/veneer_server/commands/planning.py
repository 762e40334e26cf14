"""How many slots some adapters need, the memory that they take, and how often a request is cold.

Rule: this file computes and reads nothing. The model is given by its ``config.json``, the adapters
by their ranks, and the traffic by each adapter's share of the requests.

The share of cold starts comes from Che's approximation of a least-recently-used cache. An adapter
that gets a share p of the requests is in the cache with probability 1 - exp(-p T). T is the number
for which these probabilities add up to the number of places. Source: H. Che, Y. Tung, Z. Wang,
"Hierarchical Web Caching Systems", IEEE JSAC 20(7), 2002.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from veneer_server.engine.sizing.shapes import Shape
from veneer_server.engine.sizing.sizes import SLOT_RANKS

_MOST_DEVICE, _MOST_HOST = 1024, 4096
"""The upper bounds of ``adapters.device_slots`` and ``adapters.host_slots``."""
_STEPS = 200
"""How often an interval is halved: more often than a float has binary digits."""


class DoesNotFit(ValueError):
    """There is no plan for this memory, or for these ranks."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The adapters, and how often requests name them."""

    ranks: Sequence[int]
    shares: Sequence[float]
    """The share of each adapter in the requests that name an adapter; the sum is 1."""
    at_once: int
    """Requests that run at the same time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, the memory that they take, and the cold starts to expect."""

    device_slots: int
    host_slots: int
    max_rank: int
    device_bytes: int
    host_bytes: int
    kv_tokens: int
    """The size of the KV cache that fits into the rest of the memory, in tokens."""
    cold_share: float
    """The share of the requests for adapters that wait, for a copy or for a load from disk."""
    disk_share: float
    """The share of the requests for adapters that wait for a load from disk."""


def zipf(count: int, skew: float) -> list[float]:
    """Return the shares of ``count`` adapters: the n-th gets 1 / n**skew of the first one's."""
    weights = [1 / rank**skew for rank in range(1, count + 1)]
    return [weight / sum(weights) for weight in weights]


def cold_share(shares: Sequence[float], places: int) -> float:
    """Return the share of requests whose adapter is not in one of the ``places`` of the cache."""
    if places >= len(shares):
        return 0.0
    if places <= 0:
        return 1.0
    low, high = 0.0, 1.0
    while _occupied(shares, high) < places:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _occupied(shares, middle) < places else (low, middle)
    return sum(share * math.exp(-share * high) for share in shares)


def _occupied(shares: Sequence[float], horizon: float) -> float:
    return sum(-math.expm1(-share * horizon) for share in shares)


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that may be used, in bytes, without the base model's weights."""

    device: int
    """For the device slots and the KV cache together."""
    host: int
    """For the host slots."""


def make_plan(shape: Shape, demand: Demand, memory: Memory, target: float) -> Plan:
    """Return a plan with the fewest device slots for a share of cold starts of ``target``.

    If they do not fit, the plan has as many as fit. Device slots take at most half of the device's
    memory, unless the requests that run at the same time need more. Host slots hold every
    adapter, or as many as fit.

    Raises:
        DoesNotFit: a rank is above every slot size, or no memory is left for the KV cache.
    """
    max_rank = _slot_rank(demand.ranks)
    slot = shape.adapter_bytes(max_rank)
    least = max(1, min(demand.at_once, len(demand.ranks)))
    most = max(least, min(memory.device // 2 // slot, _MOST_DEVICE))
    device = min(max(least, _fewest(demand.shares, target)), most)
    left = memory.device - device * slot
    if left <= 0:
        raise DoesNotFit(
            f"{device} device slots of {slot / 2**20:.0f} MiB leave no memory for the KV cache"
        )
    copies = max(device, _copies(shape, demand.ranks, memory.host))
    return Plan(
        device_slots=device,
        host_slots=copies + 1,  # one stays free while an adapter loads
        max_rank=max_rank,
        device_bytes=device * slot,
        host_bytes=sum(map(shape.adapter_bytes, _largest_first(demand.ranks)[:copies])),
        kv_tokens=shape.kv_tokens(left),
        cold_share=cold_share(demand.shares, device),
        disk_share=cold_share(demand.shares, copies),
    )


def _copies(shape: Shape, ranks: Sequence[int], room: int) -> int:
    count = 0
    for rank in _largest_first(ranks)[: _MOST_HOST - 1]:
        room -= shape.adapter_bytes(rank)
        if room < 0:
            break
        count += 1
    return count


def _largest_first(ranks: Sequence[int]) -> list[int]:
    return sorted(ranks, reverse=True)


def _slot_rank(ranks: Sequence[int]) -> int:
    largest = max(ranks, default=1)
    for allowed in SLOT_RANKS:
        if largest <= allowed:
            return allowed
    raise DoesNotFit(f"no slot can hold rank {largest}, because {SLOT_RANKS[-1]} is the largest")


def _fewest(shares: Sequence[float], target: float) -> int:
    low, high = 1, max(1, len(shares))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cold_share(shares, middle) <= target else (middle + 1, high)
    return low
