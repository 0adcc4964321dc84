"""Train the temporal attention network: `python -m models.train_attention [--data DIR]`.

From the data folder to the ONNX file, seeded, on one core. Every step the network sees is made by the
very code that feeds it on the glasses: gaze runs through the events stage, frames and eye movements
through `InputBuilder`, and the scene camera sleeps and wakes as the wake stage would have it.

What is trained on: composites of pictures (scene_oasis_dev), the DAVIS sequences of scene_davis16_dev,
and sessions of the emulator with its own gaze. Gaze over the first two is generated, over cameras of any
field of view. Real gaze over real film (gaze_lund2013_dev) is never trained on. A share of the batches
hides the scene or the gaze, so that the same weights serve the comparison with either alone. For figures
on DAVIS, `--fold dog,libby` trains one more network on the same steps without those sequences.
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
    PICTURES_TRAINED,
    Session,
    composite,
    davis_scenes,
    generate,
    pictures_of,
    seen_otherwise,
)

CHUNK = 32
FRESH_BURN_IN = 3


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    composites: int = 200
    composite_s: float = 24.0
    davis_copies: int = 16
    davis_s: float = 40.0
    emulator_s: float = 1800.0
    pictures: int = PICTURES_TRAINED
    onset_weight: float = 1.5
    """How much more a miss weighs where attention begins than later on: late is nearly as bad as never."""
    onset_s: float = 0.4
    """How fast that fades."""
    epochs: int = 16
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
    since_s: list[float]
    """How long the attended interval has gone on; NaN outside of one."""
    sources: list[str]
    """DAVIS sequence the step was made from, or empty: what a fold leaves out."""
    source: str = ""

    @classmethod
    def empty(cls) -> Steps:
        return cls({}, [], [], [], [], [], [])

    def add(  # type: ignore[no-untyped-def]
        self, row: dict[str, np.ndarray], restart: bool, since_s: float, box, thing
    ) -> None:
        attending = np.isfinite(since_s)
        self.since_s.append(since_s)
        self.sources.append(self.source)
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
        self._dwell_ms = 240.0

    def push(self, value: EyeMovement) -> None:
        self._look.push(value)
        enough = self._look.dwell_ms(value.t_ns) >= self._dwell_ms
        if value.t_ns > self._until_ns + 400_000_000 and enough:
            self._dwell_ms = self._rng.uniform(120, 260)
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
    events, builder = EventsStage(), InputBuilder(geometry, AttentionSettings(early_ms=0.0))
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
            inside = starts[(starts <= value.t_ns) & (value.t_ns < ends)]
            since_s = (value.t_ns - inside[0]) / 1e9 if inside.size else float("nan")
            steps.add(feed(due[0]), due[1] or first, since_s, box_at(value.t_ns), thing)
            first = False
        elif isinstance(value, events.wants):
            for made in events.step(value):
                if isinstance(made, EyeMovement):
                    builder.push(made)
                    camera.push(made)


def make_steps(data: Path, settings: Settings) -> Steps:
    """Composites, the emulator, then every DAVIS sequence, each under its own name."""
    steps, s = Steps.empty(), settings
    rng = np.random.default_rng(s.seed)
    pictures = list(pictures_of(data / "scene_oasis_dev", s.pictures, s.seed))
    for k in range(s.composites):
        scene, statistics = seen_otherwise(composite(pictures, rng), rng)
        record_session(generate(scene, 1000 + k, s.composite_s, statistics), steps, k, k)
    print(f"composites: {len(steps.restart)} steps", flush=True)
    emulator_steps(steps, s)
    print(f"with emulator: {len(steps.restart)} steps", flush=True)
    for n, scene in enumerate(davis_scenes(data / "scene_davis16_dev")):
        steps.source = scene.name
        for copy in range(s.davis_copies):
            other, statistics = seen_otherwise(scene, rng, mirrored=copy % 2 == 1)
            session = generate(other, 5000 + 100 * n + copy, s.davis_s, statistics)
            record_session(session, steps, copy, 10000 + n)
    print(f"with DAVIS: {len(steps.restart)} steps", flush=True)
    return steps


def emulator_steps(steps: Steps, settings: Settings) -> None:
    """Sessions of the emulator with its own gaze and truth; bench seeds (0 to 99) are never used."""
    for number in range(round(settings.emulator_s / 150)):
        camera = Camera(np.random.default_rng(number))
        wearer = EmulatorSettings(
            seed=9000 + number,
            duration_s=150.0,
            scenario="ordinary_day" if number % 4 == 0 else "demo",
            eyes=False,
            gaze_noise_deg=(0.35, 0.1)[number % 3 // 2],
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
    out["since_s"] = torch.tensor(steps.since_s)
    return out


def batches(
    data: dict[str, Tensor], kept: np.ndarray, batch: int, rng: np.random.Generator
) -> Iterator[dict[str, Tensor]]:
    """Chunks of consecutive steps at random offsets, (B, CHUNK, ...), where all steps are `kept`."""
    offset = int(rng.integers(CHUNK))
    starts = np.arange(offset, len(kept) - CHUNK, CHUNK)
    starts = rng.permutation(starts[[bool(kept[k : k + CHUNK].all()) for k in starts]])
    for k in range(0, len(starts) - batch + 1, batch):
        rows = torch.from_numpy(starts[k : k + batch, None] + np.arange(CHUNK))
        yield {name: value[rows] for name, value in data.items()}


INPUTS = ("crop", "crop_motion", "coarse", "coarse_motion", "features", "gaze")


def hidden(inputs: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Per session of the batch: both, the eyes alone (1 in 4) or the scene alone (1 in 6), as `hide`."""
    out = {name: value.clone() for name, value in inputs.items()}
    for b in range(len(out["gaze"])):
        kind = rng.random()
        if kind < 1 / 4:
            for name in INPUTS[:4]:
                out[name][b] = 0
            out["features"][b, :, EYE_FEATURES:] = 0
        elif kind < 5 / 12:
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
    net: AttentionNet, batch: dict[str, Tensor], rng: np.random.Generator, settings: Settings
) -> tuple[Tensor, dict[str, float]]:
    inputs = hidden({name: batch[name] for name in INPUTS}, rng)
    restart = batch["restart"].clone()
    counted = torch.ones_like(batch["attending"])
    cut = ~restart[:, 0]
    counted[:, :FRESH_BURN_IN][cut] = 0.0
    restart[:, 0] = True
    with torch.autocast("cpu", torch.bfloat16):
        logit, box, embedding = net.sequence(inputs, restart)
    attend = F.binary_cross_entropy_with_logits(logit, batch["attending"], reduction="none")
    early = torch.exp(-torch.nan_to_num(batch["since_s"], nan=1e3) / settings.onset_s)
    weight = counted * (1.0 + settings.onset_weight * early)
    attend = (attend * weight).sum() / weight.sum()
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


