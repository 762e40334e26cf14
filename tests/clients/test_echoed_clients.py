"""What needs only chat, of every client, against the echo engine: no model, and no waiting."""

import pytest

from clients.running import World, run
from clients.table import CLIENTS

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.on_echo])
def test_a_client_chats_fails_and_asks_again(name: str, echo_world: World) -> None:
    client = CLIENTS[name]
    features = tuple(feature for feature in client.features if feature in client.on_echo)
    told = run(name, echo_world, features)
    failed = {
        feature: told.outcomes.get(feature, ("failed", "the program ended before it"))[1]
        for feature in features
        if told.outcomes.get(feature, ("failed",))[0] != "ok"
    }
    assert failed.keys() == {feature for feature in features if feature in client.divergence}, (
        f"{failed}\n{told.errors}"
    )
