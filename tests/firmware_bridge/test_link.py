"""The link: its table, loss, repetition, refusal, clock; alone, and against the C board on a terminal."""

from __future__ import annotations

import os
import pty
import random
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.clock import ClockFit
from firmware_bridge.digest import table_digest
from firmware_bridge.framing import Decoder, encode
from firmware_bridge.link import (
    MOVES,
    Answered,
    Changed,
    Event,
    IllegalMoveError,
    Link,
    LinkSettings,
    Lost,
    Move,
    State,
    Telemetry,
)

MS = 1_000_000


def packet(sequence: int, **body: object) -> bytes:
    return encode(wire.Packet(sequence=sequence, t_us=5, **body).SerializeToString())  # type: ignore[arg-type]


def hello(sequence: int = 0, digest: int | None = None, *, reply: bool = True) -> bytes:
    known = table_digest() if digest is None else digest
    return packet(sequence, hello=wire.Hello(digest=known, name="mcu 1", reply=reply))


def ready() -> Link:
    link = Link()
    link.open(0)
    assert link.receive(hello(), 0) == [
        Changed(before=State.GREETING, after=State.READY, why="microcontroller 'mcu 1' answers")
    ]
    link.outgoing()
    return link


def sent(link: Link) -> list[wire.Packet]:
    return [wire.Packet.FromString(p) for p in Decoder().feed(link.outgoing())]


def test_every_state_has_a_way_on_and_a_way_out() -> None:
    for state in State:
        assert {move for (before, move) in MOVES if before is state} >= {Move.CLOSE}
    assert set(MOVES.values()) == set(State)


def test_a_move_that_is_not_in_the_table_is_an_error() -> None:
    link = ready()
    with pytest.raises(IllegalMoveError, match="open while ready"):
        link.open(1)
    with pytest.raises(IllegalMoveError, match="log while ready"):
        link.command(1, log=wire.Log())


def test_other_definitions_are_refused_with_both_versions_named() -> None:
    link = Link(digest=0x1111)
    link.open(0)
    (changed,) = link.receive(hello(digest=0x2222), 0)
    assert isinstance(changed, Changed) and changed.after is State.REFUSED
    assert "2222" in changed.why and "1111" in changed.why and "firmware" in changed.why


def test_missing_telemetry_is_counted_and_repeated_telemetry_is_dropped() -> None:
    link = ready()
    worn = wire.Worn(worn=True)
    first = link.receive(packet(1, worn=worn), 10)
    assert [type(e) for e in first] == [Telemetry]
    assert link.receive(packet(1, worn=worn), 11) == []
    lost, telemetry = link.receive(packet(5, worn=worn), 12)
    assert lost == Lost(count=3) and isinstance(telemetry, Telemetry)
    assert (link.counts.lost, link.counts.repeated) == (3, 1)


def test_a_command_is_sent_again_with_its_number_until_it_is_answered() -> None:
    link = ready()
    number = link.command(0, haptic=wire.Haptic(duration_ms=50))
    assert [p.sequence for p in sent(link)] == [number]
    assert link.tick(50 * MS) == [] and not [p for p in sent(link) if p.HasField("haptic")]
    link.tick(101 * MS)
    assert [p.sequence for p in sent(link) if p.HasField("haptic")] == [number]
    ack = wire.Ack(of_sequence=number, result=wire.RESULT_OK)
    assert link.receive(packet(1, ack=ack), 102 * MS) == [
        Answered(sequence=number, result=wire.RESULT_OK, text="")
    ]
    link.tick(500 * MS)
    assert not [p for p in sent(link) if p.HasField("haptic")]


def test_a_command_nobody_answers_ends_and_says_so() -> None:
    link = ready()
    number = link.command(0, sleep=wire.Sleep(duration_ms=1))
    events: list[Event] = []
    for t_ms in range(0, 2000, 50):
        link.receive(packet(1, worn=wire.Worn()), t_ms * MS)  # the line is alive, the answer is not
        events += [e for e in link.tick(t_ms * MS) if isinstance(e, Answered)]
    assert events == [Answered(sequence=number, result=None, text="no answer to 8 tries")]


def test_silence_goes_back_to_greeting_and_a_restart_is_noticed() -> None:
    link = ready()
    (changed,) = [e for e in link.tick(3_100 * MS) if isinstance(e, Changed)]
    assert changed.after is State.GREETING
    link.receive(hello(0, reply=False), 3_200 * MS)
    assert link.state is State.READY
    link.receive(hello(0, reply=False), 3_300 * MS)
    assert link.counts.restarts == 1


@settings(max_examples=50)
@given(st.binary(max_size=400), st.lists(st.binary(max_size=60), max_size=5))
def test_nothing_from_the_line_can_break_the_link(noise: bytes, payloads: list[bytes]) -> None:
    link = ready()
    link.receive(noise, 1)
    for payload in payloads:
        link.receive(encode(payload), 2)
    link.receive(b"\x00" + packet(9, worn=wire.Worn(worn=True)), 3)
    assert link.state in (State.READY, State.REFUSED)


