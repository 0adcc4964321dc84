from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from device.stages.events import EventsStage
from device.stages.wake import CAMERA, WakeSettings, WakeStage
from device.types import (
    Attention,
    CameraMode,
    CameraRequest,
    DeviceEvent,
    EmotionEstimate,
    EyeMovement,
    Gaze,
    MomentEnd,
    MomentStart,
    MomentSure,
    Movement,
    Region,
    Value,
    WakeChange,
    WakeState,
)

MS = 1_000_000
SETTINGS = WakeSettings(
    early_ms=0,
    dwell_ms=200,
    same_place_deg=2.0,
    glance_ms=350,
    check_ms=1000,
    recheck_ms=1500,
    enter_probability=0.6,
    leave_probability=0.3,
    enter_ms=100,
    leave_ms=500,
    smooth_ms=0,
    min_moment_ms=0,
    linger_ms=800,
    max_moment_s=30,
    dismiss_probability=0.3,
    dismiss_ms=300,
    settled_probability=1.0,  # never, but where it is tested
)
WHOLE = Region(left=0, top=0, right=1, bottom=1)


def eye(t_ms: float, azimuth: float = 0.0, movement: Movement = Movement.FIXATION) -> EyeMovement:
    return EyeMovement(
        t_ns=round(t_ms * MS),
        movement=movement,
        since_ns=round(t_ms * MS),
        azimuth_deg=azimuth if movement is Movement.FIXATION else float("nan"),
        elevation_deg=0.0,
        speed_deg_s=0.0,
        confidence=1.0,
    )


def attention(t_ms: float, probability: float) -> Attention:
    return Attention(
        t_ns=round(t_ms * MS), probability=probability, region=WHOLE, embedding=np.zeros(64, "f4")
    )


def judge(values: Iterable[Value], settings: WakeSettings = SETTINGS) -> list[Value]:
    stage = WakeStage(settings)
    out: list[Value] = []
    last_ns = 0
    for value in sorted(values, key=lambda v: v.t_ns):
        out += stage.step(value)
        last_ns = value.t_ns
    return [*out, *stage.finish(last_ns)]


def look(start_ms: int, end_ms: int, azimuth: float = 0.0) -> list[Value]:
    return [eye(t, azimuth) for t in range(start_ms, end_ms, 10)]


def states(out: list[Value]) -> list[WakeState]:
    return [v.after for v in out if isinstance(v, WakeChange)]


def moments(out: list[Value]) -> list[tuple[MomentStart, MomentEnd]]:
    starts = [v for v in out if isinstance(v, MomentStart)]
    return list(zip(starts, [v for v in out if isinstance(v, MomentEnd)], strict=True))


def test_every_move_between_two_states_is_in_the_table():
    pairs = {(a, b) for a in WakeState for b in WakeState if a is not b}
    assert set(CAMERA) == pairs
    assert all(
        (mode is CameraMode.OFF) == (b is WakeState.WATCHING) for (_, b), mode in CAMERA.items()
    )


