"""The slots of a GPU, as far as a machine without one shows: what a slot holds after any load, and
the order of the copies. vLLM's own loader and layers say what a slot must hold."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import builders
from support.asked import need
from veneer_adapters.errors import LoadFailed
from veneer_server.engine.vllm.lora.pack import PackedPair, pack
from veneer_server.engine.vllm.lora.spans import split_layer

pytestmark = pytest.mark.engine

torch = need("torch")
staging = need("veneer_server.engine.vllm.lora.staging")
choosing = need("veneer_server.engine.vllm.lora.choosing")
lora_loads = need("veneer_server.engine.vllm.lora.loads")
lora_model = need("vllm.lora.lora_model")

SLOTS, MAX_RANK, WIDTH = 3, 8, 16
PARTS = {
    "layers.0.qkv_proj": {"q_proj": 24, "k_proj": 8, "v_proj": 8},
    "layers.0.down_proj": {"down_proj": 12},
}
MODULES = {f"layers.0.{part}": (WIDTH, out) for of in PARTS.values() for part, out in of.items()}
DOWN = "layers.0.down_proj"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def layer_of(outs: list[int], dtype: Any) -> Any:
    """Return vLLM's linear layer, as far as slots are concerned."""
    from vllm.lora.layers import column_parallel_linear, replicated_linear

    cls = (
        replicated_linear.ReplicatedLinearWithLoRA
        if len(outs) == 1
        else column_parallel_linear.MergedColumnParallelLinearWithLoRA
    )
    layer = cls.__new__(cls)
    torch.nn.Module.__init__(layer)
    layer.tp_size, layer.n_slices, layer.output_slices = 1, len(outs), tuple(outs)
    layer.lora_a_stacked = tuple(torch.zeros(SLOTS, 1, MAX_RANK, WIDTH, dtype=dtype) for _ in outs)
    layer.lora_b_stacked = tuple(torch.zeros(SLOTS, 1, out, MAX_RANK, dtype=dtype) for out in outs)
    return layer


def layers_of(dtype: Any) -> dict[str, Any]:
    return {name: layer_of(list(parts.values()), dtype) for name, parts in PARTS.items()}


def spans() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, parts in PARTS.items():
        names = [f"layers.0.{part}" for part in parts]
        found |= split_layer(name, names, WIDTH, list(parts.values()), {})
    return found


def an_adapter(folder: Path, modules: list[str], rank: int, alpha: float, seed: int) -> Path:
    made = builders.tensors(
        {name: MODULES[name] for name in modules}, rank=rank, dtype="BF16", seed=seed
    )
    names = sorted(name.rpartition(".")[2] for name in modules)
    return builders.write(
        folder,
        weights=builders.safetensors(made),
        r=rank,
        lora_alpha=alpha,
        target_modules=names,
    )


def load_by_vllm(layers: dict[str, Any], slot: int, folder: Path, dtype: Any) -> None:
    """Fill a slot as vLLM does: its reader, its scaling, its packing, its layers."""
    from vllm.lora.lora_weights import PackedLoRALayerWeights
    from vllm.lora.peft_helper import PEFTHelper

    model = lora_model.LoRAModel.from_local_checkpoint(
        str(folder),
        expected_lora_modules={name.rpartition(".")[2] for name in MODULES},
        peft_helper=PEFTHelper.from_local_dir(str(folder), 4096),
        lora_model_id=1,
        device="cpu",
        dtype=dtype,
    )
    for name, parts in PARTS.items():
        of = [model.loras.get(f"layers.0.{part}") for part in parts]
        if len(of) > 1 and any(of):
            packed = PackedLoRALayerWeights.pack(of)
            layers[name].set_lora(slot, packed.lora_a, packed.lora_b)
        elif of[0] is not None:
            of[0].optimize()
            layers[name].set_lora(slot, of[0].lora_a, of[0].lora_b)
        else:
            layers[name].reset_lora(slot)


def stacks_of(layers: dict[str, Any]) -> Iterator[Any]:
    for layer in layers.values():
        yield from (*layer.lora_a_stacked, *layer.lora_b_stacked)


def load(staged: Any, slot: int, folder: Path) -> None:
    staged.write(slot, pack(folder, staged.stored, by_output=staged.by_output))


