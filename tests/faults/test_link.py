"""What a bad network leaves behind when it ends."""

import gc
import socket
import time
import warnings
from contextlib import ExitStack, suppress

from tests.faults.link import Link

CALLERS = 100


def test_who_calls_while_it_ends_is_left_with_nothing_open() -> None:
    """On either side: the caller reads its end, and so does the server where it got so far."""
    with ExitStack() as opened, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CALLERS))
        link = Link("127.0.0.1", server.getsockname()[1])
        link._loop.call_soon_threadsafe(time.sleep, 0.05)  # so that they come all at once
        callers = [
            opened.enter_context(socket.create_connection(("127.0.0.1", link.port)))
            for _ in range(CALLERS)
        ]
        link.close()
        gc.collect()
        for caller in callers:
            caller.settimeout(5)
            with suppress(ConnectionResetError):  # where it had not been taken yet
                assert caller.recv(1) == b""
    assert [str(one.message) for one in told] == []