def test_a_wandering_eye_never_wakes_the_camera():
    assert judge(eye(t, azimuth=(t // 100 % 7) * 6.0) for t in range(0, 4000, 10)) == []


def test_a_dwell_wakes_it_and_silence_lets_it_sleep():
    out = judge([*look(0, 1300), *(attention(t, 0.4) for t in range(300, 1300, 100))])
    assert states(out) == [WakeState.CHECKING, WakeState.WATCHING]
    assert [v.mode for v in out if isinstance(v, CameraRequest)] == [CameraMode.LOW, CameraMode.OFF]
    asked, slept = (v for v in out if isinstance(v, WakeChange))
    assert 200 * MS <= asked.t_ns <= 220 * MS and slept.t_ns - asked.t_ns >= 1000 * MS
    assert "200 ms" in asked.why and "1000" in slept.why


def asked_ms(early_ms: float, policy: str = "fused") -> float:
    """When the camera is first wanted on, where eyes that jump about come to rest after two seconds."""
    rng = np.random.default_rng(3)
    settings = replace(SETTINGS, early_ms=early_ms, policy=policy, eye_only_dwell_ms=200.0)
    events, wake, now_ns = EventsStage(), WakeStage(settings), 0
    for k in range(400):
        now_ns = k * 10 * MS
        away = (k // 15 % 2) * 12.0 + (k // 30 % 2) * 30.0 if k < 200 else 20.0
        seen = Gaze(
            t_ns=now_ns,
            azimuth_deg=away + rng.normal(0, 0.1),
            elevation_deg=rng.normal(0, 0.1),
            confidence=1.0,
        )
        for value in (seen, *events.step(seen)):
            if any(isinstance(made, CameraRequest) for made in wake.step(value)):
                return now_ns / MS
    return float("inf")


def test_a_look_is_found_sooner_by_a_classifier_of_a_shorter_delay():
    late, early, earlier = asked_ms(0), asked_ms(100), asked_ms(60)
    assert 2330 <= late <= 2450
    assert late - early == pytest.approx(50, abs=11)
    assert late - earlier == pytest.approx(90, abs=11)
    assert asked_ms(100, "eye_only") == asked_ms(0, "eye_only")  # what it opens is not asked about


def test_a_clear_no_puts_the_camera_to_sleep_early():
    out = judge([*look(0, 1300), *(attention(t, 0.1) for t in range(300, 1300, 100))])
    assert states(out) == [WakeState.CHECKING, WakeState.WATCHING]
    slept = [v for v in out if isinstance(v, WakeChange)][1]
    assert slept.t_ns == 600 * MS and "0.30" in slept.why


def test_the_longer_nothing_is_worth_it_the_rarer_the_camera_is_tried():
    """Looks at ever new places, each long enough to be checked, each check in vain."""
    values = [
        eye(t, azimuth=(t // 900 % 7) * 6.0) if t % 900 else attention(t, 0.1)
        for t in range(0, 120_000, 10)
    ]
    values += [attention(t, 0.1) for t in range(0, 120_000, 100)]
    eager = judge(values, replace(SETTINGS, rest_ms=0.0))
    resting = judge(values, replace(SETTINGS, rest_ms=2500.0, rest_share=0.05))

    def checks(out: list[Value], start_s: int, end_s: int) -> int:
        woke = [v for v in out if isinstance(v, WakeChange) and v.after is WakeState.CHECKING]
        return sum(start_s * 1000 * MS <= v.t_ns < end_s * 1000 * MS for v in woke)

    assert checks(resting, 0, 8) == checks(eager, 0, 8)
    assert checks(resting, 60, 120) < 0.5 * checks(eager, 60, 120)
    assert checks(resting, 60, 120) >= 60 / 4  # the pause is bounded


@pytest.mark.parametrize(
    ("start_s", "probability", "opens"),
    [(0, 0.7, True), (120, 0.7, False), (120, 0.85, True), (15, 0.7, True), (50, 0.7, False)],
)
def test_where_moments_are_rare_it_takes_more_to_open_one(start_s, probability, opens):
    settings = replace(SETTINGS, rare=0.2, rare_s=60.0)
    start = start_s * 1000
    out = judge(
        [
            *look(start, start + 1300),
            *(attention(t, probability) for t in range(start + 300, start + 1300, 100)),
        ],
        settings,
    )
    assert (WakeState.KEEPING in states(out)) == opens
    if opens and start_s == 120:
        opened = [v for v in out if isinstance(v, WakeChange) and v.after is WakeState.KEEPING]
        assert "at least 0.80" in opened[0].why


def test_attention_opens_a_moment_that_began_with_the_look():
    said = [attention(t, 0.9) for t in range(300, 2000, 100)]
    out = judge([*look(0, 2000), *said])
    ((start, _),) = moments(out)
    assert start.reason == "attention" and start.since_ns == 0
    assert 400 * MS <= start.t_ns <= 420 * MS


def test_one_high_estimate_is_not_enough():
    out = judge([*look(0, 1000), attention(400, 0.9), attention(500, 0.2), attention(600, 0.9)])
    assert moments(out) == []


def test_a_glance_and_a_blink_do_not_split_a_moment_but_leaving_ends_it():
    said = [
        attention(t, 0.05 if 1200 <= t < 1500 or t >= 3000 else 0.9) for t in range(300, 6000, 100)
    ]
    out = judge([*look(0, 6000), *said])
    ((_, end),) = moments(out)
    assert end.until_ns == 2900 * MS and 3400 * MS <= end.t_ns <= 3500 * MS
    assert "0.30" in end.reason
    assert states(out)[-2:] == [WakeState.CHECKING, WakeState.WATCHING]


def test_hysteresis_holds_between_the_thresholds():
    said = [attention(t, 0.9 if t < 600 else 0.45) for t in range(300, 5000, 100)]
    ((_, end),) = moments(judge([*look(0, 5000), *said]))
    assert end.reason == "the session is over"


def test_a_long_moment_is_split():
    short = WakeSettings(max_moment_s=2.0, enter_ms=0, min_moment_ms=0, early_ms=0)
    said = [attention(t, 0.95) for t in range(300, 7000, 100)]
    found = moments(judge([*look(0, 7000), *said], short))
    assert len(found) >= 3
    assert all(end.t_ns - start.t_ns <= 2_050 * MS for start, end in found)


def test_the_button_opens_a_moment_without_any_look():
    out = judge(
        [
            DeviceEvent(t_ns=100 * MS, name="button", value=True),
            *(eye(t, t % 40) for t in range(110, 9000, 10)),
        ]
    )
    ((start, end),) = moments(out)
    assert start.reason == "button" and end.t_ns - start.t_ns >= 4000 * MS


def felt(t_ms: float, gate: float) -> EmotionEstimate:
    return EmotionEstimate(
        t_ns=round(t_ms * MS),
        probabilities=(1 / 7,) * 7,
        non_neutral=gate,
        influence=None,
        region=None,
    )


@pytest.mark.parametrize(
    ("on", "gate", "until_ms", "opens"),
    [
        (True, 0.9, 4000, True),
        (False, 0.9, 4000, False),  # unless it is asked for
        (True, 0.7, 4000, False),  # not strong
        (True, 0.9, 1500, False),  # not lasting
    ],
)
def test_a_strong_and_lasting_feeling_opens_a_moment_if_that_is_on(
    on: bool, gate: float, until_ms: int, opens: bool
) -> None:
    feelings = [felt(t, gate if 500 <= t < until_ms else 0.1) for t in range(0, 6000, 500)]
    wandering = [eye(t, t % 40) for t in range(0, 9000, 10)]
    settings = replace(SETTINGS, use_emotion=on, leave_ms=800)
    found = moments(judge([*wandering, *feelings], settings))
    assert [start.reason for start, _ in found] == ["emotion"] * opens
    if opens:
        ((start, _),) = found
        assert (start.t_ns, start.since_ns) == (2000 * MS, 500 * MS)


def test_the_privacy_switch_closes_and_keeps_closed():
    said = [attention(t, 0.95) for t in range(300, 4000, 100)]
    switch = DeviceEvent(t_ns=1500 * MS, name="privacy", value=True)
    out = judge([*look(0, 4000), *said, switch])
    ((_, end),) = moments(out)
    assert end.reason == "privacy" and end.t_ns == 1500 * MS
    assert [v for v in out if v.t_ns > 1500 * MS] == []


def test_the_rule_of_the_eyes_alone_needs_no_estimate():
    settings = WakeSettings(
        policy="eye_only", eye_only_dwell_ms=500, eye_only_leave_ms=0, min_moment_ms=0
    )
    out = judge([*look(0, 1500), *look(1500, 2500, azimuth=20.0)], settings)
    first = moments(out)[0]
    assert first[0].since_ns == 0 and 500 * MS <= first[0].t_ns <= 520 * MS


def test_decisions_are_stamped_when_taken_not_when_the_light_fell():
    stage = WakeStage(SETTINGS)
    list(stage.step(attention(900, 0.1)))
    made = [v for t in range(0, 300, 10) for v in stage.step(eye(t))]
    assert made and all(v.t_ns == 900 * MS for v in made)


@pytest.mark.parametrize("bad", [{"policy": "guess"}, {"leave_probability": 0.9}])
def test_impossible_settings_are_refused(bad: dict[str, object]):
    with pytest.raises(ValueError, match="wake"):
        WakeSettings(**bad)  # type: ignore[arg-type]


def test_a_long_look_needs_less_attention_than_a_short_one() -> None:
    settings = replace(SETTINGS, settled_ms=800, settled_probability=0.4)
    values = [*look(0, 1500), *(attention(t, 0.45) for t in range(300, 1500, 100))]
    start = next(v for v in judge(values, settings) if isinstance(v, MomentStart))
    assert start.t_ns == 800 * MS  # at 0.45 only the length of the look can open it
    assert start.since_ns == 0
    assert not [v for v in judge(values) if isinstance(v, MomentStart)]


def test_a_settled_look_without_attention_opens_nothing() -> None:
    settings = replace(SETTINGS, settled_ms=800, settled_probability=0.4)
    values = [*look(0, 3000), *(attention(t, 0.35) for t in range(300, 3000, 100))]
    assert not [v for v in judge(values, settings) if isinstance(v, MomentStart)]


def test_leaving_must_not_ask_more_than_a_settled_look() -> None:
    with pytest.raises(ValueError, match="leave_probability"):
        WakeSettings(leave_probability=0.5, settled_probability=0.4)


def test_a_moment_that_did_not_last_is_not_kept_unless_it_was_asked_for():
    """Opened early, attention gone after half a second: taken back. The button's moments always stay."""
    settings = replace(SETTINGS, shortest_ms=1000.0)
    said = [attention(t, 0.9 if t < 700 else 0.1) for t in range(300, 2500, 100)]
    ((start, end),) = moments(judge([*look(0, 2500), *said], settings))
    assert start.since_ns == 0 and not end.kept
    assert "held for 600 ms" in end.reason and "1000" in end.reason
    longer = [attention(t, 0.9 if t < 1300 else 0.1) for t in range(300, 2500, 100)]
    ((_, end),) = moments(judge([*look(0, 2500), *longer], settings))
    assert end.kept and "not kept" not in end.reason
    button = DeviceEvent(t_ns=500 * MS, name="button", value=True)
    short = replace(settings, button_ms=100.0)
    out = judge([*look(0, 2500), *said, button], short)
    assert [v.kept for v in out if isinstance(v, MomentEnd)] == [True]


def sure(out: list[Value]) -> list[int]:
    """When moments became sure, ms."""
    return [v.t_ns // MS for v in out if isinstance(v, MomentSure)]


def test_a_moment_is_sure_once_it_will_be_kept_and_that_is_said_once():
    settings = replace(SETTINGS, shortest_ms=1000.0)

    def said(upto_ms: int) -> list[Value]:
        return [attention(t, 0.9 if t < upto_ms else 0.1) for t in range(300, 2500, 100)]

    assert sure(judge([*look(0, 2500), *said(700)], settings)) == []
    assert sure(judge([*look(0, 2500), *said(2000)], settings)) == [1000]
    button = DeviceEvent(t_ns=500 * MS, name="button", value=True)
    assert sure(judge([*look(0, 2500), *said(700), button], settings)) == [500]
    assert sure(judge([button], settings)) == [500]


def test_the_privacy_switch_ends_a_moment_by_its_own_name():
    said = [attention(t, 0.9) for t in range(300, 700, 100)]
    switch = DeviceEvent(t_ns=650 * MS, name="privacy", value=True)
    out = judge([*look(0, 700), *said, switch], replace(SETTINGS, shortest_ms=1000.0))
    (end,) = [v for v in out if isinstance(v, MomentEnd)]
    assert end.reason == "privacy" and not end.kept
