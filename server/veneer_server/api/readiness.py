"""Whether the server can serve, for probes and for people."""

from veneer_server.api.deps import Server
from veneer_server.api.errors import ShuttingDown, StateUnwritable, TasksFailing
from veneer_server.engine.base import EngineUnavailable


async def require_ready(server: Server) -> None:
    """Return while the engine can serve, state can be written, and the server goes on.

    Raises:
        ShuttingDown, TasksFailing, StateUnwritable, EngineUnavailable: the message says why not.
    """
    if server.draining.is_set():
        raise ShuttingDown("The server is shutting down.")
    if failing := server.background.failing():
        raise TasksFailing(f"These tasks of the server keep failing: {', '.join(failing)}.")
    await server.engine.check_health()
    if trouble := server.state_trouble():
        raise StateUnwritable(trouble)


async def is_up(server: Server) -> bool:
    """Return whether the engine can serve."""
    try:
        await server.engine.check_health()
    except EngineUnavailable:
        return False
    return True
