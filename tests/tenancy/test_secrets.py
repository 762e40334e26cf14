"""Row T7: the secrets of keys are in no answer, no log, no metric and no dump of the database."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.serving import Served, serve_echo, until_served
from veneer_server.tenancy.key_texts import parse

API_KEY = "sk-canary-of-the-operator-0123456789"
PEPPER = "canary-pepper-0123456789"
SECTIONS: dict[str, dict[str, Any]] = {
    "server": {"api_key": API_KEY},
    "tenants": {"pepper": PEPPER},
}
CHAT = {"model": "acme/own", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@dataclass
class Used:
    """What became of the keys of two tenants."""

    ids: list[str]
    secrets: list[str]
    """Those of the server, and the parts of the keys that nobody but their holders know."""
    told: list[str]
    """Every answer, but for the ones that show a new key."""


async def use_keys(served: Served) -> Used:
    """Make, use, misuse and revoke keys."""
    operator = {"authorization": f"Bearer {API_KEY}"}
    told: list[str] = []
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        keys = []
        for tenant in ("acme", "bell"):
            body = {"tenant": tenant, "scopes": ["infer", "models:read", "adapters:write", "usage"]}
            made = (await client.post("/v1/keys", json=body, headers=operator)).json()
            keys.append(made["key"])
        for key in keys:
            sent = {"authorization": f"Bearer {key}", "idempotency-key": "the-same"}
            source = str(served.adapters / "acme" / "own")
            for method, path, asked in (
                ("POST", "/v1/chat/completions", CHAT),
                ("POST", "/v1/responses", {"input": "Hi", "model": "acme/own", "store": True}),
                ("POST", "/v1/adapters", {"name": "acme/copy", "source": source}),
                ("GET", "/v1/keys", None),
                ("GET", "/v1/usage", None),
            ):
                answer = await client.request(method, path, json=asked, headers=sent)
                told += [answer.text, str(answer.headers)]
            for wrong in (f"Basic {key}", f"Bearer {key}x", f"Bearer {key[:-7]}"):
                answer = await client.get("/v1/models", headers={"authorization": wrong})
                assert answer.status_code == 401
                told.append(answer.text)
        await client.delete(f"/v1/keys/{made['id']}", headers=operator)
        for path in ("/v1/keys", "/v1/audit?limit=1000", "/v1/usage", "/metrics", "/v1/adapters"):
            answer = await client.get(path, headers=operator)
            assert answer.status_code == 200
            told.append(answer.text)
    parsed = [found for key in keys if (found := parse(key)) is not None]
    assert len(parsed) == 2
    secrets = [API_KEY, PEPPER, *(key.secret for key in parsed)]
    return Used([key.id for key in parsed], secrets, told)


def require_none(used: Used, *texts: str) -> None:
    """Fail if a secret, or the most of it, is in one of ``texts``."""
    for secret in used.secrets:
        for text in texts:
            assert secret[:24] not in text


def dump_of(catalog: Path) -> str:
    """Return the statements that would make the database anew."""
    connection = sqlite3.connect(catalog)
    try:
        return "\n".join(connection.iterdump())
    finally:
        connection.close()


def files_below(folder: Path) -> list[str]:
    """Return all bytes of each file, as text."""
    return [f.read_bytes().decode("latin-1") for f in folder.rglob("*") if f.is_file()]


async def test_no_secret_of_a_key_is_told_logged_or_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builders.write(tmp_path / "adapters" / "acme" / "own", seed=1)
    async with serve_echo(tmp_path, **SECTIONS) as served:
        await until_served(served, "acme/own")
        used = await use_keys(served)
    logged = "".join(capsys.readouterr())
    dump = dump_of(tmp_path / "state" / "catalog.db")
    for key_id in used.ids:
        assert key_id in logged
        assert key_id in dump
    require_none(used, *used.told, logged, dump, *files_below(tmp_path))
