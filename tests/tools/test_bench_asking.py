"""The asking bench: answers teach, the ensemble follows who is worth it, and too little is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device.errors import InputError
from device.types import EMOTIONS
from export.card import put_section
from tools.bench.asking import RULES, Day, measure
from tools.bench.asking_ensemble import RESTART, Ensemble


def day(seed: int = 0) -> Day:
    rng = np.random.default_rng(seed)
    return Day(
        probabilities=rng.dirichlet(np.full(7, 0.7), 30), vectors=rng.random((30, 96)), rng=rng
    )


@pytest.mark.parametrize("name", RULES)
def test_every_rule_asks_three_different_moments_at_most(name: str) -> None:
    rule = RULES[name]()
    for seed in range(5):
        picks = rule(day(seed))
        assert len(picks) == len(set(picks)) == 3 and all(0 <= n < 30 for n in picks)


def test_after_a_good_answer_those_who_wanted_the_question_count_for_more() -> None:
    rng = np.random.default_rng(0)
    wanted = np.stack([np.arange(8.0), -np.arange(8.0)])  # two experts of opposite minds
    for _ in range(20):
        ensemble = Ensemble(experts=2)
        pick = ensemble.pick(wanted, rng)
        ensemble.told(True)
        assert (ensemble.weights[0] > ensemble.weights[1]) == (pick >= 4)
        wrong = Ensemble(experts=2)
        wrong.pick(wanted, rng)
        wrong.told(False)
        assert (wrong.weights == 1).all()


def test_its_weights_are_forgotten_every_so_often() -> None:
    rng, ensemble = np.random.default_rng(0), Ensemble(experts=3)
    for number in range(1, 2 * RESTART + 1):
        ensemble.pick(rng.random((3, 5)), rng)
        ensemble.told(True)
        assert (ensemble.weights == 1).all() == (number % RESTART == 0)


def test_answers_teach_a_wearers_own_frequencies(dataset: Callable[[str], Path]) -> None:
    found = measure(dataset("emo_fer2013_dev"), wearers=4)
    assert set(found["rules"]) == set(RULES)
    for rule in found["rules"].values():
        assert 0 < rule["asked"] <= 3 * found["days"] and rule["gain"] > 0.02


def test_a_few_pictures_are_refused(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "faces.npz",
        images=np.zeros((20, 48, 48), np.uint8),
        labels=np.arange(20) % 7,
        classes=np.array(EMOTIONS),
    )
    with pytest.raises(InputError, match="20 pictures"):
        measure(tmp_path, wearers=2)


def test_a_section_is_written_once_and_then_anew(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# a card\n\n## first\n\nwords\n")
    put_section(card, "second", {"n": 1})
    put_section(card, "second", {"n": 2})
    assert (
        card.read_text()
        == "# a card\n\n## first\n\nwords\n\n## second\n\n| | |\n|---|---|\n| n | 2 |\n"
    )
