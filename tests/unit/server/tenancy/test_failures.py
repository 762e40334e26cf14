"""Wrong keys are counted by address, and only a key that might be guessed waits for that."""

from typing import cast

import pytest

from support.quotas import Clock
from veneer_server.tenancy.authenticating import identify
from veneer_server.tenancy.errors import RateLimited, Unauthorized
from veneer_server.tenancy.failures import MOST, Failures
from veneer_server.tenancy.key_texts import draw
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.keys import Key
from veneer_server.tenancy.scopes import DEFAULT_SCOPES

SHORT, LONG = "sesame", "a-key-that-nobody-guesses-in-a-lifetime"
DRAWN = str(draw())


class OneKey:
    """A keyring with one key."""

    is_empty = False

    def find(self, text: str) -> Key | None:
        return Key("k", "acme", "", DEFAULT_SCOPES, None, 0) if text == DRAWN else None


def ask(failures: Failures, given: str, api_key: str = SHORT, address: str = "192.0.2.1") -> None:
    identify(given, address, api_key, cast(Keyring, OneKey()), failures)


def exhaust(failures: Failures, times: int, address: str = "192.0.2.1") -> None:
    for _ in range(times):
        with pytest.raises(Unauthorized):
            ask(failures, "wrong", LONG, address)


def test_after_too_many_wrong_keys_a_short_key_is_not_looked_at() -> None:
    clock = Clock()
    failures = Failures(3, clock)
    exhaust(failures, 3)
    for given in ("wrong", SHORT):
        with pytest.raises(RateLimited) as refused:
            ask(failures, given)
        assert refused.value.retry_after_s == 20.0
    clock.forward(20)
    ask(failures, SHORT)


def test_a_key_that_nobody_can_guess_opens_whatever_others_sent_from_the_address() -> None:
    failures = Failures(1, Clock())
    exhaust(failures, 1)
    ask(failures, DRAWN)
    ask(failures, LONG, LONG)
    with pytest.raises(RateLimited):
        ask(failures, str(draw()))


def test_another_address_is_not_concerned_and_a_missing_key_is_no_failure() -> None:
    failures = Failures(1, Clock())
    for _ in range(5):
        with pytest.raises(Unauthorized):
            ask(failures, "")
    exhaust(failures, 1)
    ask(failures, SHORT, address="192.0.2.2")


def test_all_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    failures = Failures(1, Clock())
    exhaust(failures, 1, "2001:db8:1:2::1")
    with pytest.raises(RateLimited):
        ask(failures, SHORT, address="2001:db8:1:2:ffff::9")
    ask(failures, SHORT, address="2001:db8:1:3::1")


def test_only_so_many_addresses_are_remembered() -> None:
    failures = Failures(1, Clock())
    for number in range(MOST + 10):
        failures.count(f"client {number}")
    assert len(failures._buckets) == MOST
