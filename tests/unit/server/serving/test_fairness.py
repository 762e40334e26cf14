"""Who is next when many wait: shares of tenants and of their adapters, priorities, newcomers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from veneer_server.serving.fairness import Ask, FairQueue, Ticket


def anybody(ticket: Ticket) -> bool:
    return True


def serve(queue: FairQueue, times: int, tokens: int = 100) -> list[Ask]:
    """Take and end so many requests, one after the other."""
    served = []
    for _ in range(times):
        ticket = queue.take(anybody)
        if ticket is None:
            break
        served.append(ticket.ask)
        queue.end(ticket, tokens)
    return served


def test_one_tenant_with_one_adapter_is_served_in_the_order_of_arrival() -> None:
    queue = FairQueue()
    tickets = [queue.push(Ask("t", "a")) for _ in range(5)]
    assert [queue.take(anybody) for _ in tickets] == tickets
    assert queue.take(anybody) is None


def test_a_tenant_with_many_requests_gets_no_more_than_one_with_few() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.push(Ask("many", "a"))
    for _ in range(5):
        queue.push(Ask("few", "b"))
    assert Counter(ask.tenant for ask in serve(queue, 10)) == {"many": 5, "few": 5}


def test_many_adapters_give_a_tenant_no_larger_share() -> None:
    queue = FairQueue()
    for number in range(40):
        queue.push(Ask("many", f"a{number % 4}"))
        queue.push(Ask("one", "b"))
    assert Counter(ask.tenant for ask in serve(queue, 40)) == {"many": 20, "one": 20}


def test_the_adapters_of_a_tenant_share_what_it_gets() -> None:
    queue = FairQueue()
    for _ in range(30):
        queue.push(Ask("t", "hot"))
    for _ in range(3):
        queue.push(Ask("t", "rare"))
    assert Counter(ask.flow for ask in serve(queue, 6)) == {"hot": 3, "rare": 3}


def test_work_in_the_background_goes_when_no_live_request_may_and_costs_no_share() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.push(Ask("t", "a", background=True))
        queue.push(Ask("other", "a", background=True))
    assert (queue.waiting, queue.live_waiting()) == (6, 0)
    served = serve(queue, 4, tokens=10_000)
    assert Counter(ask.tenant for ask in served) == {"t": 2, "other": 2}
    queue.push(Ask("t", "a"))
    queue.push(Ask("new", "a"))
    assert queue.live_waiting() == 2
    ahead = serve(queue, 2)
    assert [ask.background for ask in ahead] == [False, False]
    assert [ask.tenant for ask in ahead] == ["t", "new"], "what batches used counts for nobody"
    assert [ask.background for ask in serve(queue, 9)] == [True, True]


def test_a_live_request_of_who_got_much_passes_work_in_the_background_of_who_got_nothing() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.push(Ask("much", "a"))
    serve(queue, 1, tokens=10_000)
    queue.push(Ask("nothing", "a", background=True))
    assert [ask.tenant for ask in serve(queue, 3)] == ["much", "much", "nothing"]


def test_work_in_the_background_goes_while_live_requests_may_not_begin() -> None:
    queue = FairQueue()
    queue.push(Ask("t", "cold"))
    queue.push(Ask("t", "warm", background=True))
    taken = queue.take(lambda ticket: ticket.ask.flow == "warm")
    assert taken is not None
    assert taken.ask.background


def test_shares_are_of_tokens_and_not_of_requests() -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.push(Ask("long", "a"))
        queue.push(Ask("short", "b"))
    got: Counter[str | None] = Counter()
    for _ in range(60):
        ticket = queue.take(anybody)
        assert ticket is not None
        tokens = 900 if ticket.ask.tenant == "long" else 100
        got[ticket.ask.tenant] += tokens
        queue.end(ticket, tokens)
    assert abs(got["long"] - got["short"]) <= 900


def test_who_was_away_has_no_claim_to_what_others_got_meanwhile() -> None:
    queue = FairQueue()
    queue.push(Ask("late", "b"))
    serve(queue, 1)
    for _ in range(60):
        queue.push(Ask("early", "a"))
    serve(queue, 20)
    for _ in range(20):
        queue.push(Ask("late", "b"))
    assert Counter(ask.tenant for ask in serve(queue, 10)) == {"early": 5, "late": 5}


def test_priority_decides_within_a_tenant_and_not_between_tenants() -> None:
    queue = FairQueue()
    for _ in range(4):
        queue.push(Ask("a", "x", priority=1))
        queue.push(Ask("a", "y", priority=-1))
        queue.push(Ask("b", "z"))
    served = serve(queue, 8)
    assert Counter(ask.tenant for ask in served) == {"a": 4, "b": 4}
    assert {ask.flow for ask in served if ask.tenant == "a"} == {"y"}


def test_a_request_that_failed_is_not_charged() -> None:
    queue = FairQueue()
    for _ in range(20):
        queue.push(Ask("fails", "a"))
        queue.push(Ask("works", "b"))
    got: Counter[str | None] = Counter()
    for _ in range(20):
        ticket = queue.take(anybody)
        assert ticket is not None
        got[ticket.ask.tenant] += 1
        queue.end(ticket, 0 if ticket.ask.tenant == "fails" else 100)
    assert got["fails"] > got["works"]


def test_only_what_may_begin_is_taken_and_the_rest_keeps_its_place() -> None:
    queue = FairQueue()
    cold, warm = queue.push(Ask("t", "cold")), queue.push(Ask("t", "warm"))
    assert queue.take(lambda ticket: ticket.ask.flow == "warm") is warm
    assert queue.take(lambda ticket: ticket.ask.flow == "warm") is None
    assert queue.take(anybody) is cold


def test_who_is_given_back_is_first_again() -> None:
    queue = FairQueue()
    first, second = queue.push(Ask("t", "a")), queue.push(Ask("t", "a"))
    assert queue.take(anybody) is first
    queue.give_back(first)
    assert [queue.take(anybody), queue.take(anybody)] == [first, second]


asks = st.builds(
    Ask,
    st.sampled_from([None, "t", "u"]),
    st.sampled_from(["", "a", "b"]),
    st.integers(1, 4),
    st.integers(-1, 1),
)


@given(st.lists(st.tuples(asks, st.sampled_from(["take", "leave", "stay"])), max_size=60))
def test_whatever_comes_and_goes_nothing_is_lost_and_nothing_is_kept(
    steps: list[tuple[Ask, str]],
) -> None:
    queue = FairQueue()
    waiting: set[Ticket] = set()
    running: set[Ticket] = set()
    for ask, then in steps:
        waiting.add(queue.push(ask))
        if then == "take":
            taken = queue.take(anybody)
            assert taken is not None
            waiting.discard(taken)
            running.add(taken)
        elif then == "leave":
            gone = min(waiting, key=lambda ticket: ticket.number)
            waiting.discard(gone)
            queue.discard(gone)
        assert queue.waiting == sum(ticket.ask.sequences for ticket in waiting)
    while (taken := queue.take(anybody)) is not None:
        waiting.discard(taken)
        running.add(taken)
    assert waiting == set()
    for ticket in running:
        queue.end(ticket, 10)
    assert queue._tenants == {}