@settings(max_examples=25, deadline=None)
@given(
    loads=st.lists(
        st.tuples(
            st.integers(0, SLOTS - 1),
            st.lists(st.sampled_from(sorted(MODULES)), min_size=1, unique=True),
            st.sampled_from([1, 4, MAX_RANK]),
            st.sampled_from([1, 8, 13, 16.5]),
        ),
        min_size=1,
        max_size=4,
    ),
    dtype=st.sampled_from(sorted(DTYPES)),
)
def test_a_slot_holds_bit_by_bit_what_vllm_puts_there(
    tmp_path_factory: pytest.TempPathFactory, loads: list[Any], dtype: str
) -> None:
    ours, vllms = layers_of(DTYPES[dtype]), layers_of(DTYPES[dtype])
    staged = staging.StagedSlots(ours, spans())
    for seed, (slot, modules, rank, alpha) in enumerate(loads):
        folder = an_adapter(tmp_path_factory.mktemp("adapter"), modules, rank, alpha, seed)
        load(staged, slot, folder)
        load_by_vllm(vllms, slot, folder, DTYPES[dtype])
    for one, other in zip(stacks_of(ours), stacks_of(vllms), strict=True):
        assert torch.equal(one, other)


def filled_with(value: float, rank: int = MAX_RANK) -> dict[str, PackedPair]:
    return {
        name: PackedPair(
            np.full((rank, WIDTH), value, np.float32), np.full((rank, out), value, np.float32)
        )
        for name, (_, out) in MODULES.items()
    }


def test_two_threads_that_load_at_once_fill_each_slot_with_its_own_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = layers_of(torch.float32)
    staged = staging.StagedSlots(layers, spans())

    def alone(act: Any) -> Any:
        def act_alone(*args: Any) -> None:
            # The other thread would use the image now.
            assert not staged._lock.acquire(blocking=False)
            act(*args)

        return act_alone

    monkeypatch.setattr(staged, "_send", alone(staged._send))
    monkeypatch.setattr(staged._weights, "write", alone(staged._weights.write))
    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            list(threads.map(staged.write, range(SLOTS), map(filled_with, range(SLOTS))))
            for n in range(SLOTS):
                assert all((stack[n] == n).all() for stack in stacks_of(layers))


def test_an_adapter_that_does_not_fit_leaves_the_slot_as_it_was() -> None:
    layers = layers_of(torch.float32)
    staged = staging.StagedSlots(layers, spans())
    staged.write(1, filled_with(1))
    half = {**filled_with(2), DOWN: filled_with(2, MAX_RANK + 1)[DOWN]}
    with pytest.raises(LoadFailed):
        staged.write(1, half)
    assert all((stack[1] == 1).all() for stack in stacks_of(layers))
    staged.write(0, filled_with(3, 1))
    for stack in stacks_of(layers):
        assert torch.unique(stack[0]).tolist() == [0, 3]


def test_the_slots_are_tried_and_left_empty() -> None:
    layers = layers_of(torch.bfloat16)
    assert staging.StagedSlots(layers, spans()).find_fault() is None
    assert not any(stack.any() for stack in stacks_of(layers))


@pytest.mark.parametrize(("to", "wrong"), [({2: None}, [2]), ({0: 2}, [0]), ({0: 2, 2: 0}, [0, 2])])
def test_copies_that_do_not_arrive_where_they_should_are_found(
    monkeypatch: pytest.MonkeyPatch, to: dict[int, int | None], wrong: list[int]
) -> None:
    layers = layers_of(torch.bfloat16)
    staged = staging.StagedSlots(layers, spans())
    sending = staged._send

    def send(slot: int) -> None:
        if (other := to.get(slot, slot)) is not None:
            sending(other)

    monkeypatch.setattr(staged, "_send", send)
    assert staged.find_fault() == f"slots {wrong} do not hold what was copied into them"


def test_the_slots_are_tried_in_a_thread_like_those_of_loads() -> None:
    staged = staging.StagedSlots(layers_of(torch.bfloat16), spans())
    entered: list[int] = []
    assert staged.find_fault(lambda: entered.append(threading.get_ident())) is None
    assert len(entered) == 1
    assert entered != [threading.get_ident()]


