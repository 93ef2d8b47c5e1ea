"""`make demo`: one hour of a real low-voltage grid, sent, certified, read, verified, tampered with.

A story in seven steps, told through the outside that any user has: the command line, MQTT, HTTPS.
ONCE=1 (or no terminal) ends it by itself; DATA=DIR keeps the data folder.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from bal.errors import GridsealError
from field.mqtt_client import FieldClient
from field.simbench import CREDIT, GRID, ZONE, GridMeter, Quarter, fetch_wheel, meters, play
from field.simulator import Delivery, HeadEnd
from infra.demo_platform import Failure, Gateway, Platform, gridseal
from infra.demo_tamper import alter_stored_digit, changed_receipt, copy_folder

REPOSITORY = Path(__file__).resolve().parent.parent
METERS = 20
QUARTERS = 4
GROUP = GRID.lower()
SCOPE = "readings.read devices.read"
ANCHOR_INTERVAL_S = 2  # the default is longer; nobody watches for that long
_CERTIFIED_TIMEOUT_S = 60
_STORED_TIMEOUT_S = 30
_ANCHORED_TIMEOUT_S = 60
_TOKEN_RENEWED_S = 120
_SHOWN = 5
_EXITS = {0: "[green]all that was asked holds[/]", 1: "[red]a proof fails[/]"}
_HOLDS = {"authentic", "anchored", "nothing-doubtful"}
_OPEN = {"own-chain", "not-anchored-yet", "not-checked"}  # neither holds nor fails


@dataclass(slots=True)
class Story:
    """What the steps hand on to each other."""

    console: Console
    work: Path  # what the demo makes beside the data folder
    platform: Platform
    step: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)

    def head(self, title: str) -> None:
        """Begin the next step."""
        self.step += 1
        self.console.print(f"\n[bold]{self.step}. {title}[/bold]")

    def say(self, text: str) -> None:
        """A sentence under the step, wrapped to the terminal."""
        self.console.print(Padding(text, (0, 0, 0, 3), expand=False))

    def line(self, text: str) -> None:
        """A line that may be copied: never wrapped, nothing in it is markup."""
        self.console.print(f"   {text}", markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        """A table under the step."""
        self.console.print(Padding(table, (0, 0, 0, 3), expand=False))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show that something is going on."""
        with self.console.status(what):
            yield


def enrol(story: Story) -> Path:
    """Step 2: a head-end that may speak for any meter; its folder of credentials."""
    story.head("A head-end enrols")
    folder = story.work / "headend"
    described = folder / "client.json"
    if described.exists():  # of an earlier run with the same DATA; the port is another each time
        client = json.loads(described.read_bytes()) | {"mqtt": story.platform.facts["mqtt"]}
        described.write_text(json.dumps(client), encoding="utf-8")
    else:
        data = str(story.platform.data)
        gridseal(
            *("device", "enrol", "headend", "--subjects", "any", "--group", GROUP),
            *("--zone", ZONE, "--bulk", "--data", data, "--out", str(folder)),
        )
    story.say(
        "It has a certificate, a key and a password of its own, and may name any meter; what it "
        f"names first is put into the group {GROUP}."
    )
    return folder


def send(story: Story, credentials: Path, wheel: Path) -> None:
    """Step 3: four quarter-hours as CIM XML over MQTT, each certified before the next."""
    story.head("One hour of quarter-hours over MQTT")
    played = meters(wheel, limit=METERS)
    story.say(f"{len(played)} meters of {GRID}, a rural low-voltage grid. {CREDIT}")
    now = datetime.now(UTC)
    begin = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    quarters = list(play(wheel, played, begin, QUARTERS))
    asyncio.run(_deliver(story, credentials, played, quarters))
    readings = sum(int(str(delivery.summary["count"])) for delivery in story.deliveries)
    story.say(
        f"{readings} entries in the log: {METERS * len(quarters)} readings, a record of each "
        "message, and of each meter when it was first named. The log signed a checkpoint over "
        "each batch."
    )


