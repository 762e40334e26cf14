"""What the gateway may ask a worker: to load adapters, which ones it holds, how it computes them.

vLLM mixes ``VeneerWorkerExtension`` into its worker. ``collective_rpc`` calls the methods by name,
between two steps. The methods of a load return an error as text and never raise it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm.platforms import current_platform

from veneer_server.engine.vllm.cuda.selftest import self_test
from veneer_server.engine.vllm.inside.modules import Watch, adaptable_spans
from veneer_server.engine.vllm.inside.steady_cpu import make_steady
from veneer_server.engine.vllm.lora.choosing import choose_placement, veneer_wrappers
from veneer_server.engine.vllm.lora.loads import Loads
from veneer_server.engine.vllm.lora.spans import Span

Failure = str | None
"""An error as ``NameOfTheError: sentence``, None without an error."""


class VeneerWorkerExtension:
    """Methods that vLLM's worker gets in addition; their prefix keeps its own names safe."""

    model_runner: Any
    _loads: Loads
    device: Any
    _kernel_fault: str | None
    _lora_kernels: str
    _least_rows: dict[str, int | None]
    _known_spans: dict[str, Span]
    _watch: Watch

    def veneer_ping(self) -> None:
        """Return, which says that this worker is alive and between two steps."""

    def veneer_lora_op(self) -> str:
        """Return the class that applies adapters in this worker, or ``none`` without LoRA."""
        if not hasattr(self.model_runner, "lora_manager"):
            return "none"
        ops = {type(module.punica_wrapper).__name__ for module in self._slots().modules.values()}
        return ",".join(sorted(ops))

    def veneer_prove_kernels(self) -> None:
        """Test the kernels for adapters on a GPU; on a CPU make the base's layers steady.

        Call it when the weights are loaded.
        """
        if current_platform.is_cuda():
            self.veneer_test_kernels()
        elif current_platform.is_cpu():
            self._least_rows = make_steady(self.model_runner.model)

    def veneer_least_rows(self) -> dict[str, int | None]:
        """Return the layers of the base whose batches are filled up, and to a multiple of what.

        None where a row goes on to depend on how many others there are.
        """
        return getattr(self, "_least_rows", {})

    def veneer_test_kernels(self) -> str | None:
        """Test the kernels for adapters; return what they compute wrong, or None.

        Call it before the first load. ``veneer_kernel_fault`` returns the same again.
        """
        self._kernel_fault = self_test(self._slots())
        if self._kernel_fault is None:
            self._lora_kernels = _try_own_kernels(self._slots())
        return self._kernel_fault

    def veneer_kernel_fault(self) -> str | None:
        """Return what the last test of the kernels found; None where there was no test."""
        return getattr(self, "_kernel_fault", None)

    def veneer_lora_kernels(self) -> str | None:
        """Return which kernels serve on CUDA and the figures that chose them; None on a CPU."""
        return getattr(self, "_lora_kernels", None)

    def veneer_lora_kernel(self) -> str:
        """Return what computes adapters in a decode step: ``numba``, ``torch`` or ``vllm``."""
        wrappers = veneer_wrappers(self._slots())
        return wrappers[0].kernel if wrappers else "vllm"

    def veneer_prepare_slots(self, cpus: list[int]) -> str:
        """Lay out every slot in the form that the op needs, and begin to accept loads.

        Call it once, before the first load. ``cpus`` are the CPUs that may prepare loads. Return a
        sentence that says what fills the slots.
        """
        slots = self._slots()
        enter = self._use_own_device
        placement, told = choose_placement(self.model_runner.lora_manager, self._spans(), enter)
        self._loads = Loads(
            placement,
            lambda: slots.lora_index_to_id,
            host_slots=slots.capacity,
            cpus=frozenset(cpus),
            enter=enter,
        )
        return told

    def veneer_mix_counts(self) -> dict[str, int]:
        """Return the counters of ``lora.rows.MixCounts``; {} when another op is in use."""
        wrappers = veneer_wrappers(self._slots())
        return wrappers[0].counts() if wrappers else {}

    def veneer_watch_layers(self) -> None:
        """Begin to count how often each layer that adapters may change runs."""
        self._watch = Watch(self._slots().modules)

    def veneer_forget_idle_layers(self, steps: int) -> list[str]:
        """Stop counting; adapters may not change layers that one of the ``steps`` left out.

        Return the names of these layers, which are vLLM's.
        """
        idle = self._watch.stop(steps)
        self._known_spans = {n: span for n, span in self._spans().items() if span.layer not in idle}
        return sorted(idle)

    def veneer_adaptable_modules(self) -> dict[str, tuple[int, int]]:
        """Return ``(in_features, out_features)`` of every linear module that an adapter may change.

        The keys are the names as PEFT writes them after ``base_model.model.``.
        """
        return {name: span.shape for name, span in self._spans().items()}

    def veneer_begin_load(self, engine_id: int, name: str, path: str) -> Failure:
        """Begin to load an adapter into a device slot: from its host slot, or from ``path``.

        Return at once; ``veneer_finish_load`` completes the load. Do nothing for an adapter that
        is in a device slot already, or on its way there.
        """
        return _try(lambda: self._loads.begin(engine_id, name, path))

    def veneer_finish_load(self, engine_id: int) -> bool | Failure:
        """Complete the load if it is prepared; return whether requests may use the adapter now.

        False means that it is still being prepared. After an error nothing of the adapter is left.
        """
        done = False

        def finish() -> None:
            nonlocal done
            done = self._loads.finish(engine_id)

        return _try(finish) or done

    def veneer_deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host slot stays filled. A second call does nothing."""
        self._loads.deactivate(engine_id)

    def veneer_unload_adapter(self, engine_id: int) -> None:
        """Free both slots, or give up a load that is under way. A second call does nothing."""
        self._loads.unload(engine_id)

    def veneer_matched_modules(self, engine_id: int) -> list[str] | None:
        """Return the modules for which a loaded adapter has weights; None when it is not loaded.

        The names are those of ``veneer_adaptable_modules``.
        """
        return self._loads.matched(engine_id)

    def veneer_adapters(self) -> dict[str, list[int]]:
        """Return the engine ids in ``host`` and in ``device`` slots, each sorted."""
        return self._loads.resident()

    def _use_own_device(self) -> None:
        # A new thread uses the first GPU. Pinned memory would then take a context on that one too.
        if not current_platform.is_cpu():
            current_platform.set_device(self.device)

    def _spans(self) -> dict[str, Span]:
        if not hasattr(self, "_known_spans"):
            self._known_spans = adaptable_spans(self._slots(), self.model_runner.model_config)
        return self._known_spans

    def _slots(self) -> Any:
        return self.model_runner.lora_manager._adapter_manager


def _try_own_kernels(slots: Any) -> str:
    # Only CUDA needs what this imports.
    from veneer_server.engine.vllm.cuda.choosing import keep_vllms, say

    wrapper = next(iter(slots.punica_wrapper_mapping.values()), None)
    if type(wrapper).__name__ != "PunicaWrapperVeneerGPU":
        return say(keep_vllms(getattr(wrapper, "veneer_reason", "engine.lora_op is vllm")))
    try:
        from veneer_server.engine.vllm.cuda.trying import try_kernels
    except Exception as error:  # a start must not fail for what vLLM's kernels can do as well
        return say(keep_vllms(f"ours failed: {type(error).__name__}: {error}"))
    folder = Path(os.environ.get("VENEER_LORA_CACHE", "~/.cache/veneer/lora")).expanduser()
    return say(try_kernels(slots, folder))


def _try(act: Callable[[], None]) -> Failure:
    # Every worker must answer: after the first exception, vLLM does not read the other answers.
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
