"""Names leave the vault behind records of the log alone (docs/spec/registry.md, subject epochs)."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bal import jcs
from bal.errors import Rejected, Unavailable
from bal.model import Identity
from bal.registry import Registry
from infra.gaps import NAMES_MAX
from infra.identities import Identities
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock


class Names:
    """A vault with so many meters, and what is put on the bus."""

    def __init__(self, folder: Path, meters: int) -> None:
        self.vault = SqliteVault(folder / "vault", SystemClock())
        wanted = [Identity(f"name://{number}") for number in range(meters)]
        self.known = {name: who for who, name in self.vault.pseudonyms(wanted).items()}
        self.commands: list[dict[str, Any]] = []
        self.away = False
        self.identities = Identities(
            self.vault,
            Registry(),
            Mock(),
            Mock(),
            clock=SystemClock(),
            put=self._put,
        )

    async def _put(self, _: str, __: str, raw: bytes) -> None:
        if self.away:
            raise Unavailable("the bus is away")
        self.commands.append(jcs.decode(raw))


def test_a_list_of_names_is_recorded_whole(tmp_path: Path) -> None:
    names = Names(tmp_path, NAMES_MAX + 1)
    asked = [*names.known, "E" * 43]  # one that was erased
    found = asyncio.run(names.identities.named(asked, "clerk", "an inventory"))
    assert found == {**names.known, "E" * 43: None}
    assert {(one["by"], one["why"], one["purpose"]) for one in names.commands} == {
        ("clerk", "an inventory", "list")
    }
    # Who was erased is behind no name any more: there is nobody to tell of.
    assert [name for one in names.commands for name in one["devices"]] == asked[:-1]
    names.vault.close()


def test_what_is_not_recorded_is_not_told(tmp_path: Path) -> None:
    names = Names(tmp_path, 1)
    names.away = True
    with pytest.raises(Unavailable):
        asyncio.run(names.identities.named(list(names.known), "clerk", "an inventory"))
    with pytest.raises(Rejected, match="printable"):
        asyncio.run(names.identities.named(list(names.known), "clerk", "a\nb"))
    names.vault.close()
