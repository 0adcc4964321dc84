"""The resolution environment, its tables, rules and curves, on clips drawn here."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from device.carry import MEASURES, Carried
from device.emulator.things import photograph
from device.errors import InputError
from device.model import load
from device.resolution_policies import FULL, LADDER, observe
from device.stages.resolution import ResolutionSettings, ResolutionStage
from device.stages.tag import TagSettings, TagStage
from device.types import Attention, MomentStart, Pixels, Region, SceneFrame, Tags
from models.resolution import CONTEXT, PARAMETERS, SUMMED, Both, Flat, Members, Policy, Scheduler
from models.resolution_clips import Clip, clip_paths, clips_in, read_clip, varied
from models.resolution_env import ResolutionEnv, ResolutionVecEnv
from models.resolution_rules import fixed_decide
from models.resolution_table import OWN, SHIFTED, Table, TableBuilder
from models.resolution_world import Costs, World, by_policy, energy_at, lanes_of, oracle, play

FRAMES = 14


def picture(number: int) -> Pixels:
    """A cat that walks to the right over a wall."""
    cat = cv2.resize(photograph("cat"), (150, 150))
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.normal(120, 20, (240, 320, 3)), (0, 0), 2).astype(np.uint8)
    left = 20 + 6 * number
    alpha = cat[:, :, 3:].astype(np.float32) / 255
    place = frame[60:210, left : left + 150]
    place[:] = (cat[:, :, :3] * alpha + place * (1 - alpha)).astype(np.uint8)
    return frame


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip("cat", "00000000000000aa", 15.0, [picture(n) for n in range(FRAMES)])


@pytest.fixture(scope="module")
def table(clip: Clip) -> Table:
    return TableBuilder(load("detector"), load("backbone")).build(clip)


def made(frames: int = 60, seed: int = 0, name: str = "made") -> Table:
    """A table of numbers: quality falls with age, a little for small sizes."""
    rng = np.random.default_rng(seed)
    ages = 20
    age = np.arange(ages + 1)
    measures = rng.uniform(0, 0.2, (frames, 3, ages + 1, len(MEASURES))).astype(np.float32)
    measures[..., MEASURES.index("age_s")] = age / 30
    less = np.array([0.2, 0.1, 0.0], np.float32)
    tags = np.ones((frames, 3, ages + 1, 2), np.float32) - less[:, None, None]
    tags -= (age * 0.02)[None, None, :, None]
    apart = np.abs(np.arange(frames)[:, None] - np.arange(frames)).astype(np.float32)
    cosines = np.clip(1 - less[None, :, None] - 0.02 * apart[:, None], 0, 1)
    looks = np.broadcast_to(apart[:, None, :, None] * 0.03, (frames, 3, frames, 3))
    costs = {"run_160": 6.0, "run_224": 9.0, "run_320": 14.0, "embed": 6.0, "flow": 1.0}
    return Table(
        name,
        f"{seed:016x}",
        30.0,
        measures,
        tags.clip(0, 1),
        np.stack([cosines] * 2, axis=-1),
        looks,
        {**costs, "measure": 0.03},
    )


def test_a_run_at_320_is_the_measure_of_itself_and_age_never_helps_on_average(table: Table) -> None:
    at = np.arange(table.frames)
    assert table.tags[:, 2, 0, OWN] == pytest.approx(1.0, abs=1e-5)
    assert table.cosines[at, 2, at, OWN] == pytest.approx(1.0, abs=1e-3)
    assert table.tags.min() >= 0 and table.tags.max() <= 1 + 1e-6
    assert table.tags[:3, 2, 8, OWN].mean() <= table.tags[:3, 2, 0, OWN].mean()
    assert table.cosines[0, 2, 8, OWN] < 1
    assert table.looks[at, 2, at, 2] == pytest.approx(0, abs=1e-5)


def test_the_second_judge_sees_the_same_scene_with_other_noise(table: Table) -> None:
    at = np.arange(table.frames)
    cosines = table.cosines[at, 2, at]
    assert cosines[:, SHIFTED].min() > 0.8 and cosines[:, SHIFTED].mean() < 0.9999


def test_a_table_survives_its_file(table: Table, tmp_path: Path) -> None:
    table.save(tmp_path / "t.npz")
    again = Table.read(tmp_path / "t.npz")
    assert (again.name, again.fingerprint, again.rate_hz) == ("cat", "00000000000000aa", 15.0)
    assert np.array_equal(again.measures, table.measures)
    assert again.cosines == pytest.approx(table.cosines, abs=1e-3)
    assert again.looks == pytest.approx(table.looks, rel=1e-3, abs=1e-3)
    assert again.cost_ms == pytest.approx(table.cost_ms)


def test_playing_the_table_is_what_the_stages_do(clip: Clip, table: Table) -> None:
    """The glasses' own two stages on the clip measure what the table says they would."""
    carried = Carried()
    settings = ResolutionSettings(policy="fixed", every_frames=4, rate_hz=15.0, gaze_off=1e6)
    decide = ResolutionStage(carried, None, settings)
    tag = TagStage(load("detector"), load("backbone"), TagSettings(), carried)
    place = Region(left=0.3, top=0.3, right=0.5, bottom=0.7)
    ran = 0
    for t, pixels in enumerate(clip.frames):
        frame = SceneFrame(t_ns=round(t * 1e9 / 15), seq=t, pixels=pixels)
        attention = Attention(
            t_ns=frame.t_ns, probability=1.0, region=place, embedding=np.zeros(1, np.float32)
        )
        values = [frame, attention, *([MomentStart(t_ns=0, reason="test")] if t == 0 else [])]
        decisions = [d for v in values for d in decide.step(v)]
        tags = [x for v in (*values, *decisions) for x in tag.step(v) if isinstance(x, Tags)]
        assert [d.reuse for d in decisions] == [t % 4 != 0]
        assert [x.reused for x in tags] == [t % 4 != 0]
        if t % 4 == 0:
            ran = t
            continue
        seen = carried.measures(frame.t_ns, place)
        for name in ("age_s", "shift", "spread", "changed", "misfit_sum", "things", "last_px"):
            column = MEASURES.index(name)
            assert seen[column] == pytest.approx(
                table.measures[ran, 2, t - ran, column], rel=1e-3, abs=1e-4
            ), name


