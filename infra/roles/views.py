"""What a process without a part in the pipeline looks at: the stores and the topics of a folder."""

from collections.abc import Callable
from dataclasses import dataclass

from bal.ports import Clock
from infra.roles.anchors_seen import AnchorsSeen, journal_of
from infra.roles.channels import open_channels
from infra.roles.making import Made
from infra.roles.ports import Channels
from infra.roles.stores import open_stores
from infra.stores import Stores


@dataclass(frozen=True, slots=True)
class Views:
    """Their registry is empty until a Follower fills it."""

    stores: Stores
    channels: Channels
    close: Callable[[], None]


def open_views(made: Made, clock: Clock, role: str) -> Views:
    """Open what `begin` made. Raises Stop, Unavailable."""
    stores = open_stores(made.folder, clock, role, made.outside)
    anchored = AnchorsSeen(journal_of(made.folder, made.facts))
    stores.anchored = anchored
    senders = stores.registry.senders

    def is_bulk(credential: str) -> bool:
        sender = senders.get(credential)
        return sender is not None and sender.bulk

    try:
        channels = open_channels(made, is_bulk)
    except BaseException:
        stores.close()
        raise

    def close() -> None:
        channels.close()
        stores.close()
        anchored.close()

    return Views(stores, channels, close)
