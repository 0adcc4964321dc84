"""Train the temporal attention network: `python -m models.train_attention [--data DIR]`.

From the data folder to the ONNX file, seeded, on one core. Every step the network sees is made by the
very code that feeds it on the glasses: gaze runs through the events stage, frames and eye movements
through `InputBuilder`, and the scene camera sleeps and wakes as the wake stage would have it.

What is trained on: composites of pictures (scene_oasis_dev), the DAVIS sequences of scene_davis16_dev
(all but `--leave-out`), and sessions of the emulator with its own gaze. Gaze over the first two is
generated. Real gaze over real film (gaze_lund2013_dev) is never trained on. A share of the batches
hides the scene or the gaze, so that the same weights serve the comparison with either alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from device.attention_inputs import EYE_FEATURES
from device.emulator import Emulator, EmulatorSettings, Truth
from device.sources.camera import SceneCamera
from device.stages.attention import AttentionSettings, InputBuilder, feed
from device.stages.events import EventsStage
from device.stages.look import Look
from device.types import EyeMovement, SceneFrame, SceneGeometry, Value
from models.attention import AttentionNet
from models.attention_data import (
    Session,
    composite,
    davis_scenes,
    generate,
    pictures_of,
)

CHUNK = 32
FRESH_BURN_IN = 3


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    composites: int = 130
    composite_s: float = 24.0
    davis_copies: int = 6
    davis_s: float = 40.0
    emulator_s: float = 600.0
    pictures: int = 400
    epochs: int = 10
    batch: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3


@dataclass
class Steps:
    """Consecutive steps of many sessions, one array a column."""

    columns: dict[str, list[np.ndarray]]
    restart: list[bool]
    attending: list[float]
    box: list[np.ndarray]
    """NaN where no box is to be learnt."""
    thing: list[int]

    @classmethod
    def empty(cls) -> Steps:
        return cls({}, [], [], [], [])

    def add(self, row: dict[str, np.ndarray], restart: bool, attending: bool, box, thing) -> None:  # type: ignore[no-untyped-def]
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value[0])
        self.restart.append(restart)
        self.attending.append(float(attending))
        self.box.append(np.full(4, np.nan) if box is None or not attending else box)
        self.thing.append(thing)


class Camera(SceneCamera):
    """Awake after a look as the wake stage has it, for a random while; now and then without a look."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self._rng = rng
        self._look = Look(same_place_deg=2.0, glance_ns=350_000_000)
        self._until_ns = 0
        self._from_ns = 0

    def push(self, value: EyeMovement) -> None:
        self._look.push(value)
        if value.t_ns > self._until_ns + 400_000_000 and self._look.dwell_ms(value.t_ns) >= 240:
            self._from_ns = value.t_ns + 150_000_000
            self._until_ns = value.t_ns + round(self._rng.uniform(1.5, 9.0) * 1e9)

    def awake(self, t_ns: int) -> bool:
        return self._from_ns <= t_ns <= self._until_ns


def record_session(session: Session, steps: Steps, seed: int, thing: int) -> None:
    """Run a generated session as the glasses would and append what the network would see."""
    scene = session.scene
    frames = (
        SceneFrame(
            t_ns=round(k * 1e9 / scene.rate_hz),
            seq=k,
            pixels=scene.frames[scene.index(k / scene.rate_hz)],
        )
        for k in range(int(session.duration_ns / 1e9 * scene.rate_hz))
    )
    values = sorted([*session.gaze, *frames], key=lambda v: v.t_ns)
    record(
        values,
        scene.geometry,
        session.attended_ns,
        lambda t: scene.box(t / 1e9),
        steps,
        seed,
        thing,
    )


def record(  # type: ignore[no-untyped-def]
    values: Iterable[Value],
    geometry: SceneGeometry,
    attended_ns,
    box_at,
    steps: Steps,
    seed: int,
    thing: int,
    camera=None,
) -> None:
    events, builder = EventsStage(), InputBuilder(geometry, AttentionSettings())
    camera = camera or Camera(np.random.default_rng(seed))
    starts = np.array([a for a, _ in attended_ns] or [0])
    ends = np.array([b for _, b in attended_ns] or [0])
    first = True
    for value in values:
        if isinstance(value, SceneFrame):
            if not camera.awake(value.t_ns):
                continue
            due = builder.frame(value)
            if due is None:
                continue
            attending = bool(((starts <= value.t_ns) & (value.t_ns < ends)).any())
            steps.add(feed(due[0]), due[1] or first, attending, box_at(value.t_ns), thing)
            first = False
        elif isinstance(value, events.wants):
            for made in events.step(value):
                if isinstance(made, EyeMovement):
                    builder.push(made)
                    camera.push(made)


