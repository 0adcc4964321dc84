"""The link: its table, loss, repetition, refusal, events, clock. Against the C board: test_board.py."""

from __future__ import annotations

import random

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
    EventsLost,
    IllegalMoveError,
    Link,
    Lost,
    Move,
    Restarted,
    State,
    Telemetry,
)

MS = 1_000_000
US = 0xBEEF
"""Boot number of our side."""


def packet(sequence: int, **body: object) -> bytes:
    return encode(wire.Packet(sequence=sequence, t_us=5, **body).SerializeToString())  # type: ignore[arg-type]


def hello(
    sequence: int = 0,
    digest: int | None = None,
    *,
    reply: bool = True,
    boot: int = 1,
    to_boot: int = US,
) -> bytes:
    known = table_digest() if digest is None else digest
    greeting = wire.Hello(digest=known, name="mcu 1", reply=reply, boot=boot, to_boot=to_boot)
    return packet(sequence, hello=greeting)


def event_packet(sequence: int, number: int, oldest: int, button: int, boot: int = 1) -> bytes:
    body = wire.Button(button=button, pressed=True)
    fields = {"sequence": sequence, "t_us": 5, "event": number, "oldest_event": oldest}
    fields["event_boot"] = boot
    return encode(wire.Packet(button=body, **fields).SerializeToString())  # type: ignore[arg-type]


def ready() -> Link:
    link = Link(boot=US)
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
    for t_ms in range(0, 4000, 50):
        link.receive(packet(1, worn=wire.Worn()), t_ms * MS)  # the line is alive, the answer is not
        events += [e for e in link.tick(t_ms * MS) if isinstance(e, Answered)]
    assert events == [Answered(sequence=number, result=None, text="no answer to 20 tries")]


def test_silence_goes_back_to_greeting_and_the_same_board_goes_on() -> None:
    link = ready()
    link.receive(event_packet(1, 1, 1, button=7), 10 * MS)
    ticks = [link.tick(t_ms * MS) for t_ms in range(100, 3_200, 100)]
    assert not any(ticks[:-1])
    (changed,) = ticks[-1]
    assert isinstance(changed, Changed) and changed.after is State.GREETING
    lost, changed = link.receive(hello(6, reply=False), 3_200 * MS)
    assert lost == Lost(count=4) and isinstance(changed, Changed) and link.state is State.READY
    assert link.counts.restarts == 0
    assert buttons(link.receive(event_packet(7, 1, 1, button=7), 3_300 * MS)) == []  # came before
    assert buttons(link.receive(event_packet(8, 2, 1, button=8), 3_300 * MS)) == [8]


def test_who_had_no_time_to_listen_heard_no_silence() -> None:
    """The program stood still for ten seconds; what the board said meanwhile waits in the port."""
    link = ready()
    assert link.tick(100 * MS) == link.tick(10_000 * MS) == []
    assert [type(e) for e in link.receive(packet(1, worn=wire.Worn()), 10_001 * MS)] == [Telemetry]
    ticks = [link.tick(t_ms * MS) for t_ms in range(10_100, 13_200, 100)]
    assert [e.after for events in ticks for e in events if isinstance(e, Changed)] == [
        State.GREETING
    ]


def test_a_link_opened_again_knows_what_it_has_had() -> None:
    link = ready()
    half = event_packet(2, 2, 1, button=6)[:9]
    assert buttons(link.receive(event_packet(1, 1, 1, button=5) + half, 1)) == [5]
    link.close()
    link.open(2)
    link.receive(hello(3), 3)
    again = event_packet(4, 1, 1, button=5) + event_packet(5, 2, 1, button=6)
    assert buttons(link.receive(again, 4)) == [6]
    assert (link.counts.lost, link.damaged) == (
        1,
        0,
    )  # the half frame of the old line is not damage


def test_a_restart_is_noticed_and_numbers_begin_anew() -> None:
    link = ready()
    link.receive(packet(900, worn=wire.Worn()), 1)
    link.receive(event_packet(901, 5, 5, button=1), 1)
    number = link.command(2, get_info=wire.GetInfo())
    answered, restarted = link.receive(hello(0, reply=False, boot=2), 3)
    assert isinstance(answered, Answered) and (answered.sequence, answered.result) == (number, None)
    assert restarted == Restarted(name="mcu 1") and link.counts.restarts == 1
    assert link.clock.fit is None
    link.outgoing()
    link.tick(1000 * MS + 4)
    assert "time_request" in [p.WhichOneof("body") for p in sent(link)]
    assert buttons(link.receive(event_packet(1, 1, 1, button=2, boot=2), 4)) == [2]


def test_a_greeting_to_somebody_else_is_answered_and_opens_nothing() -> None:
    """It was meant for the program that had the line before us, and comes late."""
    link = Link(boot=US)
    link.open(0)
    link.outgoing()
    assert link.receive(hello(4, to_boot=0xDEAD), 1) == [] and link.state is State.GREETING
    (answer,) = sent(link)
    assert (answer.hello.to_boot, answer.hello.reply) == (1, False)
    link.receive(hello(5, to_boot=US), 2)
    assert link.state is State.READY and sent(link) == []


