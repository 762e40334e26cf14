"""One run of the bench: it starts, measures and ends one peer at a time."""

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from veneer_server.bench.clients.bench_serve import BenchServe, bench_serve
from veneer_server.bench.goals.site import FULL, QUICK, Site
from veneer_server.bench.goals.verdicts import Found
from veneer_server.bench.peers.adapters import Shelf, shape_of
from veneer_server.bench.peers.gguf_files import link_model, write_adapters, write_bfloat16
from veneer_server.bench.peers.peers import Name, Rig, peer
from veneer_server.bench.peers.running import BenchFailed, Running, start
from veneer_server.bench.plan import Measure, Visit, visits

_LLAMA_ADAPTERS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants to measure."""

    model: Path
    gguf: Path | None
    """The same model in the form for llama.cpp; None leaves llama.cpp out."""
    goals: frozenset[str]
    rounds: int
    rank: int
    port: int
    threads: tuple[int, ...]
    quick: bool
    dtype: str
    """Of every server but llama.cpp."""
    lora_dtype: str
    """Of the adapters' weights in the slots of ours and of vLLM; ``auto``: as ``dtype``."""
    llama_server: Path | None = None
    """A llama-server that the user built; None means that of the package."""


@dataclass(slots=True)
class Results:
    """The results so far; they are complete when ``run`` returns."""

    found: Found = field(default_factory=Found)
    absent: dict[tuple[Name, str], str] = field(default_factory=dict)
    """Why there is no figure, by peer and goal."""


def run(
    asked: Asked, environ: Mapping[str, str], results: Results, tell: Callable[[str], None]
) -> None:
    """Measure what is ``asked`` and put it into ``results``.

    ``tell`` gets a line when a peer starts and after each measurement. A measurement that fails
    is left out, with its reason in ``results``.

    Raises:
        BenchFailed: a peer cannot be started.
    """
    due = visits(asked.goals, asked.rounds, quick=asked.quick)
    with ExitStack() as stack:
        workshop = Path(stack.enter_context(TemporaryDirectory(prefix="veneer-bench-")))
        log = workshop / "client.log"
        client = stack.enter_context(bench_serve(environ, asked.model, log))
        bench = _Bench(asked, environ, results, tell, workshop, client)
        for number, visit in enumerate(due, 1):
            why_not = bench.why_not(visit)
            if why_not:
                bench.leave_out(visit, why_not)
            else:
                tell(f"{number}/{len(due)} {visit.station.name}: starting")
                bench.visit(visit)


@dataclass(slots=True)
class _Bench:
    asked: Asked
    environ: Mapping[str, str]
    results: Results
    tell: Callable[[str], None]
    workshop: Path
    client: BenchServe

    def why_not(self, visit: Visit) -> str | None:
        if not visit.station.name.is_llama:
            return None
        if not self.asked.llama_server and importlib.util.find_spec("xllamacpp") is None:
            return "llama.cpp is not installed; install it with pip install xllamacpp"
        return None if self.asked.gguf else "there is no GGUF file of this model"

    def leave_out(self, visit: Visit, why_not: str) -> None:
        for measure in visit.measures:
            for goal in measure.goals:
                self.results.absent.setdefault((visit.station.name, goal), why_not)

    def visit(self, visit: Visit) -> None:
        name = visit.station.name
        rig = self._rig(visit)
        log = self.workshop / "peer.log"
        with (
            start(peer(name, rig), rig, self.environ, log) as running,
            httpx.Client(base_url=running.url, timeout=120) as http,
        ):
            site = self._site(visit, rig, running, http)
            for measure in visit.measures:
                self._measure(visit, measure, site)

    def _measure(self, visit: Visit, measure: Measure, site: Site) -> None:
        name = visit.station.name
        try:
            figures = measure.take(site)
        except (BenchFailed, httpx.HTTPError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.tell(f"  {name}: {' '.join(sorted(measure.goals))} failed: {error}")
            self.leave_out(replace(visit, measures=(measure,)), why)
            return
        self.results.found.add(name, visit.turn, figures)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
        self.tell(f"  {name}: {shown}")

    def _rig(self, visit: Visit) -> Rig:
        asked = self.asked
        rig = Rig(asked.model, asked.port, self.workshop / "rig", asked.threads)
        rig = replace(rig, dtype=asked.dtype, lora_dtype=asked.lora_dtype)
        rig = replace(rig, llama_server=asked.llama_server)
        gguf = self._gguf(visit.station.name) if visit.station.name.is_llama else None
        return replace(rig, gguf=gguf, **visit.station.rig)  # type: ignore[arg-type]  # its fields

    def _gguf(self, name: Name) -> Path:
        folder = self.workshop / ("q4" if name is Name.LLAMA_Q4 else "bf16")
        made = folder / "model.gguf"
        if not made.exists() and self.asked.gguf:
            write = link_model if name is Name.LLAMA_Q4 else write_bfloat16
            write(self.asked.gguf, folder)
            write_adapters(folder, shape_of(self.asked.model), self.asked.rank, _LLAMA_ADAPTERS)
        return made

    def _site(self, visit: Visit, rig: Rig, running: Running, http: httpx.Client) -> Site:
        return Site(
            running,
            http,
            rig,
            self.client,
            Shelf(self.workshop / "shelf", shape_of(self.asked.model)),
            QUICK if self.asked.quick else FULL,
            self.asked.rank,
            visit.turn,
        )
