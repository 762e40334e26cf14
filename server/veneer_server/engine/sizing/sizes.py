"""How many sequences and slots a server has, of which rank, and what the KV cache gets.

Rule 1: this file computes and reads nothing. The device, the model, the adapters and what the
operator set come in as numbers.
Rule 2: what the operator set is taken, or refused with the setting to change; it is never changed.
Rule 3: slots take at most ``SHARE`` of the memory that the weights leave, unless the operator set
both their number and their rank.

docs/configuration.md has the table of these decisions; a test holds it to this file.
"""

from dataclasses import dataclass

from veneer_server.engine.base import EngineNotStarted
from veneer_server.engine.sizing.shapes import Base

GIB = 2**30
SLOT_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that a slot can have. Source: vLLM 0.32, ``MaxLoRARanks`` in config/lora.py."""
SHARE = 0.15
"""The most that slots take of the memory that the weights leave."""
MOST_SLOTS = 32
"""The most slots by default. On an H100, 32 slots of rank 16 add 0.9 ms to each step of an
8B-sized model, 16 slots 0.25 ms, whether or not adapters are in them."""
LEAST_RANK = 16
USUAL_RANK = 64
"""The rank of the slots on a CPU, where an unused rank costs memory and no time."""
USUAL_SEQUENCES = 32
"""How many sequences run at once on a CPU."""
MAX_KV_BYTES = 4 * GIB
"""The most that the KV cache gets on a CPU by default."""
UTILIZATION = 0.92
"""The share of a GPU's memory that the engine uses by default: vLLM's own default."""
WORKING_BYTES = GIB
"""About what a step needs beside weights, slots and KV cache; vLLM measures it at the start."""


class MemoryTooSmall(EngineNotStarted):
    """Weights, slots and KV cache do not fit into the device's memory."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where the model computes."""

    kind: str
    """vLLM's name of the platform: ``cpu``, ``cuda``, ``rocm``, ..."""
    name: str
    memory_bytes: int
    """Of a CPU what is free now; of a GPU all that it has."""
    instructions: frozenset[str] = frozenset()
    """Of an x86 CPU the names that Linux gives to what it can; empty where nothing is known."""

    @property
    def is_cpu(self) -> bool:
        """True when the model computes on the CPU."""
        return self.kind == "cpu"


@dataclass(frozen=True, slots=True)
class Needs:
    """What the adapters need that are known at the start."""

    rank: int = 0
    """The largest rank of any of them."""
    adapters: int = 0
    """How many of them can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator set; None where nothing is set."""

    max_seqs: int | None = None
    device_slots: int | None = None
    host_slots: int | None = None
    max_rank: int | None = None
    kv_bytes: int | None = None
    dtype: str = "auto"
    lora_dtype: str = "auto"
    """Of the adapters' weights; ``auto``: the dtype in which the base is computed."""
    utilization: float = UTILIZATION
    gpus: int = 1
    """Over how many GPUs the weights are spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a server gets."""

    max_seqs: int
    device_slots: int
    host_slots: int
    max_rank: int
    kv_bytes: int | None
    """None: the engine takes what is left when it has measured the rest."""
    dtype: str
    lora_dtype: str = "auto"
    needs: Needs = Needs()


def usual_sequences(device: Device) -> int:
    """Return how many sequences run at once by default.

    Source for GPUs: vLLM 0.32, ``EngineArgs.get_batch_defaults`` for its API server.
    """
    if device.is_cpu:
        return USUAL_SEQUENCES
    is_large = device.memory_bytes >= 70 * GIB and "a100" not in device.name.lower()
    return 1024 if is_large or device.memory_bytes >= 160 * GIB else 256


def choose_sizes(device: Device, base: Base, needs: Needs, asked: Asked) -> Sizes:
    """Return the sizes for ``base`` on ``device``, with room for the adapters of ``needs``.

    Raises:
        MemoryTooSmall: there is not enough memory; the message names what to change.
    """
    room = _room_for_slots(device, base, asked)
    rank = asked.max_rank or _choose_rank(device, base, needs, asked, room)
    slots = asked.device_slots or _choose_slots(device, base, needs, asked, room, rank)
    sizes = Sizes(
        max_seqs=asked.max_seqs or usual_sequences(device),
        device_slots=slots,
        host_slots=asked.host_slots or max(64, 2 * slots),
        max_rank=rank,
        kv_bytes=_choose_kv(device, asked),
        dtype=asked.dtype,
        lora_dtype=asked.lora_dtype,
        needs=needs,
    )
    _require_fit(device, base, asked, sizes)
    return sizes


def slot_bytes(base: Base, rank: int, gpus: int = 1) -> int | None:
    """Return the memory of one slot of ``rank`` on each GPU; None when the shape is not known."""
    return base.shape.adapter_bytes(rank) // gpus if base.shape else None


