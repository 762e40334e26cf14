"""Loads in a worker, with a placement that a test lets go on step by step."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need
from veneer_adapters.errors import LoadFailed, NoSlotFree

pytestmark = pytest.mark.engine

lora_loads = need("veneer_server.engine.vllm.lora.loads")
placements = need("veneer_server.engine.vllm.lora.placements")

WAIT_S = 10


class Gate:
    """A placement whose ``prepare`` waits for the test; ``device`` is the map it fills."""

    def __init__(self, slots: int) -> None:
        self.device: list[int | None] = [None] * slots
        self.may_go_on: dict[int, threading.Event] = {}
        self.entered: dict[int, threading.Event] = {}
        self.broken: set[int] = set()
        self.prepared: list[tuple[int, int, Any]] = []

    def prepare(self, request: Any, slot: int, host: Any) -> Any:
        engine_id = request.lora_int_id
        self.prepared.append((engine_id, slot, host))
        self.entered[engine_id].set()
        assert self.may_go_on[engine_id].wait(WAIT_S)
        if engine_id in self.broken:
            raise OSError("the file is gone")
        return f"weights of {engine_id}"

    def commit(self, request: Any, slot: int, host: Any) -> None:
        self.device[slot] = request.lora_int_id

    def matched(self, host: Any) -> list[str]:
        return [f"modules with the {host}"]

    def deactivate(self, engine_id: int) -> None:
        if engine_id in self.device:
            self.device[self.device.index(engine_id)] = None

    unload = deactivate


class Rig:
    """Loads over a gate, and the steps a test takes."""

    def __init__(self, slots: int = 2, host_slots: int = 3) -> None:
        self.gate = Gate(slots)
        self.loads = lora_loads.Loads(self.gate, lambda: self.gate.device, host_slots=host_slots)

    def begin(self, engine_id: int) -> None:
        self.gate.may_go_on.setdefault(engine_id, threading.Event())
        self.gate.entered.setdefault(engine_id, threading.Event())
        self.loads.begin(engine_id, f"a{engine_id}", f"/somewhere/{engine_id}")

    def wait_entered(self, engine_id: int) -> None:
        assert self.gate.entered[engine_id].wait(WAIT_S)

    def let_go_on(self, engine_id: int) -> None:
        futures = [future for _, future in self.loads._writing]
        self.gate.may_go_on[engine_id].set()
        pending = self.loads._pending.get(engine_id)
        for future in [pending.future] if pending else futures:
            future.exception(WAIT_S)

    def load(self, engine_id: int) -> None:
        self.begin(engine_id)
        self.let_go_on(engine_id)
        assert self.loads.finish(engine_id)


def test_an_adapter_is_on_the_device_only_after_it_was_committed() -> None:
    rig = Rig()
    rig.begin(1)
    assert not rig.loads.finish(1)
    rig.let_go_on(1)
    assert rig.gate.device == [None, None]
    assert rig.loads.finish(1)
    assert rig.loads.resident() == {"host": [1], "device": [1]}


def test_loads_of_different_adapters_overlap() -> None:
    rig = Rig()
    rig.begin(1)
    rig.begin(2)
    rig.wait_entered(1)
    rig.wait_entered(2)
    rig.let_go_on(2)
    assert rig.loads.finish(2)
    assert not rig.loads.finish(1)
    rig.let_go_on(1)
    assert rig.loads.finish(1)
    assert {slot for _, slot, _ in rig.gate.prepared} == {0, 1}


def test_beginning_twice_is_one_load() -> None:
    rig = Rig()
    rig.begin(1)
    rig.begin(1)
    rig.let_go_on(1)
    assert rig.loads.finish(1)
    rig.begin(1)
    assert len(rig.gate.prepared) == 1


def test_a_load_from_the_host_copy_reads_nothing() -> None:
    rig = Rig()
    rig.load(1)
    rig.loads.deactivate(1)
    assert rig.loads.resident() == {"host": [1], "device": []}
    rig.load(1)
    assert rig.gate.prepared[-1] == (1, 0, "weights of 1")


def test_a_failed_load_is_told_once_and_leaves_its_slots_free() -> None:
    rig = Rig(slots=1, host_slots=1)
    rig.gate.broken.add(1)
    rig.begin(1)
    rig.let_go_on(1)
    with pytest.raises(OSError, match="gone"):
        rig.loads.finish(1)
    assert rig.loads.resident() == {"host": [], "device": []}
    rig.load(2)
    assert rig.loads.resident() == {"host": [2], "device": [2]}


def test_no_load_begins_without_a_free_slot() -> None:
    rig = Rig(slots=1, host_slots=3)
    rig.begin(1)
    with pytest.raises(NoSlotFree, match="device"):
        rig.begin(2)
    rig.let_go_on(1)
    assert rig.loads.finish(1)
    with pytest.raises(NoSlotFree, match="device"):
        rig.begin(2)


def test_host_copies_and_loads_under_way_share_the_host_slots() -> None:
    rig = Rig(slots=3, host_slots=2)
    rig.load(1)
    rig.begin(2)
    with pytest.raises(NoSlotFree, match="host"):
        rig.begin(3)
    rig.let_go_on(2)


def test_a_slot_is_nobodys_while_an_abandoned_load_may_still_write_to_it() -> None:
    rig = Rig(slots=1, host_slots=3)
    rig.begin(1)
    rig.wait_entered(1)
    rig.loads.unload(1)
    with pytest.raises(NoSlotFree, match="device"):
        rig.begin(2)
    rig.let_go_on(1)
    rig.load(2)
    assert rig.loads.resident() == {"host": [2], "device": [2]}


def test_unloading_frees_both_slots_and_may_be_repeated() -> None:
    rig = Rig()
    rig.load(1)
    rig.loads.unload(1)
    rig.loads.unload(1)
    assert rig.loads.resident() == {"host": [], "device": []}


def test_who_waits_for_a_load_that_was_given_up_is_told_so() -> None:
    rig = Rig()
    rig.begin(1)
    rig.wait_entered(1)
    rig.loads.unload(1)
    with pytest.raises(LoadFailed, match="unloaded"):
        rig.loads.finish(1)
    rig.let_go_on(1)


def test_modules_are_told_of_an_adapter_in_a_slot_and_of_no_other() -> None:
    rig = Rig()
    rig.begin(1)
    assert rig.loads.matched(1) is None
    rig.let_go_on(1)
    rig.loads.finish(1)
    assert rig.loads.matched(1) == ["modules with the weights of 1"]
    rig.loads.deactivate(1)
    assert rig.loads.matched(1) == ["modules with the weights of 1"]
    rig.loads.unload(1)
    assert rig.loads.matched(1) is None


class Slots:
    """As much of vLLM's adapter manager as a search for weights needs."""

    def __init__(self) -> None:
        self.modules = {"up": None, "qkv": None, "norm": None}
        self.packed_modules = {"qkv": ["q", "k", "v"]}

    def _get_lora_layer_weights(self, host: Any, name: str) -> Any:
        return host.get_lora(name)


def test_vllms_own_loader_tells_the_parts_of_packed_modules_that_have_weights() -> None:
    torch = pytest.importorskip("torch")
    from vllm.lora.lora_weights import LoRALayerWeights, PackedLoRALayerWeights

    def weights(name: str) -> Any:
        return LoRALayerWeights(name, 1, 1, torch.ones(1, 2), torch.ones(2, 1))

    packed = PackedLoRALayerWeights.pack([weights("q"), None, weights("v")])
    loras = {"qkv": packed, "up": weights("up"), "elsewhere": weights("elsewhere")}
    host = placements.LoRAModel(1, 1, loras)
    manager = SimpleNamespace(_adapter_manager=Slots())
    assert sorted(placements.VllmPlacement(manager).matched(host)) == ["q", "up", "v"]