async def _deliver(
    story: Story, credentials: Path, played: Sequence[GridMeter], quarters: Sequence[Quarter]
) -> None:
    async with FieldClient.from_folder(credentials) as client:
        async for delivery in HeadEnd(client, played).play(quarters, _CERTIFIED_TIMEOUT_S):
            story.deliveries.append(delivery)
            _show_delivery(story, delivery)


def _show_delivery(story: Story, delivery: Delivery) -> None:
    summary, quarter = delivery.summary, delivery.quarter
    if summary.get("type") != "certified":
        raise Failure(f"a message of the head-end was refused: {summary.get('text')}")
    size = str(summary["checkpoint"]).splitlines()[1]
    story.line(
        f"{quarter.begin:%H:%M}–{quarter.end:%H:%M} UTC  message {delivery.message[:12]}…  "
        f"entry {summary['first_index']} and {int(str(summary['count'])) - 1} more  log size {size}"
    )
    for fault in _list(summary, "findings"):
        story.line(f"   {fault.get('severity')}: {fault.get('text')}")
    refused = _list(summary, "refused")
    if refused:
        text = refused[0].get("text")
        raise Failure(f"{len(refused)} readings of a message were refused; the first: {text}")


def _list(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    return found if isinstance(found, list) else []


def read(story: Story) -> Gateway:
    """Step 4: what a client with the right to it reads back through the gateway."""
    story.head("A client reads them back through OAuth2")
    facts = story.platform.facts
    name = f"dashboard-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    data = str(story.platform.data)
    added = ("client", "add", name, "--scope", SCOPE, "--group", GROUP, "--data", data)
    client = json.loads(gridseal(*added)[1])
    gateway = Gateway(facts["http"], facts["ca"], client["client_id"], client["client_secret"])
    token = gateway.authorize(SCOPE)
    story.say(f"{name} may read the group {GROUP}; its token lives {token.get('expires_in')} s.")
    with story.waiting("waiting for the rows"):
        story.items = _stored(story, gateway)
    table = Table("device", "interval (UTC)", "value", "entry", "state", box=None, pad_edge=False)
    for item in story.items[:_SHOWN]:
        record = item["record"]
        interval = f"{record['begin'][11:16]}–{record['end'][11:16]}"
        value = f"{record['value']} {record['unit']}"
        table.add_row(
            f"{record['device'][:12]}…", interval, value, str(item["index"]), item["state"]
        )
    story.show(table)
    story.say(f"… {len(story.items)} readings in all. No meter's name left the identity vault.")
    return gateway


def _stored(story: Story, gateway: Gateway) -> list[dict[str, Any]]:
    """The readings of the hour that was sent, once all are there."""
    quarters = [delivery.quarter for delivery in story.deliveries]
    wanted = METERS * len(quarters)
    query = {
        "kind": "reading",
        "from": f"{quarters[0].end:%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{quarters[-1].end + timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}",
        "limit": "1000",
    }
    items: list[dict[str, Any]] = []
    deadline = time.monotonic() + _STORED_TIMEOUT_S
    while time.monotonic() < deadline:
        items = _list(json.loads(gateway.get(f"/v1/readings?{urlencode(query)}")), "items")
        if len(items) >= wanted:
            return items
        time.sleep(0.1)
    raise Failure(f"only {len(items)} of {wanted} readings can be read after {_STORED_TIMEOUT_S} s")


def receive(story: Story, gateway: Gateway) -> tuple[dict[str, Any], Path]:
    """Step 5: one reading's receipt, once its checkpoint stands on chain."""
    story.head("One reading's receipt")
    item = max(story.items, key=lambda one: int(one["record"]["value"]))
    record = item["record"]
    path = story.work / "receipt.tlog-proof"
    with story.waiting("waiting until the checkpoint stands on chain"):
        deadline = time.monotonic() + _ANCHORED_TIMEOUT_S
        while not _anchored(story, gateway, item):
            if time.monotonic() > deadline:
                raise Failure(f"the log's head was not anchored within {_ANCHORED_TIMEOUT_S} s")
            time.sleep(0.2)
        path.write_bytes(gateway.get(str(item["receipt"])))
    story.say(f"{record['value']} {record['unit']} from {record['begin']} to {record['end']},")
    story.say(f"entry {item['index']} of the log {story.platform.facts['origin']}")
    story.line(str(path))
    return item, path


def _anchored(story: Story, gateway: Gateway, item: Mapping[str, Any]) -> bool:
    query = {"device": item["record"]["device"], "kind": "reading", "limit": "1000"}
    items = _list(json.loads(gateway.get(f"/v1/readings?{urlencode(query)}")), "items")
    states = {one["index"]: one["state"] for one in items}
    return states.get(item["index"]) in {"anchored", "final"}


def verify(story: Story, receipt: Path) -> Path:
    """Step 6: the verifier, with a policy and an RPC endpoint, and nothing of the platform."""
    story.head("gridseal verify, which trusts none of the above")
    policy = story.work / "policy.txt"
    policy.write_text(gridseal("policy", "--data", str(story.platform.data))[1], encoding="utf-8")
    verdicts = _verdicts(story, receipt, policy)
    if verdicts["exit"] != 0:
        raise Failure("the receipt did not verify; the verdicts above say why")
    story.say(
        "It would be exit 2 without --accept-own-chain: an operator could make his own chain anew."
    )
    changed, before, after = changed_receipt(receipt.read_text(encoding="utf-8"))
    forged = story.work / "forged.tlog-proof"
    forged.write_text(changed, encoding="utf-8")
    story.say(f"\nThe same receipt with one character changed, {before} Wh → {after} Wh:")
    if _verdicts(story, forged, policy)["exit"] != 1:
        raise Failure("a forged receipt was not refused")
    return policy


def _verdicts(story: Story, receipt: Path, policy: Path) -> dict[str, Any]:
    """Show what the verifier says, question by question."""
    ca = str(story.platform.facts["ca"])
    trust = ("--policy", str(policy), "--ca", ca, "--accept-own-chain")
    _, printed = gridseal("verify", str(receipt), *trust, "--json", allowed=(0, 1, 2))
    found: dict[str, Any] = json.loads(printed)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for question, verdict in found["verdicts"].items():
        code = verdict["code"]
        mark = "[green]✔[/]" if code in _HOLDS else "–" if code in _OPEN else "[red]✘[/]"
        table.add_row(mark, question, escape(f"{verdict['text']} [{code}]"))
    story.show(table)
    story.say(f"exit {found['exit']}: {_EXITS.get(found['exit'], 'not decidable yet')}")
    return found


def tamper(story: Story, item: Mapping[str, Any]) -> Path:
    """Step 7: one digit altered on disk, in a copy, and the check that catches it."""
    story.head("One stored digit is altered, in a copy of the data folder")
    copy = story.work / "copy"
    with story.waiting("copying the data folder and checking the copy"):
        copy_folder(story.platform.data, copy)
    story.say("gridseal fsck on the untouched copy: everything re-derives.")
    records = [item["record"], *(one["record"] for one in story.items)]
    path, record, value = alter_stored_digit(copy, records)
    where = path.relative_to(story.work)
    story.say(
        f"{where}, {record['device'][:12]}… {record['begin']}: {record['value']} → {value} Wh"
    )
    with story.waiting("checking again"):
        code, said = gridseal("fsck", "--data", str(copy), allowed=(0, 1))
    story.say("gridseal fsck on the altered copy:")
    for line in said.splitlines():
        if line.startswith(("✘", "fsck")):
            story.say(escape(line))
    if code == 0:
        raise Failure("fsck did not notice the altered digit")
    return copy


def stay(story: Story, gateway: Gateway, receipt: Path, policy: Path, copy: Path) -> None:
    """Until Ctrl-C: what to try next, with a token that is kept fresh."""
    header = story.work / "token.header"
    facts = story.platform.facts
    tool = ".venv/bin/gridseal"
    story.head("The platform stays up until Ctrl-C. Three things to try, in another shell")
    url = f"'{facts['http']}/v1/readings?limit=1'"
    story.line(f"curl -s --cacert {facts['ca']} -H @{header} {url} | python3 -m json.tool")
    story.line(f"{tool} verify {receipt} --policy {policy} --ca {facts['ca']} --accept-own-chain")
    story.line(f"{tool} fsck --data {copy}")
    if not os.environ.get("DATA"):
        story.say("Ctrl-C removes the folder; DATA=DIR make demo keeps one.")
    while story.platform.running():
        gateway.authorize(SCOPE)
        header.touch(mode=0o600)
        header.write_text(f"Authorization: Bearer {gateway.token}\n", encoding="utf-8")
        deadline = time.monotonic() + _TOKEN_RENEWED_S
        while story.platform.running() and time.monotonic() < deadline:
            time.sleep(0.2)
    raise Failure(f"the platform ended by itself: {story.platform.last_words()}")


def tell(story: Story, wheel: Path, *, once: bool) -> None:
    """Steps 2 to 7, and then, unless once, until Ctrl-C. Raises Failure where it breaks off."""
    started = time.monotonic()
    credentials = enrol(story)
    send(story, credentials, wheel)
    gateway = read(story)
    item, receipt = receive(story, gateway)
    policy = verify(story, receipt)
    copy = tamper(story, item)
    story.console.print(f"\n[bold green]All of it held[/] ({time.monotonic() - started:.0f} s).")
    value = f"{item['record']['value']} Wh"
    story.say(f"Proved: {value} is entry {item['index']} of a log whose root stands on a chain.")
    story.say("Refused: the same receipt with another value in it.")
    story.say("Caught: one digit altered where the platform keeps its rows.")
    if not once:
        stay(story, gateway, receipt, policy, copy)


def start(console: Console, work: Path, data: Path, *, once: bool) -> None:
    """Step 1, a platform on its folder, and the story on it."""
    with console.status("fetching SimBench's wheel (91 MB, the first time only)"):
        wheel = fetch_wheel(REPOSITORY / ".cache")
    story = Story(console, work, Platform(data, work / "platform.log", _config(work, data)))
    story.head("A platform starts: one process, one data folder")
    with story.waiting("making keys, CA and contract"):
        story.platform.start()
    try:
        facts = story.platform.facts
        story.line(f"data folder {data}")
        story.line(f"log {facts['origin']}")
        story.line(f"contract {facts['contract']}")
        story.line(f"on chain {facts['chain_id']} ({facts['chain_kind']})")
        story.line(f"REST {facts['http']}   MQTT {facts['mqtt']}")
        tell(story, wheel, once=once)
    finally:
        story.platform.stop()  # and nothing before it that a closed terminal could make fail


def _config(work: Path, data: Path) -> Path | None:
    """A configuration with a short anchor interval, for a folder that is new."""
    path = work / "demo.toml"
    if not path.exists():
        if data.is_dir() and any(data.iterdir()):
            return None  # somebody else's platform: what it promised about anchors stands
        work.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[anchor]\ninterval_s = {ANCHOR_INTERVAL_S}\n", encoding="utf-8")
    return path


def main() -> int:
    """0 when all held, or it was stopped by Ctrl-C; 1 with a sentence when something did not."""
    console = Console(highlight=False)
    once = os.environ.get("ONCE", "") not in {"", "0"} or not sys.stdout.isatty()
    kept = os.environ.get("DATA")
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda *_: signal.raise_signal(signal.SIGINT))
    folder = Path(kept).resolve() if kept else Path(tempfile.mkdtemp(prefix="gridseal-demo-"))
    work = folder.with_name(folder.name + ".demo") if kept else folder
    data = folder if kept else folder / "data"
    failed = True
    try:
        start(console, work, data, once=once)
        failed = False
    except (Failure, GridsealError) as error:
        console.print(f"\n[bold red]demo:[/] {escape(str(error))}")
    except KeyboardInterrupt:
        failed = False
        with suppress(OSError):  # the terminal may be gone
            console.print("\ndemo: stopped")
    except Exception as error:  # noqa: BLE001 - a person watches: a sentence, never a traceback
        console.print(f"\n[bold red]demo:[/] {type(error).__name__}: {escape(str(error))}")
    finally:
        if not kept and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    if failed:
        console.print(f"The platform's log is {work / 'platform.log'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
