"""What a worker and the server say to each other arrives as it was said."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.api import errors
from veneer_server.workers.messages import (
    Kind,
    Message,
    Splitter,
    comes_unasked,
    pack,
    pack_scope,
    pack_start,
    to_scope,
    to_start,
)

MESSAGES = st.builds(
    Message, st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.binary(max_size=64)
)
NAMES = st.from_regex(rb"[a-z-]{1,12}", fullmatch=True)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=12)), max_size=5)


@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_messages_that_come_in_any_pieces_are_those_that_were_sent(
    sent: list[Message], cuts: list[int]
) -> None:
    data, splitter = b"".join(pack(*one) for one in sent), Splitter()
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [m for a, b in pairwise(at) for m in splitter.feed(data[a:b])]
    assert found == sent


def scope(headers: list[tuple[bytes, bytes]], **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/grün",
        "root_path": "",
        "raw_path": b"/gr%C3%BCn\xff",
        "query_string": b"a=\xff",
        "headers": headers,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
        **more,
    }


@given(HEADERS)
def test_the_application_sees_the_request_that_the_worker_has_read(
    headers: list[tuple[bytes, bytes]],
) -> None:
    told = scope(headers)
    found = to_scope(pack_scope(told))
    assert {name: found[name] for name in told} == told
    assert found["state"] == {}


@pytest.mark.parametrize(
    "kind", [errors.MalformedRequest, errors.HeadTooLarge, errors.BodyTooSlow, errors.HeadTooSlow]
)
def test_a_fault_that_the_worker_has_found_is_the_fault_that_is_answered(
    kind: type[errors.ApiFault],
) -> None:
    fault = to_scope(pack_scope(scope([], state={"refusal": kind("Why.")})))["state"]["refusal"]
    assert (type(fault), str(fault)) == (kind, "Why.")


@given(st.integers(100, 599), HEADERS, st.booleans())
def test_an_answer_begins_as_the_application_has_begun_it(
    status: int, headers: list[tuple[bytes, bytes]], streams: bool
) -> None:
    begin, found = to_start(pack_start(status, headers, streams=streams))
    assert begin == {"type": "http.response.start", "status": status, "headers": headers}
    assert found is streams


def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked_by_the_worker() -> None:
    assert comes_unasked(scope([(b"host", b"x")]))
    assert not comes_unasked(scope([(b"expect", b"100-continue")]))