def flipped(session: Session) -> Session:
    """The mirror image."""
    from dataclasses import replace

    scene = replace(
        session.scene,
        frames=[np.ascontiguousarray(f[:, ::-1]) for f in session.scene.frames],
        masks=session.scene.masks[:, :, ::-1],
    )
    gaze = [replace(g, azimuth_deg=-g.azimuth_deg) for g in session.gaze]
    return replace(session, scene=scene, gaze=gaze)


def make_steps(data: Path, settings: Settings, leave_out: set[str]) -> Steps:
    steps, s = Steps.empty(), settings
    rng = np.random.default_rng(s.seed)
    pictures = list(pictures_of(data / "scene_oasis_dev", s.pictures, s.seed))
    for k in range(s.composites):
        record_session(generate(composite(pictures, rng), 1000 + k, s.composite_s), steps, k, k)
    print(f"composites: {len(steps.restart)} steps", flush=True)
    for n, scene in enumerate(davis_scenes(data / "scene_davis16_dev")):
        if scene.name in leave_out:
            continue
        for copy in range(s.davis_copies):
            session = generate(scene, 5000 + 100 * n + copy, s.davis_s)
            record_session(flipped(session) if copy % 2 else session, steps, copy, 10000 + n)
    print(f"with DAVIS: {len(steps.restart)} steps", flush=True)
    if s.emulator_s:
        emulator_steps(steps, s)
        print(f"with emulator: {len(steps.restart)} steps", flush=True)
    return steps


def emulator_steps(steps: Steps, settings: Settings) -> None:
    """Sessions of the emulator with its own gaze and truth; bench seeds (0 to 99) are never used."""
    for number in range(max(1, round(settings.emulator_s / 150))):
        camera = Camera(np.random.default_rng(number))
        wearer = EmulatorSettings(
            seed=9000 + number,
            duration_s=150.0,
            scenario="demo" if number % 2 else "ordinary_day",
            eyes=False,
            gaze_noise_deg=(0.1, 0.35)[number % 4 // 2],
        )
        emulator = Emulator(wearer, camera)
        attended = [(a.start_ns, a.end_ns) for a in emulator.truth.attended]

        def box(t_ns: int, truth: Truth = emulator.truth) -> np.ndarray | None:
            interval = truth.attended_at(t_ns)
            if interval is None:
                return None
            r = truth.box(interval.thing, t_ns)
            return np.clip(np.array([r.left, r.top, r.right, r.bottom]), 0, 1)

        geometry = emulator.truth.geometry
        record(emulator, geometry, attended, box, steps, number, 20000 + number, camera)


def tensors(steps: Steps) -> dict[str, Tensor]:
    out = {name: torch.from_numpy(np.stack(rows)) for name, rows in steps.columns.items()}
    out["restart"] = torch.tensor(steps.restart)
    out["attending"] = torch.tensor(steps.attending)
    out["box"] = torch.from_numpy(np.stack(steps.box)).float()
    out["thing"] = torch.tensor(steps.thing)
    return out


def batches(
    data: dict[str, Tensor], batch: int, rng: np.random.Generator
) -> Iterator[dict[str, Tensor]]:
    """Chunks of consecutive steps at random offsets, (B, CHUNK, ...)."""
    count = len(data["restart"])
    offset = int(rng.integers(CHUNK))
    starts = rng.permutation(np.arange(offset, count - CHUNK, CHUNK))
    for k in range(0, len(starts) - batch + 1, batch):
        rows = torch.from_numpy(starts[k : k + batch, None] + np.arange(CHUNK))
        yield {name: value[rows] for name, value in data.items()}


INPUTS = ("crop", "crop_motion", "coarse", "coarse_motion", "features", "gaze")


def hidden(inputs: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Per session of the batch: both, the eyes alone (1 in 6) or the scene alone (1 in 6), as `hide`."""
    out = {name: value.clone() for name, value in inputs.items()}
    for b in range(len(out["gaze"])):
        kind = rng.random()
        if kind < 1 / 6:
            for name in INPUTS[:4]:
                out[name][b] = 0
            out["features"][b, :, EYE_FEATURES:] = 0
        elif kind < 2 / 6:
            out["features"][b] = 0
            out["crop"][b] = 0
            out["crop_motion"][b] = 0
            out["gaze"][b] = 0.5
        else:  # light and colour differ from camera to camera
            for name in ("crop", "coarse"):
                gain = torch.tensor(rng.uniform(0.75, 1.25, 3), dtype=torch.float32)
                moved = out[name][b].float() * gain + float(rng.uniform(-20, 20))
                out[name][b] = moved.clamp(0, 255).to(torch.uint8)
            noise = torch.from_numpy(rng.normal(0, 0.03, out["features"][b].shape))
            out["features"][b] += noise.float()
    return out


def loss_of(
    net: AttentionNet, batch: dict[str, Tensor], rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    inputs = hidden({name: batch[name] for name in INPUTS}, rng)
    restart = batch["restart"].clone()
    counted = torch.ones_like(batch["attending"])
    cut = ~restart[:, 0]
    counted[:, :FRESH_BURN_IN][cut] = 0.0
    restart[:, 0] = True
    logit, box, embedding = net.sequence(inputs, restart)
    attend = F.binary_cross_entropy_with_logits(logit, batch["attending"], reduction="none")
    attend = (attend * counted).sum() / counted.sum()
    known = torch.isfinite(batch["box"]).all(2) & (counted > 0)
    region = box.new_zeros(())
    if known.any():
        want, got = batch["box"][known], box[known]
        region = (1 - giou(got, want)).mean() + 3 * (got - want).abs().mean()
    same = contrast(embedding, batch, known)
    right = ((logit > 0) == (batch["attending"] > 0.5)).float().mean()
    return attend + 0.5 * region + 0.05 * same, {
        "attend": float(attend.detach()),
        "region": float(region.detach()),
        "right": float(right),
    }


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of (N, 4) boxes."""
    size = lambda x: (x[:, 2] - x[:, 0]).clamp(min=0) * (x[:, 3] - x[:, 1]).clamp(min=0)  # noqa: E731
    inner = torch.cat([torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])], 1)
    outer = torch.cat([torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])], 1)
    both = size(inner)
    union = size(a) + size(b) - both + 1e-6
    around = size(outer) + 1e-6
    return both / union - (around - union) / around


