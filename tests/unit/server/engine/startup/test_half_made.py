"""What a start leaves that fails while it makes its sockets."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

zmq_asyncio: Any = need("zmq.asyncio")
half_made: Any = need("veneer_server.engine.vllm.startup.half_made")


def fail_half_way(folder: Path) -> None:
    """As vLLM's client does: the contexts are in a cycle, and one socket has no place to be."""
    import zmq

    class Client:
        def __init__(self) -> None:
            self.itself = self
            self.inner = zmq.Context()
            self.context = zmq_asyncio.Context(self.inner)

    client = Client()
    made = client.context.socket(zmq.ROUTER)
    made.bind(f"ipc://{folder / 'missing' / 'socket'}")


def fail_behind_another_error(folder: Path) -> None:
    """As a caller does that says it in its own words."""
    import zmq

    try:
        fail_half_way(folder)
    except zmq.ZMQError as error:
        raise RuntimeError("the engine did not start") from error


@pytest.mark.parametrize("fail", [fail_half_way, fail_behind_another_error])
def test_the_collector_does_not_wait_for_the_sockets_of_a_start_that_failed(
    tmp_path: Path, fail: Callable[[Path], None]
) -> None:
    import zmq

    gc.disable()  # the collector runs below, where it can be watched, and nowhere else
    try:
        try:
            fail(tmp_path)
        except (zmq.ZMQError, RuntimeError) as error:
            error.args += ([error],)  # as errors of errors do: only the collector frees them
            half_made.close_sockets(error)
        collecting = threading.Thread(target=gc.collect, daemon=True)
        collecting.start()
        collecting.join(20)
        assert not collecting.is_alive()
    finally:
        gc.enable()
