"""What a worker gets of the settings."""

from veneer_server.settings import Settings
from veneer_server.workers.keeping import Portion, to_told

SETTINGS = Settings.load(
    environ={},
    flags={
        "server": {"workers": 3, "api_key": "sk-very-secret"},
        "limits": {"max_connections": 100},
    },
)


def test_the_processes_share_the_connections_that_are_allowed() -> None:
    now = [SETTINGS]
    portion = Portion(lambda: now[0])
    assert portion().limits.max_connections == 34
    assert portion().limits.max_headers == SETTINGS.limits.max_headers
    limits = SETTINGS.limits.model_copy(update={"max_connections": 6})
    now[0] = SETTINGS.model_copy(update={"limits": limits})
    assert portion().limits.max_connections == 2


def test_a_worker_gets_its_limits_and_no_secret() -> None:
    told = to_told(SETTINGS)
    assert b"sk-very-secret" not in told
    found = Settings.model_validate_json(told)
    assert found.limits == SETTINGS.limits
    assert found.server.keep_alive_s == SETTINGS.server.keep_alive_s
