"""What is asked of which adapter, in which state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from veneer_server.bench.clients.load import Lane, Outcome, Told
from veneer_server.bench.goals.loading import hot_load
from veneer_server.bench.goals.site import QUICK, Site
from veneer_server.bench.peers.peers import BASE, Name, Peer, Rig
from veneer_server.bench.peers.running import BenchFailed, Running

OUTSIDE, UNPROVEN = 0.030, 0.120
"""Seconds longer that a request waits for an adapter outside the slots, and one never asked for."""


class Shelf:
    folder = Path("/nowhere")

    def take(self, names: Sequence[str], rank: int) -> None:
        pass


class Server(Site):
    """Answers as a server whose adapters need a load, and a proof before the first one."""

    resident: set[str]
    proven: set[str]

    def provide(self, names: Sequence[str]) -> float:
        self.provided.update(names)
        return 0.0

    def send(
        self, lanes: Sequence[Lane], background: Sequence[Lane] = (), *, strict: bool = True
    ) -> Outcome:
        return Outcome([[self._answer(body["model"]) for _, body in lanes[0]]], [], 1.0)

    def _answer(self, model: str) -> Told:
        if model == BASE or model in self.resident:
            return Told(ttft_s=0.01)
        wait_s = OUTSIDE + (0 if model in self.proven else UNPROVEN)
        self.resident.add(model)
        self.proven.add(model)
        return Told(ttft_s=0.01 + wait_s, cold_ms=wait_s * 1000)


def server(status: int = 200) -> Server:
    def respond(request: httpx.Request) -> httpx.Response:
        _, _, _, name, verb = request.url.path.split("/")
        assert (request.method, verb) == ("POST", "unload")
        made.resident.discard(name)
        return httpx.Response(status, text="no such route")

    http = httpx.Client(transport=httpx.MockTransport(respond), base_url="http://server")
    running = Running(Peer(Name.VENEER, []), "http://server", 1, 1.0)
    rig = Rig(Path("/model"), 1, Path("/rig"), (0,))
    shelf: Any = Shelf()
    made = Server(running, http, rig, None, shelf, QUICK, 16, 0)  # type: ignore[arg-type]  # unused
    made.resident, made.proven = set(), set()
    return made


def test_a_hot_load_is_that_of_a_proven_adapter_and_the_first_start_is_told_apart() -> None:
    figures = hot_load(server())
    assert figures["cold minus warm ms"] == pytest.approx(OUTSIDE * 1000)
    assert figures["cold start ms"] == pytest.approx(OUTSIDE * 1000)
    assert figures["first-ever minus warm ms"] == pytest.approx((OUTSIDE + UNPROVEN) * 1000)


def test_a_server_that_keeps_its_adapters_in_the_slots_is_not_measured() -> None:
    with pytest.raises(BenchFailed, match="did not unload cold0: no such route"):
        hot_load(server(status=404))
