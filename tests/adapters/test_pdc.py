"""The concentrator against a PMU that answers by TCP and UDP, and may damage or end its stream."""

import asyncio
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from bal.c37118.config import read_config
from bal.c37118.data import Layout
from bal.c37118.frame import CFG_2, CFG_3, SEND_CFG_2, SEND_CFG_3, TURN_ON
from bal.c37118.splitter import Piece, split
from bal.c37118.writer import config_frames
from bal.errors import Rejected, Stop
from field.pdc import MESSAGE_BYTES_MAX, Concentrator, Messages
from field.pdc_line import Source, source_of
from infra.cli import main
from tests.c37118_streams import config, pmu
from tests.pmu_server import PmuServer, frames_of

CONFIG = config()
THIRD = replace(CONFIG, kind=CFG_3, version=2)
WAIT_S = 30.0


class Sink:
    """Keeps messages, and tells when so many frames have come."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.frames: list[bytes] = []
        self.odd: list[bytes] = []  # of another size than the configuration says
        self.damage: list[Piece] = []
        self.came = asyncio.Event()

    async def publish(self, form: str, raw: bytes) -> None:
        assert form == "c37118"
        self.messages.append(raw)
        found = split(raw)
        self.damage += [piece for piece in found if piece.code]
        pieces = [piece for piece in found if piece.frame]
        kinds = [piece.frame[1] >> 4 for piece in pieces]
        configs = sum(kind in {CFG_2, CFG_3} for kind in kinds)
        assert kinds[:configs] == [kinds[0]] * configs
        assert kinds[configs:] == [0] * (len(kinds) - configs) != []
        size = Layout(read_config(tuple(piece.frame for piece in pieces[:configs]))).size
        for piece in pieces[configs:]:
            (self.frames if len(piece.frame) == size else self.odd).append(piece.frame)
        self.came.set()

    async def until(self, frames: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.frames) < frames:
                self.came.clear()
                await self.came.wait()


async def follow(url: str, sink: Sink, frames: int, *, wants: int = 2) -> Concentrator:
    following = Concentrator(
        source_of(url), 60, sink.publish, lambda: 1_768_471_200.5, config=wants,
        silent_s=1.0, config_timeout_s=0.3, retry_s_max=0.3,
    )  # fmt: skip
    task = asyncio.create_task(following.run())
    try:
        await sink.until(frames)
    finally:
        task.cancel()
        await asyncio.wait({task})
    return following


@pytest.mark.parametrize(
    ("configs", "wants"), [((CONFIG,), 2), ((CONFIG, THIRD), 3), ((CONFIG,), 3)]
)
def test_by_tcp(configs: tuple[object, ...], wants: int) -> None:
    async def main() -> None:
        sent, sink = frames_of(CONFIG, 0, 130), Sink()
        server = PmuServer(*configs, frames=sent)  # type: ignore[arg-type]
        async with server.by_tcp() as url:
            following = await follow(url, sink, 130, wants=wants)
        assert sink.frames == sent
        assert len(sink.messages) >= 3, "a second each"
        assert following.counts.frames == 130
        assert following.counts.stations == ("North",)
        assert not following.counts.damage
        assert server.commands[TURN_ON] == 1
        asked = [server.commands[SEND_CFG_2] > 0, server.commands[SEND_CFG_3] > 0]
        assert asked == [len(configs) == 1, wants == 3]

    asyncio.run(main())


def test_by_udp() -> None:
    async def main() -> None:
        sent, sink = frames_of(CONFIG, 0, 60), Sink()
        async with PmuServer(CONFIG, frames=sent).by_udp() as url:
            following = await follow(url, sink, 60)
        assert sink.frames == sent
        assert following.counts.sessions == 1

    asyncio.run(main())


def test_one_that_sends_by_itself_is_listened_to() -> None:
    async def main() -> None:
        sent, sink = frames_of(CONFIG, 0, 60), Sink()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind(("127.0.0.1", 0))
            port = out.getsockname()[1]

        async def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                for raw in [*config_frames(CONFIG), *sent, *config_frames(CONFIG), *sent]:
                    out.sendto(raw, ("127.0.0.1", port))
                    await asyncio.sleep(0.005)

        sending = asyncio.create_task(send())
        await follow(f"udp://:{port}", sink, 30)
        sending.cancel()
        assert set(sink.frames) <= set(sent)

    asyncio.run(main())


def test_a_lost_connection_is_made_again() -> None:
    async def main() -> None:
        sent, sink = frames_of(CONFIG, 0, 100), Sink()
        server = PmuServer(CONFIG, frames=sent)
        server.end_after = 40
        async with server.by_tcp() as url:
            following = await follow(url, sink, 100)
        assert sink.frames == sent
        assert following.counts.sessions == 2

    asyncio.run(main())


def test_damage_goes_on_as_it_came_and_costs_no_other_frame(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So that its sender and the operator are told of it, as of all that is refused."""

    async def main() -> None:
        good, sink = frames_of(CONFIG, 0, 60), Sink()
        broken = good[7][:-1] + bytes([good[7][-1] ^ 1])
        [stranger] = frames_of(config(idcode=61), 0, 1)
        sent = [*good[:7], broken, b"\x00" * 5, stranger, *good[8:]]
        async with PmuServer(CONFIG, frames=sent).by_tcp() as url:
            following = await follow(url, sink, 59)
        assert sink.frames == good[:7] + good[8:]
        assert following.counts.damage == {"checksum-wrong": 1, "frame-unexpected": 1}
        assert [(piece.code, piece.lost) for piece in sink.damage] == [
            ("checksum-wrong", broken + b"\x00" * 5)
        ]

    asyncio.run(main())
    told = [re.sub(r"tcp://[^:]*:\d+", "PMU", text) for text in caplog.messages]
    assert "stream 60 from PMU: bytes that are no frame: checksum-wrong" in told
    assert not any(text.startswith("no stream") and "frame" in text for text in told)


