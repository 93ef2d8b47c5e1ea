"""Moves what a restored folder keeps in files to the servers that a configuration names."""

from contextlib import closing
from dataclasses import replace

from infra.config import Config, KafkaConfig
from infra.data_folder import DataFolder
from infra.heads_row import FIRST, SqliteHeads
from infra.outside import choose, open_customer_db, open_heads
from infra.sqlite_customer_db import SqliteCustomerDb

ROWS_AT_ONCE = 8_192


def move(folder: DataFolder, config: Config) -> None:
    """Rows, and the heads row where that is wanted, to Cassandra; the messages stay in files.

    They get names of their own there, so that nothing of another database is touched; and an
    attempt that is cut off is begun anew. Raises Stop("config-invalid"), Unavailable.
    """
    if not config.cassandra.hosts:
        return
    outside = choose(folder, replace(config, kafka=KafkaConfig()), anew=True)
    lanes = max(1, folder.partitions)
    with (
        closing(SqliteCustomerDb(folder.customer_db, lanes=lanes)) as file,
        closing(open_customer_db(outside, folder)) as rows,
    ):
        size = file.size()
        for start in range(0, size, ROWS_AT_ONCE):
            stop = min(size, start + ROWS_AT_ONCE)
            rows.store(file.records(start, stop), stop)
        for lane in range(1, lanes):
            rows.store([], size, lane)
        rows.sync()
    if config.cassandra.heads:
        with (
            closing(SqliteHeads(folder.log, read_only=True)) as file_row,
            closing(open_heads(outside, folder)) as row,
        ):
            row.swap(FIRST, file_row.read())
    _remove(folder, heads=config.cassandra.heads)


def _remove(folder: DataFolder, *, heads: bool) -> None:
    """The files that are of no use any more."""
    names = [folder.customer_db / "customer.db", *([folder.log / "heads.db"] if heads else [])]
    for name in names:
        for path in (name, *name.parent.glob(f"{name.name}-*")):
            path.unlink(missing_ok=True)
