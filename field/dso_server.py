"""The DSO Data Server: telemetering centres' exports into one database, and on to the platform.

What Platone's Greek trial had between the centres and the platform. Folders with exports are
looked through again and again; the query API is field/dso_api.py, the way to the platform
field/dso_publisher.py, what the formats are docs/dso-server.md.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from bal.errors import Rejected, Unavailable
from bal.ports import Clock
from field import dso_import
from field.dso_centre import FILE, Centre
from field.dso_import import EXPORT_BYTES_MAX, Export
from field.dso_store import DsoStore

LOOK_S = 10.0  # between two looks at the folders
SETTLED_S = 2  # a file is read once it was left alone for so long
_UNFINISHED = (".part", ".tmp", ".filepart", "~")

log = logging.getLogger("gridseal.dso")


class _Seen(NamedTuple):
    size: int
    changed_ns: int


class Importer:
    """Looks through the folders of centres; a file is read when it is new or has changed."""

    def __init__(
        self,
        store: DsoStore,
        centres: Sequence[Centre],
        clock: Clock,
        *,
        settled_s: int = SETTLED_S,
    ) -> None:
        self._store, self._centres, self._clock = store, centres, clock
        self._settled_us = settled_s * 1_000_000
        self._seen: dict[Path, _Seen] = {}

    def look(self) -> int:
        """Import what is new; how many values were. One bad file never costs the others."""
        return sum(self._look_at(centre) for centre in self._centres)

    def _look_at(self, centre: Centre) -> int:
        taken = 0
        for path, seen in _files(centre):
            if self._seen.get(path) == seen:
                continue
            if self._clock.now_us() - seen.changed_ns // 1_000 < self._settled_us:
                continue  # somebody may still be writing
            try:
                taken += self._import(centre, path, seen)
            except OSError as error:
                log.warning("%s: %s can't be read: %s", centre.name, path.name, error.strerror)
        return taken

    def _import(self, centre: Centre, path: Path, seen: _Seen) -> int:
        raw = b"" if seen.size > EXPORT_BYTES_MAX else path.read_bytes()
        digest = sha256(raw).hexdigest() if raw or not seen.size else f"{seen.size} bytes"
        taken = 0
        if not self._store.has_export(centre.name, path.name, digest):
            failure: Rejected | None = None
            export = Export()
            try:
                if seen.size > EXPORT_BYTES_MAX:
                    text = f"an export has at most {EXPORT_BYTES_MAX} bytes"
                    raise Rejected("export-too-large", text)
                export = dso_import.read(raw, centre)
            except Rejected as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - a defect of ours must not stop all centres
                text = f"the export can't be read: a defect ({type(error).__name__})"
                failure = Rejected("mapper-failed", text)
            if failure is not None:
                log.warning("%s: %s is not taken: %s", centre.name, path.name, failure)
            taken = self._store.take_export(
                centre.name, path.name, digest, export,
                now_us=self._clock.now_us(), failure=failure,
            )  # fmt: skip
            if failure is None:
                log.info(
                    "%s: %s: %d values are new, %d refused",
                    centre.name, path.name, taken, export.refused_count,
                )  # fmt: skip
        self._seen[path] = seen
        return taken


async def import_for_ever(importer: Importer, every_s: float = LOOK_S) -> None:
    """Look through the folders again and again; a full disk is waited for."""
    while True:
        try:
            await asyncio.to_thread(importer.look)
        except Unavailable as error:
            log.warning("not imported: %s", error)
        await asyncio.sleep(every_s)


def _files(centre: Centre) -> Iterator[tuple[Path, _Seen]]:
    """Plain files of a centre that match its pattern, by name; links are not followed."""
    try:
        paths = sorted(centre.folder.glob(centre.files))
    except (OSError, ValueError) as error:
        log.warning("%s: %s", centre.name, error)
        return
    for path in paths:
        if path.name == FILE or path.name.startswith(".") or path.name.endswith(_UNFINISHED):
            continue
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield path, _Seen(found.st_size, found.st_mtime_ns)