def contrast(embedding: Tensor, batch: dict[str, Tensor], known: Tensor) -> Tensor:
    """Embeddings of one attended thing are alike, of different things not."""
    rows, names = embedding[known][::6], batch["thing"][known][::6]
    if len(rows) < 4:
        return embedding.new_zeros(())
    alike = rows @ rows.T / 0.2
    alike.fill_diagonal_(-1e4)
    positive = (names[:, None] == names[None]) & ~torch.eye(len(rows), dtype=torch.bool)
    has = positive.any(1)
    if not has.any():
        return embedding.new_zeros(())
    share = torch.logsumexp(alike.masked_fill(~positive, -1e4), 1) - torch.logsumexp(alike, 1)
    return -share[has].mean()


def train(data: dict[str, Tensor], settings: Settings) -> AttentionNet:
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    net = AttentionNet()
    groups = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        groups, settings.learning_rate, weight_decay=settings.weight_decay
    )
    per_epoch = (len(data["restart"]) // CHUNK - 1) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=max(2, settings.epochs * per_epoch + 1)
    )
    done = 0
    for epoch in range(settings.epochs):
        net.train()
        sums: dict[str, list[float]] = {}
        started = time.process_time()
        for batch in batches(data, settings.batch, rng):
            loss, parts = loss_of(net, batch, rng)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(groups, 2.0)
            optimiser.step()
            done += 1
            if done < settings.epochs * per_epoch:
                schedule.step()
            for name, value in parts.items():
                sums.setdefault(name, []).append(value)
        line = ", ".join(f"{name} {np.mean(v):.3f}" for name, v in sums.items())
        print(f"epoch {epoch + 1}: {line} ({time.process_time() - started:.0f} s CPU)", flush=True)
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("build/attention.pt"))
    parser.add_argument("--leave-out", default="", help="DAVIS sequences not to train on, by comma")
    for item in fields(Settings):
        parser.add_argument(
            f"--{item.name.replace('_', '-')}", type=type(item.default), default=item.default
        )
    given = vars(parser.parse_args())
    settings = Settings(**{f.name: given[f.name] for f in fields(Settings)})
    torch.set_num_threads(1)
    leave_out = {name for name in given["leave_out"].split(",") if name}
    net = train(tensors(make_steps(given["data"], settings, leave_out)), settings)
    given["out"].parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"net": net.state_dict(), "settings": asdict(settings), "left_out": sorted(leave_out)},
        given["out"],
    )
    print(f"wrote {given['out']}")


if __name__ == "__main__":
    main()
