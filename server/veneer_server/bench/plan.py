"""The plan of a run: which peers start in which order, and what is measured on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from veneer_server.bench.goals import (
    bystander,
    exactness,
    fairness,
    laptop,
    latency,
    loading,
    scale,
    throughput,
)
from veneer_server.bench.goals.site import Site
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import Name

FAR = 2
"""Rounds of measurements that are far from their threshold, or compare inside one run. All other
measurements have every round."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measurement on one peer."""

    goals: frozenset[str]
    take: Callable[[Site], Figures]
    rounds: int | None = None
    """The most rounds; None means every round."""
    quick: bool = True
    """Whether a quick run has it too."""


@dataclass(frozen=True, slots=True)
class Station:
    """A peer, how its rig differs from the usual one, and what is measured while it runs."""

    name: Name
    measures: tuple[Measure, ...]
    rig: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visit:
    """One start of a peer, with what is measured in it."""

    turn: int
    station: Station
    measures: tuple[Measure, ...]


def _of(goals: str, take: Callable[[Site], Figures], **more: object) -> Measure:
    return Measure(frozenset(goals.split()), take, **more)  # type: ignore[arg-type]  # as written


_LAPTOP = (
    _of("G12", laptop.alone_and_together, rounds=FAR),
    _of("G12", laptop.over_adapters, rounds=FAR, quick=False),
)

STATIONS: tuple[Station, ...] = (
    Station(Name.DEFAULT, (
        _of("G11", latency.started, quick=False),
        _of("G1", latency.first_token, rounds=FAR),
        _of("G2", throughput.mixed),
        _of("G5", loading.load_calls, rounds=FAR),
        _of("G5", loading.registering, rounds=FAR),
    )),
    Station(Name.TUNED, (_of("G2", throughput.mixed, quick=False),)),
    Station(Name.PLAIN, (_of("G11", latency.started, quick=False), _of("G4 G10", throughput.base))),
    Station(Name.VENEER, (
        _of("G11", latency.started, quick=False),
        _of("G2 G3 G4 G10", throughput.ladder),
        _of("G1", latency.first_token),
        *_LAPTOP,
        _of("G5", loading.hot_load, rounds=FAR),
        _of("G5", loading.load_calls, rounds=FAR),
        _of("G5", loading.registering, rounds=FAR),
        _of("G9b", exactness.changed_in_company, rounds=1, quick=False),
        _of("G13", bystander.beside_odd_requests, rounds=1, quick=False),
    )),
    Station(Name.LLAMA_Q4, _LAPTOP),
    Station(Name.LLAMA_BF16, tuple(replace(measure, rounds=1, quick=False) for measure in _LAPTOP)),
    Station(Name.DEFAULT_64, (_of("G6", loading.stall, rounds=1, quick=False),),
            {"max_rank": 64}),
    Station(Name.VENEER_64, (_of("G6", loading.stall, rounds=1, quick=False),),
            {"max_rank": 64}),
    Station(Name.VENEER_WIDE, (_of("G7", scale.registered, rounds=1, quick=False),),
            {"device_slots": 64, "host_slots": 128}),
    Station(Name.VENEER_ONE, (_of("G8", fairness.cold_at_saturation, rounds=1, quick=False),),
            {"device_slots": 1}),
    Station(Name.VENEER_FP32, (_of("G9", exactness.mixed_equal_alone, rounds=1, quick=False),),
            {"dtype": "float32", "lora_dtype": "auto"}),
)  # fmt: skip


def visits(goals: frozenset[str], rounds: int, *, quick: bool) -> list[Visit]:
    """Return all starts of peers, in order; every other round goes backwards.

    Without any goals, the plan is for all goals.
    """
    found = []
    for turn in range(rounds):
        stations = STATIONS if turn % 2 == 0 else STATIONS[::-1]
        for station in stations:
            measures = tuple(m for m in station.measures if _is_due(m, goals, turn, quick))
            if measures:
                found.append(Visit(turn, station, measures))
    return found


def _is_due(measure: Measure, goals: frozenset[str], turn: int, quick: bool) -> bool:
    if quick and not measure.quick:
        return False
    if measure.rounds is not None and turn >= measure.rounds:
        return False
    return not goals or bool(goals & measure.goals)
