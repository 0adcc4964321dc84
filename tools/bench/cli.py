"""`beheld bench NAME`: one row a bench, one file each."""

from __future__ import annotations

import click

from tools.cli import LazyGroup

BENCHES = {
    "affect": ("tools.bench.affect", "Valence and arousal of pictures of themes never seen."),
    "asking": ("tools.bench.asking", "What corrections teach, by the rule that chooses them."),
    "attention": ("tools.bench.attention", "Attended intervals: eyes alone, scene alone, fused."),
    "bridge": ("tools.bench.bridge", "The wire to the microcontroller against pyserial framing."),
    "custody": ("tools.bench.custody", "Uploads under every fault: nothing lost, nothing forged."),
    "emoship": ("tools.bench.emoship", "Eyes and view together, on people and themes never seen."),
    "emotion": ("tools.bench.emotion", "Expression from one eye and two, on people never seen."),
    "enrolment": ("tools.bench.enrolment", "What enrolling does to wearers who feel nothing."),
    "events": ("tools.bench.events", "Fixations, saccades, pursuits against human raters."),
    "faults": ("tools.bench.faults", "Live runs on emulated glasses, a fault in each."),
    "gate": ("tools.bench.gate", "What the emotion gate saves on the virtual wearer's day."),
    "gaze": ("tools.bench.gaze", "Gaze from our pupils against a recording's own gaze."),
    "install": ("tools.bench.install", "Size of wheel and installation, time to a served page."),
    "live": ("tools.bench.live", "The live run on the emulated glasses, in real time."),
    "month": (
        "tools.bench.month",
        "A month of a heavy wearer: start, list and back up its server.",
    ),
    "moments": ("tools.bench.moments", "Moments kept by the controller, against always-full."),
    "pipeline": ("tools.bench.pipeline", "Speed and CPU of the whole loop against always-on."),
    "track": (
        "tools.bench.track",
        "The pupil between runs of the eye network: share of runs, error.",
    ),
    "still": ("tools.bench.still", "Emotion's fast-forward rule: share skipped, agreement."),
    "resolution": ("tools.bench.resolution", "What quality costs under each resolution policy."),
    "pupil": ("tools.bench.pupil", "Pupil centre, mask and blinks against pupil-detectors."),
    "server": ("tools.bench.server", "Uploads, memory and search of the server against peers."),
}
"""bench -> (module, one line of help)."""


@click.command(cls=LazyGroup, verbs=BENCHES)
def command() -> None:
    """Measure a part against its peers, on data it never saw."""
