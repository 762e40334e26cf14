"""The three lines that a start prints: the memory, how much goes on at once, what to change."""

from veneer_server.engine.sizing.shapes import Base
from veneer_server.engine.sizing.sizes import GIB, Asked, Device, Sizes, kv_room, slot_bytes


def to_lines(device: Device, base: Base, asked: Asked, sizes: Sizes) -> tuple[str, str, str]:
    """Return the lines for the terminal and the log."""
    return (
        f"Memory: {_weights(base, asked)}, {_slots(base, asked, sizes)},"
        f" {_kv(device, base, asked, sizes)}, of {_device(device)}.",
        f"At once: {sizes.max_seqs} sequences, {sizes.device_slots} adapters in a step and"
        f" {sizes.host_slots - 1} in main memory, computed in {_dtype(base, sizes)}.",
        _to_change(base, asked, sizes),
    )


def _weights(base: Base, asked: Asked) -> str:
    if base.weight_bytes is None:
        return "weights of a size that is not known yet"
    return f"{_gib(base.weight_bytes // asked.gpus)} for the weights"


def _slots(base: Base, asked: Asked, sizes: Sizes) -> str:
    slot = slot_bytes(base, sizes.max_rank, asked.gpus)
    size = "" if slot is None else f"{_gib(slot * sizes.device_slots)} for "
    return f"{size}{sizes.device_slots} adapter slots of rank {sizes.max_rank}"


def _kv(device: Device, base: Base, asked: Asked, sizes: Sizes) -> str:
    room = kv_room(device, base, asked, sizes)
    if room is None:
        return "the rest for the KV cache"
    tokens = f" ({base.shape.kv_tokens(room * asked.gpus):,} tokens)" if base.shape else ""
    about = "" if sizes.kv_bytes is not None else "about "
    return f"{about}{_gib(room)} for the KV cache{tokens}"


def _device(device: Device) -> str:
    free = " that are free now" if device.is_cpu else f" of {device.name}"
    return f"{_gib(device.memory_bytes)}{free}"


def _dtype(base: Base, sizes: Sizes) -> str:
    dtype = sizes.dtype if sizes.dtype != "auto" else base.dtype or "the model's own dtype"
    differs = sizes.lora_dtype not in ("auto", dtype)
    return f"{dtype}, with adapters kept in {sizes.lora_dtype}" if differs else dtype


def _to_change(base: Base, asked: Asked, sizes: Sizes) -> str:
    settings = ("limits.max_seqs, adapters.device_slots, adapters.host_slots, adapters.max_rank,"
                " engine.kv_cache_gib, model.dtype")  # fmt: skip
    slot = slot_bytes(base, sizes.max_rank, asked.gpus)
    each = "" if slot is None else f"; a slot takes {slot / 2**20:.0f} MiB"
    short = sizes.needs.adapters - sizes.device_slots
    waiting = f"; {short} of {sizes.needs.adapters} adapters share the slots" if short > 0 else ""
    small = (
        f"; adapters.max_rank: {sizes.needs.rank} serves the adapters of that rank too"
        if sizes.needs.rank > sizes.max_rank
        else ""
    )
    return f"To change: {settings}{each}{waiting}{small}."


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