def test_a_frame_of_another_length_than_its_configuration_says_goes_on_too() -> None:
    async def main() -> None:
        good, sink = frames_of(CONFIG, 0, 60), Sink()
        [longer] = frames_of(config(pmu(7, 0), pmu(8, 0)), 7, 8)
        async with PmuServer(CONFIG, frames=[*good[:7], longer, *good[8:]]).by_tcp() as url:
            following = await follow(url, sink, 59)
        assert (sink.frames, sink.odd) == ([*good[:7], *good[8:]], [longer])
        assert following.counts.damage == {"data-size-wrong": 1}
        assert following.counts.frames == 59

    asyncio.run(main())


def test_noise_alone_is_sent_in_messages_of_its_own() -> None:
    messages = Messages(bytes_max=600)
    assert messages.add_damage(b"x") == []  # of no stream yet
    list(messages.configure(tuple(config_frames(CONFIG))))
    done = [raw for _ in range(9) for raw in messages.add_damage(b"\x00" * 100)]
    done += messages.flush()
    assert sum(raw.count(b"\x00" * 100) for raw in done) >= 9
    assert all(split(raw)[0].frame and len(raw) <= 600 for raw in done)


def test_a_new_configuration_begins_a_new_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The PMU says that it changes (STAT bit 10), is asked, and answers with the new one."""

    async def main() -> None:
        other = config(pmu(7, 0))
        sink = Sink()
        server = PmuServer(CONFIG, pause_s=0.01)
        told = frames_of(CONFIG, 0, 20, stat=0x0400)

        def frames() -> object:
            yield from told
            server.configs = {CFG_2: other}
            yield from frames_of(other, 20, 60)  # of another size: the PDC has to ask

        server._frames = frames()  # type: ignore[assignment]
        monkeypatch.setattr("field.pdc.ASK_AGAIN_S", 0.05)
        async with server.by_tcp() as url:
            following = await follow(url, sink, 21)
        assert sink.frames[:20] == told
        assert len({raw[: raw[2] << 8 | raw[3]] for raw in sink.messages}) == 2
        assert following.counts.damage["data-size-wrong"] == len(sink.odd) > 0

    asyncio.run(main())


def test_a_pmu_that_is_away_is_asked_again_and_again() -> None:
    async def main() -> None:
        sink = Sink()
        server = PmuServer(CONFIG, frames=frames_of(CONFIG, 0, 10))
        async with server.by_tcp():
            pass  # the port is known, nobody listens there
        source = source_of(f"tcp://127.0.0.1:{server.port}")
        following = Concentrator(source, 60, sink.publish, lambda: 0.0, retry_s_max=0.2)
        task = asyncio.create_task(following.run())
        await asyncio.sleep(0.3)
        async with server.by_tcp():
            await sink.until(10)
            task.cancel()
            await asyncio.wait({task})
        assert following.counts.frames == 10

    asyncio.run(main())


def test_messages_have_a_second_or_64_kib() -> None:
    big = config(*[pmu(number) for number in range(1, 30)])
    messages = Messages()
    with pytest.raises(Rejected, match="config-missing"):
        messages.add(frames_of(big, 0, 1)[0])
    assert list(messages.configure(tuple(config_frames(big)))) == []
    done: list[bytes] = []
    for raw in frames_of(big, 0, 120):
        done += messages.add(raw)[1]
    done += messages.flush()
    assert max(map(len, done)) <= MESSAGE_BYTES_MAX
    assert sum(len(split(raw)) - 1 for raw in done) == 120
    for raw in done:
        socs = {piece.frame[6:10] for piece in split(raw)[1:]}
        assert len(socs) == 1


@pytest.mark.parametrize(
    "url",
    ["tcp://:4712", "http://a:1", "tcp://a", "tcp://a:99999", "udp://a:1/x", "", "tcp://[::1"],
)
def test_sources_that_are_none(url: str) -> None:
    with pytest.raises(Stop, match="a source is"):
        source_of(url)
    assert source_of("udp://:4713") == Source("udp", "", 4713)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--source", "tcp://:1", "--idcode", "60"], "a source is"),
        (["--source", "tcp://a:1", "--idcode", "0"], "an IDCODE is 1 to 65534"),
        (["--source", "tcp://a:1", "--idcode", "60"], "client.json"),
    ],
)
def test_wrong_use_says_what_is_right(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pdc", *words, "--files", str(tmp_path)]) in {1, 3}
    assert text in capsys.readouterr().err


def test_captures_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "capture.pcap"
    assert main(["replay-capture", str(file)]) == 1
    file.write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20))
    assert main(["replay-capture", str(file)]) == 1
    assert "0 packets, 0 streams" in capsys.readouterr().out
    assert main(["replay-capture", str(file), "--files", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "capture-empty" in told
