"""The program in docs/tenants.md prints what stands below it, with OpenAI's own client."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from support import builders
from support.places import REPOSITORY
from support.serving import serve_echo, until_served
from tenancy.conftest import OPERATOR

pytestmark = pytest.mark.slow
NAMES = ("haiku", "acme/pirate", "bell/pirate")
BOTH = re.compile(
    r"## Two tenants, by example\n.*?```python\n(.*?)```\n+```text\n(.*?)```", re.DOTALL
)


async def test_two_tenants_see_and_get_what_the_document_says(tmp_path: Path) -> None:
    found = BOTH.search((REPOSITORY / "docs" / "tenants.md").read_text(encoding="utf-8"))
    assert found is not None
    program, printed = found.groups()
    for number, name in enumerate(NAMES):
        builders.write(tmp_path / "adapters" / name, seed=number)
    async with serve_echo(tmp_path, server={"api_key": OPERATOR}) as served:
        await until_served(served, *NAMES)
        environ = {"VENEER_URL": served.url, "VENEER_SERVER__API_KEY": OPERATOR}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            env={**os.environ, **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(100):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.decode() == printed
