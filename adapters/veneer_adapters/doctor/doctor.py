"""Would this adapter load, what would be ignored, what does it cost, and what should change?

These are the checks of ``checks.verify``. That function stops at the first fault; here the checks
go on as far as the files can be read. Run this in ``sandbox``.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from veneer_adapters.artifact.checks import (
    check_rank,
    check_scaling,
    check_shapes,
    check_values,
    verify,
)
from veneer_adapters.artifact.compression import Compression, is_compressible, measure
from veneer_adapters.artifact.config import AdapterConfig, parse_object, to_config
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE, require_files
from veneer_adapters.artifact.manifest import (
    BaseFacts,
    Pair,
    open_weights,
    pair_up,
    read_artifact,
    read_config_file,
    require_ranks,
)
from veneer_adapters.artifact.opening import Place, names_in
from veneer_adapters.artifact.tensors import Tensor, read_header
from veneer_adapters.doctor import advice
from veneer_adapters.doctor.repair_steps import Look, offers
from veneer_adapters.doctor.report import Base, Cost, Facts, Problem, Report
from veneer_adapters.errors import AdapterRejected

_T = TypeVar("_T")
_SHOWN = 3
"""How many messages of one kind are shown; the rest are counted."""
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(slots=True)
class _Faults:
    """Collects all the faults; many of them need little memory."""

    shown: list[AdapterRejected] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, fault: AdapterRejected) -> None:
        self.counts[fault.reason] += 1
        if self.counts[fault.reason] <= _SHOWN:
            self.shown.append(fault)

    def attempt(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except AdapterRejected as fault:
            self(fault)
            return None

    def problems(self) -> tuple[Problem, ...]:
        last = {fault.reason: fault for fault in self.shown}
        return tuple(
            Problem(
                fault.reason,
                str(fault),
                max(0, self.counts[fault.reason] - _SHOWN) if last[fault.reason] is fault else 0,
            )
            for fault in self.shown
        )


@dataclass(slots=True)
class _Seen:
    """What could be read of an adapter."""

    files: frozenset[str]
    size_bytes: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    config: AdapterConfig | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    compression: Compression | None = None


def examine(folder: Place, facts: BaseFacts) -> Report:
    """Return everything there is to say about the adapter in ``folder``; no fault is raised.

    Raises:
        OSError: ``folder`` cannot be read.
    """
    faults = _Faults()
    seen = _Seen(frozenset(names_in(folder)))
    faults.attempt(lambda: require_files(folder))
    _read_config(seen, folder, faults)
    _read_weights(seen, folder, facts, faults)
    if not faults.shown:
        # The server decides with ``verify``, so an adapter loads only if that passes too.
        faults.attempt(lambda: verify(folder, facts))
    if not faults.shown and is_compressible(_rank(seen) or 0, facts):
        seen.compression = _measure(folder, facts)
    return _report(seen, facts, faults)


def _measure(folder: Place, facts: BaseFacts) -> Compression:
    with open_weights(folder) as file:
        return measure(file, read_artifact(folder), facts)


def _read_config(seen: _Seen, folder: Place, faults: _Faults) -> None:
    if CONFIG_FILE not in seen.files:
        return
    text = faults.attempt(lambda: read_config_file(folder))
    if text is None:
        return
    seen.size_bytes += len(text)
    fields = faults.attempt(lambda: parse_object(text))
    if fields is not None:
        seen.fields, seen.config = fields, to_config(fields, faults)


def _read_weights(seen: _Seen, folder: Place, facts: BaseFacts, faults: _Faults) -> None:
    if WEIGHTS_FILE not in seen.files:
        return
    file = faults.attempt(lambda: open_weights(folder))
    if file is None:
        return
    with file:
        seen.size_bytes += file.seek(0, 2)
        file.seek(0)
        tensors = faults.attempt(lambda: read_header(file))
        if tensors is None:
            return
        seen.tensors, seen.pairs = tensors, pair_up(tensors, faults)
        _check(seen, facts, faults)
        scaling_of = seen.config.scaling_of if seen.config else _unscaled
        values = faults.attempt(lambda: check_values(file, seen.pairs, scaling_of, facts, faults))
        seen.idle = values or []
    if seen.config:
        check_scaling(seen.pairs, seen.config.scaling_of, faults)


def _check(seen: _Seen, facts: BaseFacts, faults: _Faults) -> None:
    if seen.config:
        require_ranks(seen.config, seen.pairs, faults)
    check_rank(_rank(seen) or 0, facts, faults)
    if seen.pairs:
        check_shapes(seen.pairs, facts, faults)


def _unscaled(module: str) -> float:
    return 1.0


def _rank(seen: _Seen) -> int | None:
    if seen.config:
        return seen.config.max_rank
    return max((pair.rank for pair in seen.pairs.values()), default=None)


def _report(seen: _Seen, facts: BaseFacts, faults: _Faults) -> Report:
    problems = faults.problems()
    dtypes = {name: tensor.dtype for name, tensor in seen.tensors.items()}
    fixable = offers(Look(seen.files, seen.fields, dtypes)) if problems else ()
    found = _facts(seen, facts)
    cost = _cost(seen, facts)
    return Report(
        loads=not problems,
        problems=problems,
        warnings=advice.warnings(seen.config, found, facts),
        ignored=advice.ignored(seen.files, seen.fields, seen.config, seen.pairs, seen.idle),
        facts=found,
        base=Base(
            facts.name, facts.dtype, facts.max_rank, facts.fingerprint if facts.modules else None
        ),
        cost=cost,
        advice=advice.advice(problems, found, fixable=bool(fixable)),
        fixable=fixable,
        compression=seen.compression,
    )


def _facts(seen: _Seen, facts: BaseFacts) -> Facts:
    config = seen.config
    dtypes = {t.dtype for pair in seen.pairs.values() for t in (pair.a, pair.b)}
    return Facts(
        rank=_rank(seen),
        alpha=config.alpha if config else None,
        scaling=max(map(config.scaling_of, seen.pairs), default=None) if config else None,
        use_rslora=config.use_rslora if config else None,
        target_modules=tuple(sorted({module.rpartition(".")[2] for module in seen.pairs})),
        modules=len(seen.pairs),
        matched=len(seen.pairs.keys() & facts.modules.keys()) if facts.modules else None,
        base_modules=len(facts.modules) or None,
        dtype="+".join(sorted(dtypes)),
        size_bytes=seen.size_bytes,
        base_name=config.base_name if config else None,
    )


def _cost(seen: _Seen, facts: BaseFacts) -> Cost:
    width = _WIDTHS[facts.lora_dtype or facts.dtype]
    features = sum(i + o for i, o in facts.modules.values())
    own = sum(p.rank * (p.a.shape[1] + p.b.shape[0]) for p in seen.pairs.values())
    return Cost(width * facts.max_rank * features if features else None, width * own)
