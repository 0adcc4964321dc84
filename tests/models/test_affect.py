"""Scene affect: what was never seen is predicted, and doubted; files that cannot be used are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import InputError
from device.model import Model, load
from models.affect_data import (
    LOOKS,
    Scenes,
    combine,
    even_pictures,
    read_scenes,
    theme_folds,
)
from models.train_affect import TrainAffect, cross_validated, fit_affect, predict, scores

QUICK = TrainAffect(
    widths=(1.0,), word_shares=(0.1,), lexicon_shares=(0.1,), noises=(0.4,), folds=4
)


def made_up(themes: int = 30, each: int = 4, seed: int = 0) -> Scenes:
    """Pictures whose valence is one direction of the embedding, among others."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 1, (themes, 1, 1280))
    embedding = (middle + 0.7 * rng.normal(0, 1, (themes, each, 1280))).reshape(-1, 1280)
    pleasant = rng.normal(0, 1, len(embedding))
    embedding += 3 * pleasant[:, None] * rng.normal(0, 1, 1280)
    ratings = np.stack([4 + pleasant, 3 - pleasant / 2], 1)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    return Scenes(
        embedding=np.repeat(unit[:, None].astype(np.float32), 2, 1),
        logits=rng.normal(0, 1, (len(unit), 2, 1000)).astype(np.float32),
        ratings=ratings,
        spread=np.ones_like(ratings),
        themes=tuple(str(n // each) for n in range(len(unit))),
        empty=np.full((5, 1280), 1280**-0.5, np.float32),
    )


def test_what_decides_is_found_in_themes_never_seen() -> None:
    scenes = made_up()
    mean, *_ = cross_validated(scenes, QUICK)
    assert scores(mean, scenes.ratings)["valence"]["r"] > 0.6


def test_a_view_unlike_all_rated_ones_is_doubted_more() -> None:
    scenes = made_up()
    net = fit_affect(scenes, QUICK)
    _, sd = predict(net, scenes)
    odd = dataclasses.replace(scenes, embedding=-3 * scenes.embedding)
    _, odd_sd = predict(net, odd)
    assert np.median(odd_sd[:, 0]) > np.median(sd[:, 0])


def test_the_surer_look_counts_for_more() -> None:
    mean, sd = combine(np.array([[[2.0, 4.0], [6.0, 4.0]]]), np.array([[[1.0, 1.0], [0.5, 1.0]]]))
    assert mean[0].tolist() == pytest.approx([(2 * 1 + 6 * 4) / 5, 4.0])
    assert 0.5 < sd[0, 0] < 1.0 and sd[0, 1] == 1.0


def test_a_picture_is_looked_at_whole_and_in_its_middle(tmp_path: Path, backbone: Model) -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:15] = picture[-15:] = picture[:, :15] = picture[:, -15:] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    head = "image,theme,valence_mean,valence_sd,arousal_mean,arousal_sd\n"
    (tmp_path / "labels.csv").write_text(head + "a.png,x,4,1,3,1\n")
    seen = read_scenes(tmp_path, backbone)
    black = backbone.run(image=np.zeros((1, 224, 224, 3), np.uint8))["embedding"][0]
    assert seen.embedding.shape == (1, len(LOOKS), 1280)
    np.testing.assert_allclose(seen.embedding[0, 1], black, atol=1e-6)
    assert float(seen.embedding[0, 0] @ black) < 0.95


def test_a_theme_is_wholly_in_one_fold() -> None:
    scenes = made_up()
    folds = theme_folds(scenes.themes, 7)
    assert np.stack(folds).sum(0).tolist() == [1] * len(scenes.themes)
    for held in folds:
        out = {t for t, h in zip(scenes.themes, held, strict=True) if h}
        kept = {t for t, h in zip(scenes.themes, held, strict=True) if not h}
        assert not out & kept


@pytest.fixture(scope="module")
def backbone() -> Model:
    return load("backbone")


def test_a_folder_without_ratings_is_refused(tmp_path: Path, backbone: Model) -> None:
    with pytest.raises(InputError, match=r"labels\.csv"):
        read_scenes(tmp_path, backbone)
    (tmp_path / "labels.csv").write_text("image,theme\na.jpg,x\n")
    with pytest.raises(InputError, match="no column arousal_mean"):
        read_scenes(tmp_path, backbone)


def test_a_picture_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, backbone: Model
) -> None:
    head = "image,theme,valence_mean,valence_sd,arousal_mean,arousal_sd\n"
    (tmp_path / "labels.csv").write_text(head + "a.jpg,x,4,1,3,1\nb.jpg,x,4,1,3,1\n")
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"b\.jpg.*line 3"):
        read_scenes(tmp_path, backbone)
    (tmp_path / "labels.csv").write_text(head + "a.jpg,x,much,1,3,1\n")
    with pytest.raises(InputError, match=r"line 2.*much"):
        read_scenes(tmp_path, backbone)


def test_of_a_view_that_shows_nothing_it_says_that_it_might_be_anything(backbone: Model) -> None:
    affect, even = load("affect"), even_pictures(6, np.random.default_rng(77))
    walls = [cv2.resize(picture, (224, 224))[None] for picture in even]
    made = [affect.run(**backbone.run(image=wall)) for wall in walls]
    said = np.concatenate([m["affect"] for m in made])
    assert np.ptp(said, axis=0).max() < 0.1  # the middle of all ratings, whatever the area's colour
    assert min(float(m["sd"].min()) for m in made) > 2.5


def test_the_shipped_network_says_mean_and_doubt_on_the_ratings_scale() -> None:
    model, scenes = load("affect"), made_up()
    made = model.run(embedding=scenes.embedding[0, :1], logits=scenes.logits[0, :1])
    assert made["affect"].shape == made["sd"].shape == (1, 2)
    assert ((made["affect"] > 1) & (made["affect"] < 7)).all()
    assert (made["sd"] > 0.3).all()
