"""``veneer keys``: a person makes a key, uses it, lists it and revokes it."""

import asyncio
import json
import sys

import pytest

from tenancy.conftest import OPERATOR, Tenants
from veneer_server.commands.client.failures import BadArgument
from veneer_server.commands.client.times import to_seconds

PROGRAM = "from veneer_server.commands.main import main; main()"


async def veneer(tenants: Tenants, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", PROGRAM, *words, "--url", tenants.served.url]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, "--key", OPERATOR, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.slow
async def test_a_key_is_made_listed_and_revoked(tenants: Tenants) -> None:
    create = ("keys", "create", "ci", "--tenant", "acme", "--scope", "models:read")
    code, out, err = await veneer(tenants, *create, "--adapter", "acme/*", "--expires", "2h")
    assert code == 0, err
    assert "Keep it now" in err
    text = next(word for word in out.split() if word.startswith("vnr_live_"))
    seen = await tenants.client(text).get("/v1/models")
    assert {card["id"] for card in seen.json()["data"]} == {"acme/own", "acme/new"}
    code, out, _ = await veneer(tenants, "keys", "list", "--json")
    listed = {key["name"]: key for key in json.loads(out)["data"]}
    assert listed["ci"]["expires"] - listed["ci"]["created"] == pytest.approx(7200, abs=2)
    assert text not in out
    code, out, _ = await veneer(tenants, "keys", "revoke", listed["ci"]["id"])
    assert (code, out) == (0, f"The key {listed['ci']['id']} is revoked.\n")
    assert (await tenants.client(text).get("/v1/models")).status_code == 401
    _, out, _ = await veneer(tenants, "keys", "list")
    assert out.splitlines()[0].split()[:3] == ["ID", "TENANT", "NAME"]


@pytest.mark.slow
async def test_what_cannot_be_is_one_sentence(tenants: Tenants) -> None:
    code, _, err = await veneer(tenants, "keys", "create", "--expires", "soon")
    assert (code, err.strip()) == (
        2,
        "Write --expires as a number and s, m, h, d or w, for instance 30d.",
    )
    code, _, err = await veneer(tenants, "keys", "revoke", "unknown2")
    assert (code, err.strip()) == (1, "There is no key with the id `unknown2`.")


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("2m", 120), ("1d", 86400)])
def test_a_time_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert to_seconds(text, "--expires") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1d", "1.5h", "1y", "d"])
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(BadArgument):
        to_seconds(text, "--expires")
