"""An anchorer whose chain is away when its turn comes: it waits, and says so."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from bal.errors import GridsealError
from infra.config import Config
from infra.data_folder import DataFolder, Facts
from infra.outside import Outside
from infra.roles import anchorer
from infra.roles.anchorer import AnchorerRole
from infra.roles.making import Layout, Made
from infra.roles.role import Process
from infra.system_clock import SystemClock
from tests.adapters.roles.folder_kit import ORIGIN

CONTRACT = "0x" + "11" * 20
NOBODY = "http://127.0.0.1:9"
PATIENCE_S = 60


def test_a_chain_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(anchorer, "AWAY_S", 0.05)
    monkeypatch.setattr(anchorer, "ALARM_AFTER_S", 0.2)
    folder = DataFolder(tmp_path)
    folder.create()
    anchor = replace(Config().anchor, rpc_url=NOBODY, contract=CONTRACT)
    facts = Facts(ORIGIN, "", "", 1, "public", CONTRACT, "", 60, "")
    config = replace(Config(), anchor=anchor)
    made = Made(folder, config, facts, Layout("0" * 16, 1), Outside())
    failures: list[GridsealError] = []

    async def play() -> None:
        role = AnchorerRole(Process(made, SystemClock(), failures.append))
        assert await role.start() == {"active": True}
        async with asyncio.timeout(PATIENCE_S):
            while not failures and "chain-unavailable" not in role.metrics.text():
                await asyncio.sleep(0.05)
        assert failures == []
        assert role.ready()["chain"].startswith("chain-unavailable: ")
        await role.stop()

    asyncio.run(play())
    assert caplog.text.count("anchoring waits") == 1
