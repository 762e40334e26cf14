"""Write what arrives to disk, in threads."""

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from veneer_adapters.errors import StorageFailed
from veneer_adapters.threads import in_thread

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def receive(chunks: AsyncGenerator[bytes], file: Path, seen: Callable[[bytes], None]) -> None:
    """Write ``chunks`` into the new ``file``; ``seen`` gets each chunk before it is written.

    An error that ``seen`` raises ends the transfer. Closes ``chunks``.

    Raises:
        StorageFailed: the file could not be written.
    """
    with ExitStack() as stack:

        def create() -> BinaryIO:
            out = file.open("xb")
            stack.callback(_close, out)  # also when nobody waits for it any more
            return out

        out = await _on_disk(create)
        async with aclosing(chunks):
            async for chunk in chunks:
                seen(chunk)
                await _on_disk(out.write, chunk)
        await _on_disk(out.flush)


def _close(out: BinaryIO) -> None:
    # A flush that failed has raised before; closing the file would raise again.
    with suppress(OSError):
        out.close()


async def _on_disk(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    try:
        return await in_thread(function, *args, **kwargs)
    except OSError as error:
        raise StorageFailed("What the source sent could not be written to disk.") from error
