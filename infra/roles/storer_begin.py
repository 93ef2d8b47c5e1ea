"""Where the storer of a partition begins: saved positions, and what the log had taken."""

from collections.abc import Iterator
from typing import Protocol

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.errors import Stop, Unavailable
from bal.ports import Heads, TileReader
from infra.log_reader import Place, batch_headers
from infra.projector import Projector

LOOKS = 16  # at the heads row, while it changes
ROWS_POSITION, ANNOUNCEMENTS_POSITION = "storer.rows", "storer.announcements"


class LogReads(TileReader, Protocol):
    """The log as a storer looks at it."""

    def heads(self) -> Heads:
        """The heads row, read from storage, never from memory."""
        ...


class HeadersAwaited(Unavailable):
    """A sequencer is between the heads row and its headers, or it was killed there."""


class Lost(Stop):
    """Rows that the log took, and that are not stored, are no longer in their topics."""

    def __init__(self, text: str) -> None:
        super().__init__("bus-went-backwards", text)


def checked(log: LogReads, projector: Projector, partition: int) -> Heads:
    """The heads row, as of which what is stored of a partition is possible.

    Raises Stop where what is stored is ahead of a log that stands still, Unavailable where another
    storer goes on whenever this one looks.
    """
    heads = log.heads()
    for _ in range(LOOKS):
        try:
            projector.check_lane(partition, heads.version, heads.size)
        except Stop:  # another storer stored while this one looked, or was stopped
            looked, heads = heads, log.heads()
            if heads == looked:
                raise
        else:
            return heads
    raise Unavailable("the log grows faster than this storer can look", retry_after_s=1)


def rows_position(partition: int) -> str:
    """The saved position of a partition's storer in its rows."""
    return f"{ROWS_POSITION}.{partition}"


def announcements_position(partition: int) -> str:
    """The saved position of a partition's storer in the announcements."""
    return f"{ANNOUNCEMENTS_POSITION}.{partition}"


def headers_until(log: LogReads, version: int, heads: Heads) -> Iterator[tuple[Place, bytes]]:
    """The batch headers behind a version up to those of `heads`, each version's.

    Raises HeadersAwaited where a sequencer has not written all of them yet: it does so in order, so
    Stop where a version in between is missing.
    """
    last = version
    for place, header in batch_headers(log, after=version, last=heads.version):
        if place[0] > last + 1:
            raise Stop("log-damaged", f"headers.db lacks version {last + 1} and has later ones")
        last = place[0]
        yield place, header
    if last != heads.version:
        raise HeadersAwaited("the log's newest headers are not written yet", retry_after_s=1)


def taken_at(log: LogReads, version: int, heads: Heads) -> dict[str, int]:
    """By source the last offset that was taken as of a version; heads: of now, or later.

    Raises as `headers_until`.
    """
    taken = dict(heads.taken)
    seen: set[str] = set()
    for _, header in headers_until(log, version, heads):
        data = jcs.decode(header)
        source = f"{data['epoch']}/{data['partition']}"
        if source not in seen and data["epoch"] != OWN_SOURCE:
            seen.add(source)
            taken[source] = int(data["prev"])
    return {source: offset for source, offset in taken.items() if offset >= 0}
