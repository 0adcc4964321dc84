"""The eye network and what is done to its pictures."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.eye import EyeNet, EyeNetConfig, log_shape  # noqa: E402
from models.eye_augment import Augment, _pale, augment, ellipses  # noqa: E402
from models.eye_data import EyeSet, Pool  # noqa: E402
from models.eye_left_out import ellipse_iou, score  # noqa: E402
from models.train_eye import (  # noqa: E402
    TrainEye,
    predict,
    scale_confidence,
    train,
    wrong_labels,
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def discs(count: int = 24, seed: int = 0) -> EyeSet:
    """Dark discs on a grey disc on skin; every fourth picture is skin alone, labelled a blink."""
    rng = np.random.default_rng(seed)
    at_y, at_x = np.mgrid[:128, :128]
    images, masks = [], []
    for number in range(count):
        x, y, r = rng.uniform(40, 88), rng.uniform(40, 88), rng.uniform(7, 12)
        far = np.hypot(at_x - x, at_y - y)
        image = np.where(far < 3 * r, 90, 160) + rng.normal(0, 3, far.shape)
        mask = far < r
        if number % 4 == 0:
            image, mask = 150 + rng.normal(0, 3, far.shape), np.zeros_like(mask)
        images.append(np.clip(np.where(mask, 25, image), 0, 255).astype(np.uint8))
        masks.append(mask.astype(np.uint8))
    blink = torch.tensor([number % 4 == 0 for number in range(count)])
    subject = np.array(["a" if number % 2 else "b" for number in range(count)])
    return EyeSet(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(masks)),
        blink,
        subject,
        np.array([str(number) for number in range(count)]),
    )


def test_moments_of_an_ellipse_give_the_ellipse():
    at_y, at_x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    turn = torch.tensor(0.5)
    dx, dy = at_x - 61.3, at_y - 70.8
    along, off = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
    mask = ((along / 14) ** 2 + (off / 8) ** 2 <= 1).float()[None]
    ellipse, area = ellipses(mask)
    assert ellipse[0, :2].tolist() == pytest.approx([61.3, 70.8], abs=0.1)
    assert area.item() == pytest.approx(np.pi * 14 * 8, rel=0.02)
    matrix = torch.tensor([[ellipse[0, 2], ellipse[0, 4]], [ellipse[0, 4], ellipse[0, 3]]])
    values, vectors = torch.linalg.eigh(matrix)
    assert (values / 2).exp().tolist() == pytest.approx([8, 14], rel=0.03)
    assert abs(vectors[:, 1] @ torch.tensor([turn.cos(), turn.sin()])) > 0.999
    assert ellipse_iou(ellipse, mask).item() > 0.97


def test_log_shape_of_nothing_is_finite():
    assert torch.isfinite(log_shape(torch.zeros(1, 2, 2))).all()


@pytest.mark.parametrize("lateral_inhibition", [False, True])
def test_training_and_running_forms_agree(lateral_inhibition):
    torch.manual_seed(0)
    net = EyeNet(EyeNetConfig(lateral_inhibition=lateral_inhibition))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    image = discs(4).images[:, None]
    with torch.no_grad():
        open_form = net._vote_open(*trunk(net, image))
        running = net._vote(*trunk(net, image))
        folded = EyeNet(net.config).eval()
        folded.load_state_dict(net.state_dict())
        folded.fold_scale()
        also = folded(image)
    for name in EyeNet.OUTPUTS:
        torch.testing.assert_close(running[name], open_form[name], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(also[name], net.eval()(image)[name], rtol=1e-4, atol=1e-3)


def trunk(net: EyeNet, image):
    """What reaches the vote, caught on its way."""
    caught = []
    vote, net._vote = net._vote, lambda *features: caught.append(features) or {}
    net.eval()(image)
    net._vote = vote
    return caught[0]


def test_augmented_labels_describe_what_is_seen():
    data = discs()
    g = torch.Generator().manual_seed(3)
    how = Augment(nothing_p=0.0, lid_p=0.0, noise_p=0.0, blur_p=0.0, lashes_p=0.0, glints=1)
    batch = augment(data.images, data.masks, (~data.blink).float(), how, g)
    assert batch.image.dtype == torch.uint8 and batch.image.shape == (24, 1, 128, 128)
    assert not batch.pupil[data.blink].any() and (batch.open == (~data.blink).float()).all()
    darker = 0
    for number in torch.nonzero(batch.pupil)[:, 0].tolist():
        x, y = batch.ellipse[number, :2].round().long().clamp(0, 127).tolist()
        picture = batch.image[number, 0].float()
        darker += bool(picture[y, x] <= picture.median())
    assert darker >= 0.9 * int(batch.pupil.sum())


def test_a_pale_pupil_stays_darker_than_its_iris():
    data = discs()
    seen = ~data.blink
    picture, mask = data.images[seen].float(), data.masks[seen].float()
    pale = _pale(picture, mask, Augment(pale=0.75), torch.Generator().manual_seed(3))
    inside, beyond = mask > 0, picture > 80  # iris and skin
    before = torch.stack([p[~m].min() - p[m].mean() for p, m in zip(picture, inside, strict=True)])
    after = torch.stack([p[~m].min() - p[m].mean() for p, m in zip(pale, inside, strict=True)])
    assert torch.equal(pale[beyond], picture[beyond])
    assert (after > 0).all() and after.mean() < 0.8 * before.mean()
    flat = torch.full((1, 128, 128), 50.0)
    assert torch.isfinite(
        _pale(flat, torch.zeros(1, 128, 128), Augment(pale=0.75), torch.Generator())
    ).all()


def test_even_people_are_drawn_alike():
    data = discs(24)
    data = data.take(np.arange(24) < 4) + data.take(data.subject == "a")  # few of b, many of a
    quiet = Augment(nothing_p=0.0)
    pool = Pool(data, quiet, size=640, batch=64, seed=0, even=True)
    share = float((data.subject[pool.source.numpy()] == "a").mean())
    rooted = Pool(data, quiet, size=640, batch=64, seed=0)
    assert abs(share - 0.5) < 0.25 * 0.5 + 0.1
    assert float((data.subject[rooted.source.numpy()] == "a").mean()) > share


def test_a_lid_closes_the_eye_by_what_it_hides():
    data = discs(64, seed=1)
    g = torch.Generator().manual_seed(3)
    opened = (~data.blink).float()
    batch = augment(data.images, data.masks, opened, Augment(lid_p=1.0, nothing_p=0.0), g)
    seen = opened > 0
    assert 0.05 < batch.open[seen].mean() < 0.95
    gone = seen & ~batch.pupil  # under the lid, and a few beyond the frame
    assert batch.open[gone].mean() < 0.3 * batch.open[seen & batch.pupil].mean()
    assert (batch.open[~seen] == 0).all()


def test_pool_draws_only_what_is_allowed():
    data = discs()
    pool = Pool(data, Augment(nothing_p=0.0, lid_p=0.0), size=64, batch=32, seed=0)
    batch = pool.draw(50, data.blink)
    assert len(batch.pupil) == 50 and not batch.pupil.any()
    before = pool.source.clone()
    pool.renew()
    assert (pool.source[:32] != before[:32]).any() and (pool.source[32:] == before[32:]).all()


def test_training_learns_discs_and_repeats_itself():
    data = discs(32)
    settings = TrainEye(batch=8, warm_up=5, average=0.8, learning_rate=4e-3)
    mild = Augment(zoom=(0.9, 1.1), any_turn_p=0, nothing_p=0, lid_p=0, lashes_p=0, shift_px=6)
    everything = torch.ones(len(data), dtype=torch.bool)

    def run(steps: int):
        pool = Pool(data, mild, size=96, batch=8, seed=1)
        return train(data, pool, everything, settings, steps, clean=False)

    (once, _), (again, _) = run(3), run(3)
    for name, value in once.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    net, kept = run(60)
    seen = ~data.blink
    truth, _ = ellipses(data.masks.float())
    error = (predict(net, data.images)["ellipse"] - truth)[seen, :2].norm(dim=1).median()
    guess = (truth[seen, :2] - truth[seen, :2].mean(0)).norm(dim=1).median()
    assert kept.all() and error < 0.5 * guess
    assert 0.0 <= score(predict(net, data.images), data)["within_5px"] <= 1.0
    assert wrong_labels(net, data, settings).shape == (32,)


def test_a_scaled_confidence_is_in_the_last_layer():
    torch.manual_seed(0)
    net, image = EyeNet().eval(), discs(4).images[:, None]
    with torch.no_grad():
        before = net(image)
        scale_confidence(net, 2.0, -0.5)
        after = net(image)
    torch.testing.assert_close(after["right"], 2.0 * before["right"] - 0.5)
    torch.testing.assert_close(after["open"], before["open"])