def kv_room(device: Device, base: Base, asked: Asked, sizes: Sizes) -> int | None:
    """Return about how large the KV cache will be; None when nobody can say before the start."""
    if sizes.kv_bytes is not None:
        return sizes.kv_bytes
    left = _left(device, base, asked)
    slot = slot_bytes(base, sizes.max_rank, asked.gpus)
    if left is None or slot is None:
        return None
    return left - sizes.device_slots * slot - WORKING_BYTES


def _left(device: Device, base: Base, asked: Asked) -> int | None:
    """Return the memory that the weights leave; None when their size is not known."""
    if base.weight_bytes is None:
        return None
    usable = device.memory_bytes * (1.0 if device.is_cpu else asked.utilization)
    return int(usable) - base.weight_bytes // asked.gpus


def _room_for_slots(device: Device, base: Base, asked: Asked) -> int | None:
    left = _left(device, base, asked)
    if left is not None and left <= 0 and not device.is_cpu:
        raise MemoryTooSmall(
            f"The weights of the base model take {_gib(base.weight_bytes or 0, asked.gpus)} GiB,"
            f" and the engine may use {device.memory_bytes * asked.utilization / GIB:.1f} GiB of"
            f" the {device.memory_bytes / GIB:.1f} GiB of {device.name}. Serve a smaller or a"
            " quantised model, or spread it over several GPUs with"
            " engine.args.tensor_parallel_size."
        )
    return None if left is None else int(max(left, 0) * SHARE)


def _choose_rank(device: Device, base: Base, needs: Needs, asked: Asked, room: int | None) -> int:
    least = _slot_rank(max(LEAST_RANK, needs.rank))
    usual = max(least, USUAL_RANK) if device.is_cpu else least
    slots = asked.device_slots or _usual_slots(device, needs)
    if _fits(base, usual, slots, asked, room):
        return usual
    # One slot is the least that is of use. A rank that is too high even for one is refused later,
    # adapter by adapter, with the setting to change.
    lower = [rank for rank in SLOT_RANKS if rank <= least and _fits(base, rank, 1, asked, room)]
    return max(lower, default=SLOT_RANKS[1])


def _fits(base: Base, rank: int, slots: int, asked: Asked, room: int | None) -> bool:
    slot = slot_bytes(base, rank, asked.gpus)
    return slot is None or room is None or slots * slot <= room


def _choose_slots(
    device: Device, base: Base, needs: Needs, asked: Asked, room: int | None, rank: int
) -> int:
    wanted = _usual_slots(device, needs)
    if asked.host_slots is not None:
        wanted = min(wanted, asked.host_slots - 1)
    slot = slot_bytes(base, rank, asked.gpus)
    most = wanted if slot is None or room is None else room // slot
    return max(1, min(wanted, most))


def _usual_slots(device: Device, needs: Needs) -> int:
    return MOST_SLOTS if device.is_cpu else max(8, min(needs.adapters, MOST_SLOTS))


def _slot_rank(rank: int) -> int:
    return next((allowed for allowed in SLOT_RANKS if rank <= allowed), SLOT_RANKS[-1])


def _choose_kv(device: Device, asked: Asked) -> int | None:
    if asked.kv_bytes is not None or not device.is_cpu:
        return asked.kv_bytes
    return min(MAX_KV_BYTES, device.memory_bytes // 4)


def _require_fit(device: Device, base: Base, asked: Asked, sizes: Sizes) -> None:
    if device.is_cpu or base.weight_bytes is None:
        return
    weights = base.weight_bytes // asked.gpus
    slots = sizes.device_slots * (slot_bytes(base, sizes.max_rank, asked.gpus) or 0)
    whole = device.memory_bytes * (1.0 if sizes.kv_bytes else asked.utilization)
    if weights + slots + WORKING_BYTES + (sizes.kv_bytes or 0) <= whole:
        return
    kv = f", {sizes.kv_bytes / GIB:.1f} GiB for the KV cache" if sizes.kv_bytes else ""
    change = "engine.kv_cache_gib, " if sizes.kv_bytes else ""
    raise MemoryTooSmall(
        f"{weights / GIB:.1f} GiB for the weights, {slots / GIB:.1f} GiB for"
        f" {sizes.device_slots} adapter slots of rank {sizes.max_rank}{kv} and about"
        f" {WORKING_BYTES / GIB:.0f} GiB to work in do not fit into the {whole / GIB:.1f} GiB"
        f" of {device.name}. Lower {change}adapters.device_slots or adapters.max_rank."
    )


def _gib(size: int, gpus: int) -> str:
    return f"{size / gpus / GIB:.1f}"