@pytest.mark.parametrize("keys", [False, True])
def test_gymnasiums_checker_is_content(keys: bool) -> None:
    world = World([made(), made(40, 1)])
    check_env(ResolutionEnv(world, Costs.of(world.tables), keys=keys), skip_render_check=True)


def test_the_same_seed_gives_the_same_episode_and_the_observation_is_the_glasses_own() -> None:
    world = World([made(), made(40, 1)])
    env = ResolutionEnv(world, Costs.of(world.tables))
    runs = []
    for _ in range(2):
        seen, _ = env.reset(seed=3)
        rows = [seen]
        for step in range(20):
            seen, reward, _, over, _ = env.step(step % 4)
            rows.append(np.append(seen, reward)[: len(seen)])
            if over:
                break
        runs.append(np.array(rows))
    assert np.array_equal(*runs)
    lanes = env._lanes
    lanes.state.at[:] = lanes.state.ran + 1
    again = observe(lanes.state.measures(), lanes.state.share, lanes.weight)
    assert lanes.observe() == pytest.approx(again)


def test_it_steps_fast_enough_to_train_on() -> None:
    world = World([made(120, n) for n in range(4)])
    env = ResolutionVecEnv(world, Costs.of(world.tables), 256)
    env.reset()
    rng = np.random.default_rng(0)
    started, steps = time.thread_time(), 0
    for _ in range(60):
        env.step_async(rng.integers(0, len(LADDER), 256))
        env.step_wait()
        steps += 256
    assert (
        steps / (time.thread_time() - started) > 20_000
    )  # of CPU time: a busy machine is no excuse


def test_the_key_schedulers_episode_ends_when_its_budget_is_spent() -> None:
    world = World([made(120)])
    env = ResolutionVecEnv(world, Costs.of(world.tables), 64, keys=True)
    env.reset()
    env._lanes.weight[:] = 1.0  # four keys in a hundred
    lengths = []
    for _ in range(12):
        env.step_async(np.ones(64, np.int64))
        _, _, over, infos = env.step_wait()
        lengths += [infos[lane]["episode"]["l"] for lane in np.flatnonzero(over)]
    assert lengths and max(lengths) <= 12


