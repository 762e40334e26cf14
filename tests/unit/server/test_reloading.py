"""Which settings a running server takes over."""

from collections.abc import Mapping
from typing import Any

import pytest

from veneer_server.reloading import LIVE, differences, merge
from veneer_server.settings import Settings

DEFAULTS = Settings.load(environ={})


def loaded(**sections: Mapping[str, Any]) -> Settings:
    return Settings.load(environ={}, flags=sections)


def test_live_settings_are_taken_over_and_others_stay() -> None:
    wanted = loaded(
        limits={"max_body_bytes": 2048, "max_seqs": 7},
        observability={"log_level": "debug", "log_format": "json"},
        server={"port": 9000},
    )
    merged = merge(DEFAULTS, wanted)
    assert differences(DEFAULTS, merged) == ["limits.max_body_bytes", "observability.log_level"]
    assert merged.limits.max_body_bytes == 2048
    assert differences(DEFAULTS, wanted) == [
        "server.port",
        "limits.max_body_bytes",
        "limits.max_seqs",
        "observability.log_level",
        "observability.log_format",
    ]


@pytest.mark.parametrize("name", LIVE)
def test_every_live_setting_exists(name: str) -> None:
    section, field = name.split(".")
    assert hasattr(getattr(DEFAULTS, section), field)
