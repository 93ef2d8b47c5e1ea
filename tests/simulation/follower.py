"""Who tells senders of what became visible: published and stored, as collectors see it."""

import json

from bal import jcs
from tests.simulation.senders import Sender
from tests.simulation.servers import Servers
from tests.simulation.world import SECOND_US, Process


class FollowerProcess(Process):
    """Walks the headers behind what is visible; every sender is told at least once."""

    def __init__(self, servers: Servers, senders: dict[str, Sender], name: str) -> None:
        self._servers, self._senders = servers, senders
        self._version = 0  # whose messages were told of
        super().__init__(servers.world, name)

    def step(self) -> float | None:
        servers = self._servers
        published = servers.disk.published
        visible = min(published[0].size if published else 0, servers.stored.size())
        while (headers := servers.disk.headers.get(self._version + 1)) is not None:
            if servers.disk.sizes[self._version + 1] > visible:
                break
            self._version += 1
            for header in headers:
                self._tell(jcs.decode(header))
        return self.dice.uniform(2, 15)

    def _tell(self, header: dict[str, str]) -> None:
        servers = self._servers
        if header["epoch"] != servers.raw.epoch or header["part"] != "0":
            return
        batch = header.get("again") or f"{header['epoch']}/{header['partition']}/{header['offset']}"
        epoch, partition, offset = batch.split("/")
        key = servers.archive.by_place.get((epoch, int(partition), int(offset)))
        if key is None or json.loads(servers.archive.by_key[key])["batch"] != batch:
            return  # lost in a power cut; its sender asks again
        sender = self._senders.get(key[0])
        if sender is not None:
            self.world.at(SECOND_US // 10, lambda: sender.told(key[1]))
