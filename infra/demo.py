"""`make demo`: a day of a real low-voltage grid, certified, closed, proved and tampered with.

A story in steps, told through the outside that any user has: the command line, MQTT, HTTPS.
ONCE=1 (or no terminal) ends it by itself; DATA=DIR keeps the data folder; GRID, DAYS, SPEED,
PMU_SPEED, SEED and DATE change what is played (docs/simulator.md).
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bal.errors import GridsealError, Stop
from field.simbench import GRID, fetch_wheel
from infra.demo_checks import close, drill, phasors, receive, verify
from infra.demo_platform import Failure, Gateway, Platform, gridseal
from infra.demo_play import count, enrol, play
from infra.demo_story import Story, Wishes
from infra.simulate import speed, yesterday

REPOSITORY = Path(__file__).resolve().parent.parent
SCOPE = "readings.read devices.read"
ANCHOR_INTERVAL_S = 2  # the default is longer; nobody watches for that long
GRACE_H = 87_600  # ten years: here the day is closed by the story, not by the clock
DAYS_MAX = 31
_TOKEN_RENEWED_S = 120
INTRO = (
    "A platform on this machine takes a day of measurements of a real grid, commits to each in an "
    "append-only log, and lets an Ethereum contract witness the log. You will see what came in, "
    "what is missing, what is proved, and what happens to whoever changes something."
)


def wishes() -> Wishes:
    """What the environment asks for. Raises Stop("usage") with a sentence."""
    asked = {name: os.environ.get(name, "") for name in ("GRID", "DAYS", "SEED", "DATE")}
    for name in ("DAYS", "SEED"):
        if asked[name] and not (asked[name].isascii() and asked[name].isdigit()):
            raise Stop("usage", f"{name} is a whole number, not {asked[name]}")
    days = int(asked["DAYS"] or 1)
    if not 1 <= days <= DAYS_MAX:
        raise Stop("usage", f"DAYS is 1 to {DAYS_MAX}")
    try:
        last = date.fromisoformat(asked["DATE"]) if asked["DATE"] else yesterday()
    except ValueError as error:
        raise Stop("usage", f"DATE is YYYY-MM-DD, not {asked['DATE']}") from error
    return Wishes(
        grid=asked["GRID"] or GRID,
        days=days,
        speed=speed(os.environ.get("SPEED") or "max"),
        pmu_speed=speed(os.environ.get("PMU_SPEED") or "1"),
        seed=int(asked["SEED"] or 1),
        last=last,
    )


def client(story: Story) -> Gateway:
    """A client application with the right to the grid's devices."""
    facts, data = story.platform.facts, str(story.platform.data)
    name = f"dashboard-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    added = ("client", "add", name, "--scope", SCOPE, "--group", story.group, "--data", data)
    made = json.loads(gridseal(*added)[1])
    gateway = Gateway(facts["http"], facts["ca"], made["client_id"], made["client_secret"])
    gateway.authorize(SCOPE)
    return gateway


def sum_up(story: Story, took_s: float) -> None:
    """What was proved, what is missing, what tampering looks like, and what the chain cost."""
    console = story.console
    console.print(f"\n[bold green]All of it held[/] ({took_s:.0f} s).")
    assert story.tally is not None
    refusals = sum(story.tally.refusals.values())
    for title, sentences in (
        ("Proved", story.proved),
        ("Missing", list(dict.fromkeys(story.missing))),
        ("Refused", [f"{refusals} readings; step 4 says which and why"] if refusals else []),
        ("Caught", story.caught),
    ):
        for sentence in sentences:
            story.say(f"[bold]{title + ':':<9}[/] {escape(sentence)}")
    anchor = json.loads(gridseal("status", "--data", str(story.platform.data))[1])["anchor"]
    if anchor.get("gas"):
        size, gas = int(anchor["anchored_size"]), int(anchor["gas"])
        story.say(
            f"[bold]Anchor:[/]   {anchor['age_s']} s old, covers {size:,} entries; one head on "
            f"chain costs {gas:,} gas, however many entries it covers."
        )


def stay(story: Story, gateway: Gateway, receipt: Path, policy: Path) -> None:
    """Until Ctrl-C: what to try next, with a token that is kept fresh."""
    header = story.work / "token.header"
    facts = story.platform.facts
    tool = ".venv/bin/gridseal"
    story.head("The platform stays up until Ctrl-C. Three things to try, in another shell")
    url = f"'{facts['http']}/v1/readings?limit=1'"
    story.line(f"curl -s --cacert {facts['ca']} -H @{header} {url} | python3 -m json.tool")
    story.line(f"{tool} verify {receipt} --policy {policy} --ca {facts['ca']} --accept-own-chain")
    files = story.work / "senders"
    story.line(f"{tool} simulate --files {files} --to {facts['mqtt']} --seed 2 --pmu-speed max")
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
    """The steps, and then, unless once, until Ctrl-C. Raises Failure where it breaks off."""
    started = time.monotonic()
    enrol(story, wheel)
    background = play(story)
    count(story)
    gateway = client(story)
    policy = story.work / "policy.txt"
    policy.write_text(gridseal("policy", "--data", str(story.platform.data))[1], encoding="utf-8")
    close(story, gateway, policy)
    item, receipt = receive(story, gateway)
    verify(story, item, receipt, policy)
    phasors(story, gateway, policy, background)
    drill(story)
    sum_up(story, time.monotonic() - started)
    if once:
        story.head("Three things to try next")
        story.line(
            "make demo                       in a terminal: it stays up, with commands to try"
        )
        story.line("make demo DAYS=7 GRID=LV1.101   a week of another grid")
        story.line("make demo SPEED=1440 DATA=kept  a day in a minute, in a folder that is kept")
    else:
        stay(story, gateway, receipt, policy)


def start(console: Console, work: Path, data: Path, *, once: bool) -> None:
    """Step 1, a platform on its folder, and the story on it."""
    asked = wishes()
    console.print(INTRO)
    with console.status("fetching SimBench's wheel (91 MB, the first time only)"):
        wheel = fetch_wheel(REPOSITORY / ".cache")
    platform = Platform(data, work / "platform.log", _config(work, data))
    story = Story(console, work, platform, asked)
    story.head("A platform starts: one process, one data folder")
    with story.waiting("making keys, CA and contract"):
        story.platform.start()
    try:
        facts = story.platform.facts
        story.line(f"data folder {data}")
        story.line(f"log {facts['origin']}")
        story.line(f"contract {facts['contract']} on chain {facts['chain_id']}")
        story.line(f"REST {facts['http']}   MQTT {facts['mqtt']}")
        tell(story, wheel, once=once)
    finally:
        story.platform.stop()  # and nothing before it that a closed terminal could make fail


def _config(work: Path, data: Path) -> Path | None:
    """A configuration for a folder that is new: anchors soon, and closes no day by itself."""
    path = work / "demo.toml"
    if not path.exists():
        if data.is_dir() and any(data.iterdir()):
            return None  # somebody else's platform: what it promised about anchors stands
        work.mkdir(parents=True, exist_ok=True)
        text = f"[anchor]\ninterval_s = {ANCHOR_INTERVAL_S}\n[day]\ngrace_h = {GRACE_H}\n"
        path.write_text(text, encoding="utf-8")
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
