"""`beheld demo`: the main job from end to end, on the emulator, with the embedded server."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from device.__main__ import Outcome, load_models, run_session
from device.identity import Identity, pair
from device.sync import Syncer, SyncReport
from server.embedded import Running, start
from tools.client import Client
from tools.output import emit, json_option, progress
from tools.virtual_wearer import calibrated, virtual_wearer

LEAST_S = 180.0


@click.command()
@click.option("--once", is_flag=True, help="End when everything is synced (for CI).")
@click.option("--seed", default=1, show_default=True, help="Which virtual wearer, on which day.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=LEAST_S),
    default=240.0,
    show_default=True,
    help="Length of the emulated session.",
)
@click.option("--port", default=0, help="Port of the page; 0 takes a free one.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything in this folder instead of a temporary one.",
)
@json_option
def command(
    once: bool, seed: int, seconds: float, port: int, out: Path | None, as_json: bool
) -> None:
    """Run the whole system here: capture on a virtual wearer, sync, browse.

    A virtual wearer looks at a grid of dots (calibration), then at things in a room for some minutes,
    faster than real time; the glasses' loop keeps what was attended to; the snippets go to a companion
    server on this machine; the address of its page is printed and stays until Ctrl-C.
    """
    with kept_in(out) as folder:
        started = time.monotonic()
        outcome = capture(folder / "glasses", seed, seconds)
        server = start(folder / "server", port)
        try:
            report = deliver(folder / "glasses", server)
            result = {
                "session_s": outcome.report.session_ns / 1e9,
                "wall_s": time.monotonic() - started,
                "moments": len(outcome.moments),
                "synced": report.deleted,
                "receipts": report.receipts,
                "listed": listed(server),
                "tags": [", ".join(attended(m)) for m in outcome.moments],
                "joules": outcome.energy.total_j,
                "page": server.login_link(),
            }
            emit(result, as_json=as_json, title="demo")
            if not once:
                wait(server, str(result["page"]))
        finally:
            server.stop()


def capture(folder: Path, seed: int, seconds: float) -> Outcome:
    """Calibrate the virtual wearer, then run the session into `folder`."""
    models = load_models()
    with progress("calibrate", None):
        calibration = calibrated(seed, models["eye"])
    source = virtual_wearer(seed=seed, seconds=seconds)
    with progress("capture", seconds) as bar:
        return run_session(
            source,
            folder,
            models=models,
            calibration=calibration,
            progress=lambda t_ns: bar(t_ns / 1e9),
        )


def deliver(folder: Path, server: Running) -> SyncReport:
    """Pair the glasses with the server and send what was kept; each deletion needs its receipt."""
    identity = Identity.load_or_create(folder / "identity")
    credentials = pair(server.url, server.pairing_code(), identity, name="Virtual glasses")
    with progress("sync", None):
        return Syncer(folder / "spool", credentials, identity).run_once()


def listed(server: Running) -> int:
    """How many moments the owner finds there, asked for as any program of theirs would."""
    people = server.services.people
    session = people.login_by_key(people.new_login_key(), "beheld demo")
    with Client(server.url, session) as client:
        return sum(1 for _ in client.moments())


def attended(moment: dict[str, Any]) -> list[str]:
    """Names of the attended things of a moment record, the likeliest first."""
    return [t["name"] for t in moment["tags"] if t["attended"]][:3] or ["unnamed"]


def wait(server: Running, page: str) -> None:
    """Keep the page up until Ctrl-C."""
    click.echo(f"\nOpen {page}\n(the link works once; Ctrl-C ends the demo)")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        click.echo(f"\nstopping {server.url}")


@contextmanager
def kept_in(out: Path | None) -> Iterator[Path]:
    """The folder a user named, or a temporary one that is removed at the end."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="beheld-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
