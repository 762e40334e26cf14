"""Every client does what its users do, unmodified, against a server of the real engine."""

import pytest

from clients.matrix import Results
from clients.running import World, run
from clients.table import CLIENTS

pytestmark = [pytest.mark.clients, pytest.mark.engine, pytest.mark.timeout(600)]
HAVE = [(name, feature) for name, client in CLIENTS.items() for feature in client.features]


@pytest.mark.parametrize(("name", "feature"), HAVE)
def test_a_client_does_what_its_users_do(
    name: str, feature: str, real: World, seen: Results
) -> None:
    client = CLIENTS[name]
    told = run(name, real, tuple(client.features))
    outcome, detail = told.outcomes.get(feature, ("failed", "the program ended before it"))
    of = seen.setdefault(name, {"version": told.version, "package": told.package, "features": {}})
    of["features"][feature] = outcome
    if why := client.divergence.get(feature):
        assert outcome == "failed", f"{feature} works now: no longer {why}"
    else:
        assert outcome == "ok", f"{detail}\n{told.errors}"
