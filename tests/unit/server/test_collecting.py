"""When Python's garbage is collected, and what is exempt from it."""

import gc
from collections.abc import Iterator

import pytest

from veneer_server.collecting import exempt_what_lives, nothing_collected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()


def test_nothing_is_collected_in_the_block_nor_in_one_within_it() -> None:
    with nothing_collected():
        with nothing_collected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_collected_again_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), nothing_collected():
        raise ImportError
    assert gc.isenabled()


def test_what_was_imported_is_exempt_and_looked_through_once_more_later() -> None:
    exempt_what_lives()
    before = gc.get_freeze_count()
    with nothing_collected():
        made = [[] for _ in range(5000)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= before + 5000
    made.clear()
    exempt_what_lives()
    assert gc.get_freeze_count() < before + 5000