@given(st.floats(-200, 200), st.integers(0, 10**9), st.integers(1, 2000))
def test_offset_and_drift_are_found(drift_ppm: float, offset_us: int, jitter_us: int) -> None:
    """A minute of exchanges over a line whose delays vary: stamps are right to the shortest delays."""
    rng = random.Random(3)
    fit = ClockFit()
    for second in range(60):
        sent_ns = second * 10**9
        there_ns, back_ns = (50_000 + round(rng.random() ** 4 * jitter_us * 1000) for _ in "ab")
        mcu_us = round(offset_us + (sent_ns + there_ns) * (1 + drift_ppm / 1e6) / 1000)
        line = fit.add(
            sent_ns=sent_ns,
            received_us=mcu_us,
            replied_us=mcu_us + 10,
            returned_ns=sent_ns + there_ns + back_ns + 10_000,
        )
    true_ns = 61 * 10**9
    stamp_us = round(offset_us + true_ns * (1 + drift_ppm / 1e6) / 1000)
    assert abs(line.host_ns(stamp_us) - true_ns) < 20_000 + jitter_us * 100
    assert line.drift_ppm == pytest.approx(drift_ppm, abs=1 + jitter_us / 100)


def test_a_time_reply_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ClockFit().add(sent_ns=2, received_us=1, replied_us=1, returned_ns=1)


class Terminal:
    """The C board behind a pseudo-terminal, and a line that may damage what passes."""

    def __init__(self, board: Path, *options: str, damage: float = 0.0) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        command = [str(board), "--digest", f"{table_digest():x}", *options]
        self._process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._rng = random.Random(7)
        self._damage = damage
        self.link = Link(settings=LinkSettings(retry_after_ms=30, time_every_ms=20))
        self.link.open(time.monotonic_ns())

    def run(self, seconds: float) -> Iterator[Event]:
        end_ns = time.monotonic_ns() + round(seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < end_ns:
            yield from self.link.tick(now_ns)
            if out := self.link.outgoing():
                os.write(self._master, self._through(out))
            try:
                chunk = os.read(self._master, 4096)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            yield from self.link.receive(self._through(chunk), time.monotonic_ns())

    def close(self) -> str:
        os.close(self._master)
        _, errors = self._process.communicate(timeout=5)
        return errors.decode()

    def _through(self, chunk: bytes) -> bytes:
        rng, damage = self._rng, self._damage
        return bytes(rng.randrange(256) if rng.random() < damage else byte for byte in chunk)


def test_the_board_answers_streams_and_keeps_time(c_reference: Path) -> None:
    options = ("--power-hz", "50", "--eye-hz", "30", "--drift-ppm", "50")
    terminal = Terminal(c_reference / "board", *options)
    for event in terminal.run(5):
        if isinstance(event, Changed):
            assert event.after is State.READY
            break
    link = terminal.link
    refused = link.command(
        time.monotonic_ns(), set_camera=wire.SetCamera(camera=wire.CAMERA_SCENE, rate_hz=500)
    )
    accepted = link.command(time.monotonic_ns(), get_info=wire.GetInfo())
    events = list(terminal.run(1.5))
    assert terminal.close() == ""  # sanitizers found nothing
    answers = {e.sequence: e for e in events if isinstance(e, Answered)}
    assert answers[refused].result == wire.RESULT_REFUSED
    assert answers[refused].text == "rate above 120 Hz"
    assert answers[accepted].result == wire.RESULT_OK
    chunks = [e for e in events if isinstance(e, Telemetry) and e.packet.HasField("eye_chunk")]
    frames = {e.packet.eye_chunk.frame for e in chunks}
    assert len(frames) >= 20
    for event in chunks:
        chunk = event.packet.eye_chunk
        start = chunk.frame + chunk.offset
        assert chunk.pixels == bytes((start + i) % 256 for i in range(len(chunk.pixels)))
    assert (link.counts.lost, link.damaged) == (0, 0)
    assert link.clock.fit is not None and link.clock.fit.residual_us < 5000


def test_on_a_damaged_line_nothing_wrong_is_delivered_and_commands_still_arrive_once(
    c_reference: Path,
) -> None:
    terminal = Terminal(c_reference / "board", "--power-hz", "200", damage=0.01)
    list(terminal.run(2))
    link = terminal.link
    assert link.state is State.READY
    answers: list[Answered] = []
    powers: list[wire.Packet] = []
    for _ in range(20):
        link.command(time.monotonic_ns(), haptic=wire.Haptic(duration_ms=10))
        for event in terminal.run(1):
            if isinstance(event, Telemetry) and event.packet.HasField("power"):
                powers.append(event.packet)
            if isinstance(event, Answered):
                answers.append(event)
                break
    assert terminal.close() == ""
    assert [a.result for a in answers] == [wire.RESULT_OK] * 20
    assert [int(a.text) for a in answers] == list(range(1, 21))  # each was carried out once
    assert powers and all(p.power.power_uw == 95_000 and p.power.rail == "scene" for p in powers)
    assert link.damaged > 0 and link.counts.lost > 0 and link.counts.retried > 0
