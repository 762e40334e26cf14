"""A browser for the tests of the console."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest_asyncio.fixture
async def browser() -> AsyncIterator["Browser"]:
    """A Chromium of this test's own."""
    from support.browsing import chromium  # only the services' environment has playwright

    async with chromium() as started:
        yield started
