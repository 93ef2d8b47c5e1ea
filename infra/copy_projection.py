"""Makes a copy whole: what was certified in it and not stored yet is made again, and stored.

A copy is a folder of files on which nobody runs, so all is done by this process.
"""

import sqlite3
from contextlib import ExitStack, closing
from dataclasses import replace
from time import monotonic

from bal.certify.log import Sequencer
from bal.errors import Stop
from bal.pipeline import Worker
from bal.ports import Heads
from infra.committed import CommittedClose, Progress
from infra.data_folder import DataFolder
from infra.file_log import FileLog
from infra.key_signer import KeySigner
from infra.outside import Outside
from infra.roles.making import layout_of
from infra.roles.positions import FILE as POSITIONS
from infra.roles.positions import SqlitePositions
from infra.roles.remaking import Remaking
from infra.roles.sequencing import POSITION
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.stores import STORER, open_stores
from infra.roles.storing import FIRST, WORKER_POSITION, storer_ports
from infra.rules import running_rules
from infra.stores import Stores
from infra.system_clock import SystemClock


def open_whole(folder: DataFolder) -> Stores:
    """The stores of a copy, to write to. Raises Stop."""
    if folder.has_roles:
        return open_stores(folder, SystemClock(), STORER, Outside())
    return Stores.open(folder, SystemClock())


def redo(folder: DataFolder) -> Heads:
    """Put what is staged into the tiles of a copy; where its log stands. Raises Stop."""
    with closing(FileLog(folder.log, SystemClock())) as log:
        return Sequencer(log, log, KeySigner("copy", bytes(32)), "").heads


def project(folder: DataFolder) -> None:
    """Store what the log has and the projection has not, by the rules of this version.

    Raises Stop as the next start would: "rules-differ" where another version made it.
    """
    heads = redo(folder)
    with closing(open_whole(folder)) as stores:
        if folder.has_roles:
            _project_topics(folder, stores)
            return
        stores.projector.catch_up(
            stores.log,
            Worker(stores.vault, stores.registry),
            version=heads.version,
            size=heads.size,
            rules=running_rules(),
            derive=stores.day_sources().again,
        )


def _project_topics(folder: DataFolder, stores: Stores) -> None:
    layout = layout_of(folder)
    assert layout is not None
    with ExitStack() as opened:
        channels = SqliteChannels.open(folder.bus, epoch=layout.epoch)
        opened.callback(channels.close)
        positions = SqlitePositions(folder.root)
        opened.callback(positions.close)
        remaking = Remaking(storer_ports(stores, channels, positions, monotonic))
        while not remaking.is_done:
            if not remaking.step() and not remaking.is_done:
                text = "the partitions of the rows wait for each other, and nobody else stores"
                raise Stop("projection-differs", text)


def store_close(folder: DataFolder, stores: Stores, close: CommittedClose, heads: Heads) -> None:
    """Store a close that is the last that the log has, where all before it is stored."""
    projector = stores.projector
    if not folder.has_roles:
        progress = replace(projector.progress(), version=heads.version, size=heads.size)
        projector.store([], progress, [close])
        projector.sync()
        return
    progress = Progress(heads.version, heads.size, 0, 0)
    for lane in range(folder.partitions):
        closes = [close] if lane == FIRST else []
        projector.store_lane(lane, [], progress, closes, stores.registry)
        projector.sync_lane(lane, progress)


def begin_topics(folder: DataFolder, version: int) -> None:
    """Begin the topics between workers, sequencer and storer anew: they are behind raw messages.

    version: of the heads row; a projection up to there lacks nothing that they had.
    """
    layout = layout_of(folder)
    assert layout is not None
    SqliteChannels.make(folder.bus, layout.epoch, layout.partitions)
    SqlitePositions(folder.root).close()  # made where no role saved one yet
    with closing(sqlite3.connect(folder.root / POSITIONS)) as db, db:
        db.execute("DELETE FROM positions WHERE name NOT LIKE ?", (f"{WORKER_POSITION}.%",))
        db.execute("INSERT INTO positions VALUES(?, 0, ?)", (POSITION, version))
