"""What two measurements ask of a server, and what they make of its answers."""

from collections.abc import Sequence
from typing import Any

import pytest

from veneer_server.bench.clients.bench_serve import Work
from veneer_server.bench.clients.load import Lane, Outcome, Told
from veneer_server.bench.goals import bystander, exactness, latency
from veneer_server.bench.goals.site import QUICK


class Shelf:
    def take(self, names: Sequence[str], rank: int, **strength: Any) -> None:
        pass


class Asked:
    """A site whose prefills take 100 ms for the base and 110 with an adapter."""

    is_ours, sizes, rank, turn = True, QUICK, 16, 0
    shelf = Shelf()

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.running = self.client = self
        self.url = "http://127.0.0.1:1"

    def provide(self, names: Sequence[str]) -> None:
        pass

    def warm(self, names: Sequence[str]) -> None:
        pass

    def drive(self, url: str, work: Work) -> dict[str, float]:
        self.works.append(work)
        return {"median_ttft_ms": 110 if work.adapters else 100}


def test_base_and_adapter_are_asked_the_same_prompts_in_turn() -> None:
    site = Asked()
    found = latency.first_token(site)  # type: ignore[arg-type]  # all that it asks of a site
    assert found == {"base ttft ms": 100, "ttft ms": 110}
    assert [bool(work.adapters) for work in site.works] == [False, True] * 3
    seeds = [work.seed for work in site.works]
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 3


class Company(Asked):
    """A site on which one answer of an adapter changes in company."""

    def send(self, lanes: Sequence[Lane], background: Sequence[Lane] = ()) -> Outcome:
        lonely = len(lanes) == 1
        told = [[self._told(body, lonely) for _, body in lane] for lane in lanes]
        return Outcome(told, [], 1.0)

    def _told(self, body: Any, lonely: bool) -> Told:
        odd = body["model"] == "plain1" and len(body["prompt"]) == 16 + 5 and not lonely
        return Told(text=f"{body['model']} {body['prompt']}" + " or so" * odd)


def test_the_share_that_company_changes_is_that_of_the_worst_model() -> None:
    # Of 32 prompts of plain1 those with the numbers 5 and 22 have 21 tokens.
    found = exactness.changed_in_company(Company())  # type: ignore[arg-type]  # as above
    assert found == {"changed in company": 2 / 32}


class Held(Asked):
    """A site on which 400 turns hold a stream up for 250 ms, and nothing else does."""

    def send(self, lanes: Sequence[Lane], background: Sequence[Lane]) -> Outcome:
        path, _ = lanes[0][1]
        gap_s = 0.3 if path == "/v1/messages" else 0.05
        return Outcome([], [[Told(itl_s=[0.04, gap_s, 0.04])]], 1.0)


def test_the_worst_growth_is_that_of_the_request_that_holds_a_stream_up() -> None:
    found = bystander.beside_odd_requests(Held())  # type: ignore[arg-type]  # as above
    assert found["worst growth ms"] == found["400 turns, ms"] == pytest.approx(250)
    assert found["128 answers, ms"] == pytest.approx(0)
