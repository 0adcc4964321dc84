"""Tables of people left out: nobody at a scale or gate chosen on them, disputes told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models import eye_left_out  # noqa: E402
from models.eye_augment import ellipses  # noqa: E402
from models.eye_data import EyeSet  # noqa: E402
from models.eye_left_out import LeftOut, bins, right, scale_of, score, tables, undisputed  # noqa: E402


def people(counts: dict[str, int]) -> EyeSet:
    """Discs; the last quarter of every person's pictures are blinks without a pupil."""
    at_y, at_x = np.mgrid[:128, :128]
    rng = np.random.default_rng(0)
    masks, blinks, names = [], [], []
    for person, count in counts.items():
        for number in range(count):
            blink = number >= 3 * count // 4
            x, y = rng.uniform(50, 78, 2)
            masks.append(((np.hypot(at_x - x, at_y - y) < 9) & ~blink).astype(np.uint8))
            blinks.append(blink)
            names.append(person)
    stacked = torch.from_numpy(np.stack(masks))
    return EyeSet(
        160 - 130 * stacked, stacked, torch.tensor(blinks), np.array(names), np.array(names)
    )


def said_of(data: EyeSet, person: str, off_px: float = 0.3, sure: float = 0.9) -> LeftOut:
    one = data.take(data.subject == person)
    truth, area = ellipses(one.masks.float())
    ellipse = truth.clone()
    ellipse[:, 0] += off_px
    seen = (area > 0).float()
    said = {"ellipse": ellipse, "open": 0.02 + 0.96 * seen, "right": 0.02 + (sure - 0.02) * seen}
    return LeftOut(7, said, torch.zeros(len(one), dtype=torch.bool))


def test_right_means_near_and_alike_and_a_pupil():
    truth = torch.tensor([[60.0, 60.0, 4.6, 4.6, 0.0]]).repeat(4, 1)  # a radius of 10 px
    said = truth.clone()
    said[1, 0] += 2.6
    said[2, 2] += 1.1
    pupil = torch.tensor([True, True, True, False])
    assert right(said, truth, pupil).tolist() == [True, False, False, False]
    assert right(said - torch.tensor([0.2, 0, 0.9, 0.9, 0]), truth, pupil)[0]


def test_the_scale_makes_confidence_what_is_observed():
    g = torch.Generator().manual_seed(0)
    p = torch.rand(20000, generator=g)
    hit = torch.rand(20000, generator=g) < p
    slope, offset = scale_of([torch.logit(p, eps=1e-6) / 3 + 1], [hit])
    assert slope == pytest.approx(3.0, rel=0.1) and offset == pytest.approx(-3.0, rel=0.15)


def test_everybody_counts_and_nobody_is_scored_by_their_own_choice():
    data = people({"a": 40, "b": 40, "c": 80})
    parts = {p: said_of(data, p) for p in ("a", "b")}
    parts["c"] = said_of(data, "c", off_px=6.0)  # sure of what is wrong
    found = tables(parts, data, disputes=False)
    rows = found["loso"]
    assert found["loso_steps"] == 7 and set(rows) == {"a", "b", "c", "mean"}
    assert rows["a"]["within_5px"] == 1.0 and rows["a"]["blink_f1"] == 1.0
    assert rows["c"]["within_5px"] == 0.0 < rows["c"]["median_px"]
    stated = found["confidence"]["10"]["stated"]
    assert found["gates"]["c, at the others' gate"]["false_pupil_closed"] == 0.0
    assert 0.5 < stated <= 1.0
    changed = {**parts, "c": said_of(data, "c")}
    again = tables(changed, data, disputes=False)["loso"]
    assert again["c"]["gate"] == rows["c"]["gate"]  # c's own figures did not choose it
    assert rows["mean"]["within_5px"] == pytest.approx(2 / 3)


def test_files_come_back_and_must_fit_the_set(tmp_path):
    data = people({"a": 20, "b": 24})
    for person in ("a", "b"):
        said_of(data, person).write(tmp_path / "x" / f"{person}.npz")
    parts = eye_left_out.read_all(tmp_path / "x")
    assert list(parts) == ["a", "b"] and parts["b"].steps == 7
    assert torch.equal(parts["a"].said["ellipse"], said_of(data, "a").said["ellipse"])
    with pytest.raises(ValueError, match="24 pictures"):
        tables({"a": parts["b"]}, data, disputes=False)


def test_disputed_blinks_are_set_aside_beside_the_figures_as_labelled():
    data = people({"a": 40})
    said = said_of(data, "a").said
    blinks = torch.nonzero(data.blink)[:, 0]
    for name in ("open", "right"):
        said[name][blinks[:4]] = 0.9  # four "blinks" that the network takes for open eyes
    disputed = torch.zeros(40, dtype=torch.bool)
    disputed[blinks[:3]] = True  # of which the witness sees three
    disputed[:5] = True  # and pupils in open eyes, which disputes nothing
    assert score(said, data)["false_pupil_closed"] == pytest.approx(0.4)
    found = undisputed(said, data, 0.5, disputed)
    assert found["closed_disputed"] == 3
    assert found["false_pupil_undisputed"] == pytest.approx(1 / 7)
    assert found["blink_f1_undisputed"] == pytest.approx(2 * 6 / (6 + 7))


def test_the_witness_is_pupil_detectors():
    pytest.importorskip("pupil_detectors")
    at_y, at_x = np.mgrid[:128, :128]
    far = np.hypot(at_x - 64, at_y - 64)
    eye = np.where(far < 11, 20, np.where(far < 30, 110, 170)).astype(np.uint8)
    seen = eye_left_out.witness(torch.from_numpy(np.stack([eye, np.full_like(eye, 140)])))
    assert seen.tolist() == [True, False]


def test_bins_leave_closed_eyes_out_of_the_error():
    stated = torch.linspace(0, 1, 20)
    error = torch.full((20,), 2.0)
    error[:2] = math.nan
    rows = bins(stated, stated > 0.5, error)
    assert math.isnan(rows["1"]["median_px"]) and rows["1"]["with a pupil"] == 0.0
    assert rows["10"] == pytest.approx(
        {"n": 2, "stated": 0.9737, "right": 1, "with a pupil": 1, "median_px": 2, "p95_px": 2},
        abs=1e-3,
    )
