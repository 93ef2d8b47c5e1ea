"""Messages of one sender reach the bus in the order in which they came, large ones and small."""

import asyncio
from pathlib import Path

from infra.app import Platform
from infra.config import Config
from infra.control import call
from infra.services import GUARD_INLINE_BYTES

ANYWHERE = ("127.0.0.1", 0)
LARGE = b"<a>%s</a>" % (b"<b/>" * (3 * GUARD_INLINE_BYTES))  # looked at in a thread


def test_a_correction_does_not_overtake_what_it_corrects(tmp_path: Path) -> None:
    sent = [LARGE if at % 3 == 0 else b"<c>%d</c>" % at for at in range(12)]

    async def scenario() -> list[bytes]:
        platform = Platform(tmp_path / "data", Config())
        platform.open()
        await platform.start(ANYWHERE, ANYWHERE)
        scopes = {"name": "dso", "scopes": ["messages.write"], "groups": None}
        made = await asyncio.to_thread(call, platform.folder.root, "client-add", 60, **scopes)
        began = platform.stores.bus.end()
        accepting = [
            asyncio.create_task(platform.services.accept(made["client_id"], "cim", raw))
            for raw in sent
        ]
        await asyncio.sleep(0)
        accepting.pop(3).cancel()  # its sender is gone: those behind it keep their order
        await asyncio.gather(*accepting)
        found = [message.raw for message in platform.stores.bus.read(began, 100)]
        await platform.stop()
        return found

    found = asyncio.run(scenario())
    assert found == [raw for at, raw in enumerate(sent) if at != 3]
