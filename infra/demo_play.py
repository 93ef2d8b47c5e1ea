"""The demo's first half: senders enrol, a day is played, and what came in is counted."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from field.day import Outgoing, Sender
from field.simbench import CREDIT
from field.simulator import Pace, play_over_mqtt
from field.tally import Tally
from infra.demo_platform import Failure, gridseal
from infra.demo_story import Story
from infra.simulate import made_day
from infra.simulate_view import View, came_in, refused

_PMU_TIMEOUT_S = 90
_LOOK_S = 0.1


class Background:
    """The substation's phasors, sent at their own pace while the story goes on."""

    def __init__(
        self, story: Story, messages: Sequence[Outgoing], senders: Sequence[Sender]
    ) -> None:
        self.tally = Tally.of(senders, messages)
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        if messages:
            speed = story.wishes.pmu_speed
            first, last = messages[0].at, messages[-1].at
            span_s = (last - first).total_seconds()
            self._ends_s = time.monotonic() + (span_s / speed if speed else 0)
            played = play_over_mqtt(
                messages,
                _folders(story, senders),
                self.tally,
                paces={"": Pace(first, speed)},
                url=story.platform.facts["mqtt"],
            )

            def run() -> None:
                try:
                    asyncio.run(played)
                except BaseException as error:  # noqa: BLE001 - told by whoever joins
                    self._failure = error

            self._thread = threading.Thread(target=run, name="pmu", daemon=True)
            self._thread.start()

    @property
    def running_s(self) -> float:
        """About how long it will go on."""
        running = self._thread is not None and self._thread.is_alive()
        return max(self._ends_s - time.monotonic(), 0) if running else 0

    def watch(self, console: Console) -> None:
        """Show a bar until its end. Raises Failure where it broke off."""
        if self._thread is not None:
            asyncio.run(self._watched(console, self._thread))
            if self._thread.is_alive():
                raise Failure("the PMU's frames were not certified in time")
        if self._failure is not None:
            raise Failure(f"the PMU broke off: {self._failure}") from self._failure

    async def _watched(self, console: Console, thread: threading.Thread) -> None:
        deadline = time.monotonic() + self.running_s + _PMU_TIMEOUT_S
        async with View(console, self.tally):
            while thread.is_alive() and time.monotonic() < deadline:
                await asyncio.sleep(_LOOK_S)


def enrol(story: Story, wheel: Path) -> None:
    """Step 2: everybody who sends gets a certificate and a password of his own."""
    story.head("The senders enrol")
    arguments = ("--grid", story.wishes.grid, "--files", str(story.work / "senders"))
    with story.waiting("making certificates"):
        gridseal(
            "simulate", *arguments, "--cache", str(wheel.parent),
            "--enrol", str(story.platform.data), "--days", "0",
        )  # fmt: skip
    wishes = story.wishes
    for back in reversed(range(wishes.days)):
        day = wishes.last - timedelta(days=back)
        with story.waiting(f"making {day} from SimBench's profiles"):
            made = made_day(wheel, day, grid=wishes.grid, seed=wishes.seed, pmu=back == 0)
        story.days.append(made)
    roles = {sender.role: sender for sender in story.day.senders}
    inverters = sum(sender.role == "inverter" for sender in story.day.senders)
    for text in (
        f"a head-end that reads {len(roles['headend'].units)} meters and may name any (CIM XML)",
        f"a gateway that may name {len(roles['gateway'].units)} PV and storage units (JSON)",
        f"{inverters} inverters that speak for themselves (IEEE 2030.5 XML)",
        "a phasor measurement unit at the substation, 50 frames a second (SOGNO's JSON)",
    ):
        story.say(f"• {text}")
    story.say(
        "Each has a certificate and a password; who names a device that is not his is refused."
    )


def play(story: Story) -> Background:
    """Step 3: the day over MQTT; what is late by a day is kept for later."""
    wishes, day = story.wishes, story.day
    span = f"{wishes.days} days up to " if wishes.days > 1 else ""
    pace = f"{wishes.speed:g} times as fast as in life" if wishes.speed else "as fast as it goes"
    story.head(f"{span}{day.day:%A, %d %B %Y} in the grid {wishes.grid}, {pace}")
    story.say(CREDIT)
    if day.faults:
        story.say("\nWrong on purpose, to see what comes of it:")
    for fault in day.faults:
        story.say(f"• {fault.text}")
    meters: list[Outgoing] = []
    for played in story.days:
        late_too = played is not day
        meters += [m for m in played.messages if m.form != "pmu" and (late_too or not m.late)]
    phasors = [message for message in day.messages if message.form == "pmu"]
    senders = [sender for sender in day.senders if sender.role != "pmu"]
    background = Background(story, phasors, [s for s in day.senders if s.role == "pmu"])
    story.tally = tally = Tally.of(senders, meters)
    started = time.monotonic()
    asyncio.run(_played(story, meters, tally))
    took_s = time.monotonic() - started
    values = sum(account.values for account in tally.accounts.values())
    story.say(
        f"{values:,} readings in {took_s:.1f} s, each message certified: a checkpoint signed by "
        "the log covers it."
    )
    if background.running_s > 1:
        story.say(
            "The PMU sends at real speed: it goes on in the background for another "
            f"{background.running_s:.0f} s."
        )
    return background


async def _played(story: Story, messages: Sequence[Outgoing], tally: Tally) -> None:
    places = _folders(story, story.day.senders)
    url = story.platform.facts["mqtt"]
    paces = {"": Pace(story.days[0].begin, story.wishes.speed)}
    async with View(story.console, tally):
        await play_over_mqtt(messages, places, tally, paces=paces, url=url)
    unanswered = sum(account.unanswered for account in tally.accounts.values())
    if unanswered:
        raise Failure(f"{unanswered} messages got no certified receipt")


def _folders(story: Story, senders: Sequence[Sender]) -> dict[str, Path]:
    return {sender.name: story.work / "senders" / sender.name for sender in senders}


def count(story: Story) -> None:
    """Step 4: what came in, what was refused and why."""
    assert story.tally is not None
    story.head("What came in, and what was refused")
    story.show(came_in(story.tally))
    if story.tally.refusals:
        story.say("\nRefused, each answered with code, field, line and clause:")
        story.show(refused(story.tally))
        story.say("Every good reading in the same messages was kept.")
    for code, number in story.tally.findings.most_common():
        story.line(f"doubted {number:,} times: {story.tally.doubts[code]} [{code}]")
    why = ("--why", "the story names them")
    listed = gridseal("device", "list", "--json", *why, "--data", str(story.platform.data))[1]
    for line in listed.splitlines():
        known = json.loads(line)
        name = str(known["identity"]).rsplit("/", 1)[-1]
        if known["kind"] != "sender":
            story.names[name] = known["device"]
    story.say(
        f"{len(story.names)} devices are known outside by pseudonyms only; names are in the vault."
    )


def send_late(story: Story) -> None:
    """What the day's late senders kept until now."""
    late = [message for message in story.day.messages if message.late]
    tally = Tally.of(story.day.senders, late)
    places, url = _folders(story, story.day.senders), story.platform.facts["mqtt"]
    asyncio.run(
        play_over_mqtt(late, places, tally, paces={"": Pace(story.day.begin, None)}, url=url)
    )