def train(
    data: dict[str, Tensor], settings: Settings, kept: np.ndarray | None = None
) -> AttentionNet:
    """On the `kept` (N,) bool of the steps, all by default."""
    kept = np.ones(len(data["restart"]), bool) if kept is None else kept
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    net = AttentionNet().to(memory_format=torch.channels_last)
    groups = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        groups, settings.learning_rate, weight_decay=settings.weight_decay
    )
    per_epoch = (int(kept.sum()) // CHUNK - 1) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=max(2, settings.epochs * per_epoch + 1)
    )
    done = 0
    for epoch in range(settings.epochs):
        net.train()
        sums: dict[str, list[float]] = {}
        started = time.process_time()
        for batch in batches(data, kept, settings.batch, rng):
            loss, parts = loss_of(net, batch, rng, settings)
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
    parser.add_argument(
        "--fold",
        action="append",
        default=[],
        help="train another network without these DAVIS sequences (by comma), beside --out; again for more",
    )
    for item in fields(Settings):
        parser.add_argument(
            f"--{item.name.replace('_', '-')}", type=type(item.default), default=item.default
        )
    given = vars(parser.parse_args())
    settings = Settings(**{f.name: given[f.name] for f in fields(Settings)})
    torch.set_num_threads(1)
    steps = make_steps(given["data"], settings)
    data = tensors(steps)
    given["out"].parent.mkdir(parents=True, exist_ok=True)
    for fold in ["", *given["fold"]]:
        left_out = sorted(name for name in fold.split(",") if name)
        missing = set(left_out) - set(steps.sources)
        if missing:
            parser.error(f"no such DAVIS sequence: {', '.join(sorted(missing))}")
        name = given["out"].stem + ("-without-" + "-".join(left_out) if left_out else "")
        out = given["out"].with_stem(name)
        net = train(data, settings, ~np.isin(steps.sources, left_out))
        torch.save(
            {"net": net.state_dict(), "settings": asdict(settings), "left_out": left_out}, out
        )
        print(f"wrote {out}", flush=True)


if __name__ == "__main__":
    main()