def test_a_board_that_restarted_unheard_is_greeted_again() -> None:
    """Its greeting was lost, and it took an old one of ours for an answer: no silence, and no events."""
    link = ready()
    link.receive(packet(900, worn=wire.Worn()), 1)
    other = wire.Heartbeat(boot=2)
    assert link.receive(packet(3, heartbeat=other), 200 * MS) == []
    assert [p.hello.to_boot for p in sent(link)] == [1]
    assert link.receive(event_packet(4, 1, 1, button=3, boot=2), 400 * MS) == []
    assert [p.WhichOneof("body") for p in sent(link)] == ["hello"]  # and confirms nothing
    assert Restarted(name="mcu 1") in link.receive(hello(5, boot=2), 401 * MS)
    assert buttons(link.receive(event_packet(6, 1, 1, button=3, boot=2), 402 * MS)) == [3]
    assert [p.events_received.boot for p in sent(link) if p.HasField("events_received")] == [2]


def test_a_greeting_from_before_a_restart_makes_no_event_come_twice() -> None:
    link = ready()
    link.receive(hello(0, boot=2), 1)
    assert buttons(link.receive(event_packet(1, 1, 1, button=7, boot=2), 2)) == [7]
    link.receive(hello(90, boot=1), 3)  # so late
    link.receive(hello(2, boot=2), 4)
    assert buttons(link.receive(event_packet(3, 1, 1, button=7, boot=2), 5)) == []
    assert buttons(link.receive(event_packet(4, 2, 1, button=8, boot=2), 6)) == [8]


def test_a_count_from_before_a_restart_does_not_deafen_the_link() -> None:
    link = ready()
    link.receive(packet(9_000, worn=wire.Worn()), 1)  # from before the restart, and late
    got = [link.receive(packet(k, worn=wire.Worn()), k) for k in range(1, 70)]
    assert any(got)


def test_events_given_up_by_a_board_that_restarted_are_counted() -> None:
    link = ready()
    link.receive(hello(0, boot=2), 1)
    events = link.receive(event_packet(1, 4, 3, button=4, boot=2), 2)
    assert events == [EventsLost(count=2)]
    assert buttons(link.receive(event_packet(2, 3, 3, button=3, boot=2), 3)) == [3, 4]


def test_a_command_given_up_while_another_is_sent_ends_all_the_same() -> None:
    link = ready()
    number = link.command(0, haptic=wire.Haptic())
    for t_ms in range(0, 2000, 50):
        assert not [e for e in link.tick(t_ms * MS) if isinstance(e, Answered)]
    link.command(2001 * MS, haptic=wire.Haptic())
    ended = [e.sequence for e in link.tick(2002 * MS) if isinstance(e, Answered)]
    assert ended == [number]


@given(st.integers(1, 30))
def test_how_the_bytes_are_cut_does_not_matter(size: int) -> None:
    """Whole, byte by byte, and anything between: the same events and counts."""
    line = b"".join(
        [
            packet(1, worn=wire.Worn(worn=True)),
            event_packet(2, 1, 1, button=3),
            b"\x07noise\x00",
            packet(5, log=wire.Log(text="a line")),
            packet(6, time_reply=wire.TimeReply(host_us=0, received_us=4)),
            packet(7, imu_batch=wire.ImuBatch(gyro_mdeg_s=range(30), accel_mm_s2=range(30))),
            hello(8, reply=False),
        ]
    )
    whole, cut = ready(), ready()
    expected = whole.receive(line, 9)
    pieces = [line[at : at + size] for at in range(0, len(line), size)]
    assert [e for piece in pieces for e in cut.receive(piece, 9)] == expected
    assert cut.counts == whole.counts and cut.damaged == whole.damaged == 1
    assert confirmed(cut) == confirmed(whole) == 1


def test_who_takes_no_events_confirms_none() -> None:
    """A goodbye, or a look at the battery: what was pressed meanwhile is for the program that comes next."""
    link = ready()
    link.close()
    link.takes_events = False
    link.open(1)
    link.receive(hello(1), 2)
    press = event_packet(2, 1, 1, button=7)
    assert buttons(link.receive(press, 3)) == [] and confirmed(link) is None
    (worn,) = link.receive(packet(3, worn=wire.Worn()), 4)
    assert isinstance(worn, Telemetry)
    link.takes_events = True
    assert buttons(link.receive(event_packet(4, 1, 1, button=7), 5)) == [7] and confirmed(link) == 1


def buttons(events: list[Event]) -> list[int]:
    return [e.packet.button.button for e in events if isinstance(e, Telemetry)]


def confirmed(link: Link) -> int | None:
    upto = [p.events_received.upto for p in sent(link) if p.HasField("events_received")]
    return upto[-1] if upto else None