def test_bounds_hold_for_a_policy_that_never_runs() -> None:
    world = World([made()])
    clip, policy = lanes_of(world, 1)
    played = play(world, clip, fixed_decide(np.array([10_000]), policy))
    assert played.actions[0, FULL] == pytest.approx(3 / 60)  # the first, and every 20 frames
    late = made()
    late.measures[:, :, :, MEASURES.index("gaze_off")] = 5.0
    busy = play(World([late]), clip, fixed_decide(np.array([10_000]), policy))
    assert busy.actions[0, FULL] == pytest.approx(1 / 6, abs=0.02)  # as often as the bound may ask


def test_the_oracle_is_better_than_any_interval_and_knows_the_price() -> None:
    world = World([made(), made(50, 1)])
    costs = Costs.of(world.tables)
    blind = costs.per_action("blind")
    every = np.arange(1, 12)
    clip, policy = lanes_of(world, len(every))
    played = play(world, clip, fixed_decide(every, policy))
    points = zip(
        by_policy(played.energy_ms(blind), len(every)),
        by_policy(played.quality[:, OWN], len(every)),
    )
    fixed = energy_at([(float(e), float(q)) for e, q in points], 0.95, costs.full_ms)
    rows = [oracle(world, w, costs) for w in np.linspace(0, 1, 9)]
    best = [(float(r.energy_ms(blind).mean()), float(r.quality[:, OWN].mean())) for r in rows]
    assert energy_at(best, 0.95, costs.full_ms) <= fixed * 1.02
    assert [q for _, q in best] == sorted((q for _, q in best), reverse=True)


def test_energy_at_a_quality_lies_on_the_line_between_two_points() -> None:
    points = [(2.0, 0.8), (4.0, 0.9), (3.9, 0.85)]
    assert energy_at(points, 0.85, 10.0) == pytest.approx(3.0)
    assert energy_at(points, 0.95, 10.0) == pytest.approx(7.0)  # on the way to always-320
    assert energy_at(points, 0.5, 10.0) == 2.0
    assert energy_at([], 0.9, 10.0) == 10.0


def test_variants_are_other_pictures_of_the_same_video(clip: Clip) -> None:
    other = varied(clip, np.random.default_rng(1))
    assert other.fingerprint == clip.fingerprint
    assert other.frames[0].shape[0] < clip.frames[0].shape[0]
    assert len({f.shape for f in other.frames}) == 1
    again = varied(clip, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(other.frames, again.frames, strict=True))


def test_a_folder_of_pictures_and_a_video_are_found_and_masks_are_not(tmp_path: Path) -> None:
    for kind in ("JPEGImages", "Annotations"):
        folder = tmp_path / kind / "480p" / "cat"
        folder.mkdir(parents=True)
        for n in range(9):
            cv2.imwrite(str(folder / f"{n:05d}.png"), picture(n))
    assert [p.parent.parent.name for p in clip_paths(tmp_path)] == ["JPEGImages"]
    (clip,) = clips_in(tmp_path)
    assert (clip.name, len(clip.frames)) == ("cat", 9)


def test_what_is_no_clip_is_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        clip_paths(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no video"):
        clip_paths(tmp_path)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_clip(bad)


def test_a_policy_is_the_same_searched_averaged_and_exported() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 0.5, (2, PARAMETERS))
    numbers[:, : len(SUMMED)] -= 4.7
    numbers[:, 3 * len(SUMMED) :][:, : len(CONTEXT)] *= 0.1
    measures = rng.uniform(0, 0.4, (400, len(MEASURES))).astype(np.float32)
    weight = rng.random(400)
    observed = torch.from_numpy(observe(measures, 0.3, weight))
    for member in numbers:
        one = Policy(1)
        one.parameters_of.copy_(torch.from_numpy(member[None]))
        searched = Members(np.tile(member, (400, 1)), weight)(measures)
        assert 0.02 < (searched > 0).mean() < 0.98
        assert (one(observed).argmax(dim=1).numpy() == searched).mean() > 0.99
    pair = Policy(2)
    pair.parameters_of.copy_(torch.from_numpy(numbers))
    both = Both(pair, Scheduler()).eval()
    flat = Flat(both)(observed)
    for output, values in both(observed).items():
        assert flat[output].detach().numpy() == pytest.approx(values.detach().numpy(), abs=1e-4)
