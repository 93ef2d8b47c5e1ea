"""What one sender sent goes on in the order in which it came, however long each is looked at."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Turns:
    """By name, one after the other; for one event loop."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Future[None]] = {}

    def __contains__(self, name: str) -> bool:
        """Whether something of that name has a turn now."""
        return name in self._last

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Take the next turn, which ends with the block.

        Gives what is awaited within it: the end of all turns of that name that were taken before.
        """
        before, mine = self._last.get(name), asyncio.get_running_loop().create_future()
        self._last[name] = mine

        async def earlier() -> None:
            if before is not None:
                await asyncio.wait({before})  # whoever is cancelled here takes nobody with him

        def end(_: object = None) -> None:
            mine.set_result(None)
            if self._last[name] is mine:
                del self._last[name]

        try:
            yield earlier
        finally:
            if before is None or before.done():
                end()
            else:  # it was broken off: whoever is next waits for those before it all the same
                before.add_done_callback(end)