def test_events_come_once_and_in_order_and_are_confirmed() -> None:
    link = ready()
    assert buttons(link.receive(event_packet(1, 1, 1, button=10), 1)) == [10]
    assert confirmed(link) == 1
    assert buttons(link.receive(event_packet(3, 3, 2, button=30), 2)) == []  # 2 is missing
    assert confirmed(link) == 1
    assert buttons(link.receive(event_packet(4, 2, 2, button=20), 3)) == [20, 30]
    assert confirmed(link) == 3
    assert buttons(link.receive(event_packet(5, 3, 2, button=30), 3)) == []
    assert buttons(link.receive(event_packet(6, 3, 3, button=30), 4)) == []
    assert confirmed(link) == 3  # the last confirmation was lost


def test_events_the_board_had_to_give_up_are_counted() -> None:
    link = ready()
    link.receive(event_packet(1, 1, 1, button=1), 1)
    events = link.receive(event_packet(2, 9, 9, button=9), 2)
    assert events[0] == EventsLost(count=7) and buttons(events) == [9]
    assert link.counts.events_lost == 7
    link.receive(event_packet(3, 12, 10, button=12), 3)  # waits for 10 and 11
    assert buttons(link.receive(event_packet(4, 13, 11, button=13), 4)) == []  # 10 is given up
    assert buttons(link.receive(event_packet(5, 11, 11, button=11), 5)) == [11, 12, 13]
    assert link.counts.events_lost == 8
    assert buttons(link.receive(event_packet(6, 10**9, 10**9, button=1), 6)) == [1]


def test_no_more_commands_are_under_way_than_the_board_remembers() -> None:
    link = ready()
    numbers = [link.command(0, haptic=wire.Haptic(duration_ms=k)) for k in range(20)]
    assert [p.sequence for p in sent(link)] == numbers[:4]
    for number in numbers[1:4]:  # the first stays unanswered: nothing new may be sent
        link.receive(packet(number, ack=wire.Ack(of_sequence=number)), 1)
    link.tick(50 * MS)
    assert not [p for p in sent(link) if p.HasField("haptic")]
    link.receive(packet(30, ack=wire.Ack(of_sequence=numbers[0])), 60 * MS)
    link.tick(61 * MS)
    assert [p.sequence for p in sent(link) if p.HasField("haptic")] == numbers[4:8]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["keep", "lose", "twice", "swap"]), min_size=60, max_size=60))
def test_lost_repeated_and_reordered_frames(fates: list[str]) -> None:
    """Each event arrives once and in order, each telemetry at most once; the counts add up."""
    link, held, number, sequence = ready(), list[int](), 0, 0
    got: list[int] = []
    telemetry: list[int] = []
    waiting: bytes = b""
    sends = 0
    for fate in [*fates, *["keep"] * 8]:
        if len(held) < 3 and number < 10:
            number += 1
            held.append(number)
        frames: list[bytes] = []
        for each in held:
            sequence += 1
            frames.append(event_packet(sequence, each, held[0], button=each))
        sequence += 1
        sends += len(held) + 1
        frames.append(packet(sequence, ambient_light=wire.AmbientLight(illuminance_mlux=sequence)))
        if fate == "lose":
            frames = frames[1:]
        elif fate == "twice":
            frames += frames[:1]
        elif fate == "swap":
            frames = frames[::-1]
        for e in link.receive(waiting + b"".join(frames), sequence):
            if isinstance(e, Telemetry) and e.packet.HasField("button"):
                got.append(e.packet.button.button)
            elif isinstance(e, Telemetry):
                telemetry.append(e.packet.ambient_light.illuminance_mlux)
        upto = confirmed(link)
        held = [each for each in held if upto is None or each > upto]
    assert got == list(range(1, number + 1)) and link.counts.events_lost == 0
    assert telemetry == sorted(set(telemetry))
    assert link.counts.received - 1 + link.counts.lost == sends  # the greeting was one more


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


def test_the_jitter_of_a_busy_line_is_not_taken_for_drift() -> None:
    fit = ClockFit()
    for second in range(20):
        late_ns = 3_000_000_000 if second > 12 else 0  # both ways alike, but what a delay
        line = fit.add(
            sent_ns=second * 10**9,
            received_us=second * 10**6,
            replied_us=second * 10**6,
            returned_ns=second * 10**9 + late_ns,
        )
    assert abs(line.drift_ppm) <= 500.1


def test_one_slow_exchange_among_few_does_not_move_the_offset() -> None:
    fit = ClockFit()
    for second, back_ns in enumerate((200_000, 150_000, 2_400_000_000, 180_000)):
        line = fit.add(
            sent_ns=second * 10**9,
            received_us=second * 10**6 + 100,
            replied_us=second * 10**6 + 100,
            returned_ns=second * 10**9 + 100_000 + back_ns,
        )
    assert abs(line.host_ns(4_000_000) - 4 * 10**9) < 100_000 and line.exchanges == 3


def test_a_time_reply_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ClockFit().add(sent_ns=2, received_us=1, replied_us=1, returned_ns=1)
