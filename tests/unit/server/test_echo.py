"""What a test may make the echo engine do."""

from dataclasses import replace
from pathlib import Path

from veneer_server.engine.echo import PLAUSIBLE, EchoEngine

NOTHING = replace(PLAUSIBLE, largest_change=0.0)


async def test_effects_are_those_the_test_gave_by_the_beginning_of_a_name() -> None:
    engine = EchoEngine(effects={"idle@": NOTHING})
    for engine_id, name in enumerate(("idle@sha256:1", "idle@sha256:2", "idler@sha256:3"), 1):
        await engine.load_adapter(engine_id, name, Path("/nowhere"))
    assert await engine.measure_effect(1, "idle@sha256:1") == NOTHING
    assert await engine.measure_effect(2, "idle@sha256:2") == NOTHING
    assert await engine.measure_effect(3, "idler@sha256:3") == PLAUSIBLE
