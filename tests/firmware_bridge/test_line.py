"""Events and commands over a bad line, in virtual time: the compiled C side and ours, hours of it.

The promise: every event is delivered exactly once and in order, as long as its board does not lose power
while it holds it; a command is carried out once at most, and its end is told.
`BEHELD_LINE_RUNS=5000 pytest tests/firmware_bridge/test_line.py` looks for longer.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge.link import Link, State, Telemetry
from tests.firmware_bridge.virtual_line import MS, Troubles, VirtualBoard, VirtualLine, load

RUNS = int(os.environ.get("BEHELD_LINE_RUNS", "40"))
"""Lines of each property test, of 40 s each; set it higher for a long run."""
MANY = settings(
    max_examples=RUNS,
    deadline=None,
    derandomize=RUNS <= 40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 1 << 30)
BAD_LINE = {
    "spoilt_bytes": st.sampled_from([0.0, 0.003, 0.01, 0.02]),
    "lost": st.sampled_from([0.0, 0.05, 0.3]),
    "repeated": st.sampled_from([0.0, 0.1, 0.5]),
    "mutes_per_min": st.sampled_from([0.0, 3.0, 10.0]),
    "replugs_per_min": st.sampled_from([0.0, 3.0, 10.0]),
}
ANY_ORDER = st.sampled_from([0.0, 20.0, 200.0, 1000.0])


@pytest.fixture(scope="module")
def c_library(c_reference: Path) -> Iterator[ctypes.CDLL]:
    yield load(c_reference / "virtual.so")


@MANY
@given(
    seed=SEEDS,
    troubles=st.builds(Troubles, jitter_ms=ANY_ORDER, **BAD_LINE),
    presses_per_s=st.sampled_from([0.5, 3.0, 8.0]),
)
def test_every_event_comes_exactly_once_and_in_order(
    c_library: ctypes.CDLL, seed: int, troubles: Troubles, presses_per_s: float
) -> None:
    with closing(VirtualLine(c_library, seed)) as line:
        line.run(40, troubles, presses_per_s=presses_per_s)
        line.settle()
        assert line.settled()
        assert line.story.delivered == line.story.pressed
        assert line.story.events_lost == 0 and not line.story.died


@MANY
@given(
    seed=SEEDS,
    troubles=st.builds(
        Troubles, jitter_ms=ANY_ORDER, reboots_per_min=st.sampled_from([3.0, 20.0]), **BAD_LINE
    ),
)
def test_a_restart_loses_what_the_board_held_and_no_more(
    c_library: ctypes.CDLL, seed: int, troubles: Troubles
) -> None:
    """Old bytes meet the new board and old answers the new conversation: they confirm nothing of it."""
    with closing(VirtualLine(c_library, seed)) as line:
        line.run(40, troubles, presses_per_s=3.0)
        line.settle()
        story = line.story
        assert line.settled()
        assert story.delivered == sorted(set(story.delivered))
        assert story.missing <= story.died  # some were on the line by then, and arrive
        assert story.events_lost == 0


@MANY
@given(
    seed=SEEDS,
    troubles=st.builds(
        Troubles,
        reboots_per_min=st.sampled_from([0.0, 3.0, 20.0]),
        host_starts_per_min=st.just(6.0),
        **BAD_LINE,
    ),
)
def test_another_program_on_the_line_misses_nothing(
    c_library: ctypes.CDLL, seed: int, troubles: Troubles
) -> None:
    """What one had and had not yet confirmed, the next has too: at least once, over all of them."""
    with closing(VirtualLine(c_library, seed)) as line:
        line.run(40, troubles, presses_per_s=3.0, commands_per_s=2.0)
        line.settle()
        story = line.story
        assert line.settled()
        assert story.missing <= story.died
        assert story.acknowledged <= set(story.carried_out)


@MANY
@given(
    seed=SEEDS,
    troubles=st.builds(Troubles, jitter_ms=st.sampled_from([0.0, 20.0]), **BAD_LINE),
    commands_per_s=st.sampled_from([1.0, 4.0, 20.0]),
)
def test_a_command_is_carried_out_once_at_most_and_its_end_is_told(
    c_library: ctypes.CDLL, seed: int, troubles: Troubles, commands_per_s: float
) -> None:
    with closing(VirtualLine(c_library, seed)) as line:
        line.run(40, troubles, commands_per_s=commands_per_s)
        line.settle()
        story = line.story
        assert line.settled()  # no command is left without an end
        assert set(story.carried_out.values()) <= {1}
        assert story.acknowledged <= set(story.carried_out)


@MANY
@given(seed=SEEDS, reboots_per_min=st.sampled_from([0.0, 3.0]))
def test_what_is_too_much_for_a_line_that_is_away_is_counted(
    c_library: ctypes.CDLL, seed: int, reboots_per_min: float
) -> None:
    """A press every quarter of a second, and a line that is away for longer than 32 of them."""
    troubles = Troubles(spoilt_bytes=0.003, reboots_per_min=reboots_per_min)
    with closing(VirtualLine(c_library, seed)) as line:
        for _ in range(3):
            line.run(5, troubles, presses_per_s=4.0)
            line.unplug(12)
            line.run(12, troubles, presses_per_s=4.0, most_waiting=1000)
            line.settle()
        story = line.story
        given_up = story.missing - story.died
        if not story.reboots:
            assert story.events_lost == len(given_up)  # only presses wait here, each is told of
        else:  # of a board that restarted while it was away nobody is told; levels told anew may go as well
            assert story.events_lost <= len(given_up) + 2 * story.reboots
        assert story.delivered == sorted(set(story.delivered))


def greeted(library: ctypes.CDLL) -> tuple[VirtualBoard, Link]:
    """Both sides, ready, at time 0."""
    board, link = VirtualBoard(library, 7, 0), Link()
    link.open(0)
    for _ in range(4):
        board.hear(link.outgoing(), 0)
        link.receive(board.said(), 0)
    assert board.ready and link.state is State.READY
    return board, link


def powers(link: Link, said: bytes, now_ns: int) -> list[int]:
    told = link.receive(said, now_ns)
    packets = [e.packet for e in told if isinstance(e, Telemetry)]
    return [p.power.power_uw for p in packets if p.HasField("power")]


def test_a_board_that_was_busy_heard_no_silence(c_library: ctypes.CDLL) -> None:
    """A slow line holds it up for five seconds in its readings; what the host said meanwhile waits."""
    board, link = greeted(c_library)
    with closing(SimpleNamespace(close=board.end)):
        for second in range(1, 6):
            board.power(second, second * 1000 * MS)
        board.tick(5000 * MS)
        assert board.ready
        board.power(6, 5001 * MS)
        assert powers(link, board.said(), 5001 * MS) == [1, 2, 3, 4, 5, 6]
        assert link.counts.lost == 0
        for ms in range(5100, 8600, 100):  # silence all the same, once it has time to listen
            board.tick(ms * MS)
        assert not board.ready


def test_what_a_board_could_not_say_while_it_had_no_host_is_counted(c_library: ctypes.CDLL) -> None:
    board, link = greeted(c_library)
    with closing(SimpleNamespace(close=board.end)):
        for ms in range(100, 3300, 100):
            board.tick(ms * MS)
        assert not board.ready
        for number in range(10):
            board.power(number, 3400 * MS)
        link.tick(3500 * MS)
        for _ in range(4):
            link.receive(board.said(), 3500 * MS)
            board.hear(link.outgoing(), 3500 * MS)
        assert board.ready and link.state is State.READY
        assert link.counts.lost >= 10


def test_half_an_hour_on_a_noisy_line(c_library: ctypes.CDLL) -> None:
    """1 % of the bytes spoilt, both ways: no event waits long, nothing piles up, each command ends well."""
    with closing(VirtualLine(c_library, 1)) as line:
        line.run(1800, Troubles(spoilt_bytes=0.01), presses_per_s=2.0, commands_per_s=2.0)
        line.settle()
        story = line.story
        assert story.delivered == story.pressed and len(story.pressed) > 3000
        assert story.longest_wait_s < 2.0 and story.most_waiting < 16
        assert not story.unanswered and set(story.carried_out) == story.acknowledged
