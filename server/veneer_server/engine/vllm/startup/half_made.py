"""Closes the sockets of a start that failed half-way. It imports ZeroMQ, which vLLM brings.

A ZeroMQ context waits for its sockets to be closed. Python's collector may come to the context
first, in whichever thread it runs then: that thread would stand still for ever.
"""

import traceback

import zmq


def close_sockets(error: BaseException) -> None:
    """Close each socket that a variable holds where ``error`` or an error behind it was raised."""
    behind: BaseException | None = error
    while behind is not None:
        for frame, _ in traceback.walk_tb(behind.__traceback__):
            for value in list(frame.f_locals.values()):
                if isinstance(value, zmq.Socket):
                    value.close(linger=0)
        behind = behind.__cause__ or behind.__context__