class Gpu:
    """What is asked of a GPU, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        event = SimpleNamespace(
            record=lambda stream: self.seen.append(f"note {stream}"),
            synchronize=lambda: self.seen.append("wait for them"),
        )
        copies = SimpleNamespace(synchronize=lambda: self.seen.append("wait for the copies"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "the steps launched")
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: copies)
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
        monkeypatch.setattr(torch.cuda, "stream", self.use)

    @contextmanager
    def use(self, _: Any) -> Iterator[None]:
        self.seen.append("begin to copy")
        yield
        self.seen.append("all copies are launched")


def test_a_load_waits_for_the_steps_before_it_and_is_done_when_its_copies_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = layers_of(torch.float32)
    staged = staging.StagedSlots(layers, spans())
    gpu = Gpu(monkeypatch)
    staged._link = staging._Link(torch.device("cuda"))
    writing = staged._weights.write

    def write(*args: Any) -> None:
        gpu.seen.append("write the image")
        writing(*args)

    monkeypatch.setattr(staged._weights, "write", write)
    staged.write(1, filled_with(1))
    assert gpu.seen == [
        "note the steps launched",
        "wait for them",
        "write the image",
        "begin to copy",
        "all copies are launched",
        "wait for the copies",
    ]
    assert all((stack[1] == 1).all() for stack in stacks_of(layers))


def test_copies_that_fail_are_waited_for_before_the_image_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch)
    link = staging._Link(torch.device("cuda"))
    with pytest.raises(OSError, match="lost"), link.copying():
        raise OSError("lost")
    assert gpu.seen == ["begin to copy", "wait for the copies"]


def manager_of(layers: dict[str, Any], wrapper: str = "PunicaWrapperVeneerGPU") -> Any:
    slots = SimpleNamespace(
        modules=layers,
        punica_wrapper_mapping={"language_model": type(wrapper, (), {})()},
        _registered_adapters={},
        _active_adapters={},
        lora_index_to_id=[None] * SLOTS,
    )
    return SimpleNamespace(_adapter_manager=slots)


def test_on_a_gpu_a_load_fills_the_slot_and_the_commit_maps_it(tmp_path: Path) -> None:
    layers = layers_of(torch.bfloat16)
    manager = manager_of(layers)
    slots = manager._adapter_manager
    placement, told = choosing.choose_placement(manager, spans(), lambda: None)
    assert told == choosing.STAGED
    loads = lora_loads.Loads(placement, lambda: slots.lora_index_to_id, host_slots=4)
    folder = an_adapter(tmp_path / "adapter", sorted(MODULES), 4, 8, 0)
    loads.begin(7, "seven", str(folder))
    loads._pending[7].future.result(timeout=60)
    assert loads.finish(7)
    assert slots.lora_index_to_id == [7, None, None]
    assert slots._registered_adapters[7].rank == 4
    assert all(stack[0].any() and not stack[1:].any() for stack in stacks_of(layers))
    with pytest.raises(RuntimeError, match="adapter 8, which is in no slot"):
        manager._load_adapter(SimpleNamespace(lora_int_id=8))


def shared(layers: dict[str, Any]) -> None:
    layers["layers.0.qkv_proj"].tp_size = 2


def again(layers: dict[str, Any]) -> None:
    layers["layers.1.qkv_proj"] = layers["layers.0.qkv_proj"]


def by_rank(layers: dict[str, Any]) -> None:
    layer = layers["layers.0.down_proj"]
    layer.lora_b_stacked = tuple(
        stack.transpose(2, 3).contiguous().transpose(2, 3) for stack in layer.lora_b_stacked
    )


def half_precision(layers: dict[str, Any]) -> None:
    layers.update(layers_of(torch.float16))


def two_dtypes(layers: dict[str, Any]) -> None:
    layers[DOWN] = layer_of([12], torch.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shared, "not every layer is a linear one that is whole"),
        (again, "not every layer is a linear one that is whole"),
        (by_rank, "not in vLLM's order"),
        (half_precision, "not in float32 or bfloat16"),
        (two_dtypes, "several dtypes"),
    ],
)
def test_where_the_slots_are_not_as_we_know_them_vllms_loader_fills_them(
    change: Any, reason: str
) -> None:
    layers = layers_of(torch.bfloat16)
    change(layers)
    placement, told = choosing.choose_placement(manager_of(layers), spans(), lambda: None)
    assert type(placement).__name__ == "VllmPlacement"
    assert reason in told


def test_where_copies_do_not_arrive_vllms_loader_fills_the_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staging.StagedSlots, "_send", lambda *_: None)
    manager = manager_of(layers_of(torch.bfloat16))
    placement, told = choosing.choose_placement(manager, spans(), lambda: None)
    assert type(placement).__name__ == "VllmPlacement"
    assert "slots [0, 2] do not hold what was copied into them" in told
    assert not hasattr(manager, "_load_adapter")


def test_vllms_own_op_keeps_vllms_loader() -> None:
    for layer in (layers := layers_of(torch.bfloat16)).values():
        layer.punica_wrapper = None
    manager = manager_of(layers, "PunicaWrapperGPU")
    placement, told = choosing.choose_placement(manager, spans(), lambda: None)
    assert type(placement).__name__ == "VllmPlacement"
    assert "their layout is not ours" in told
