"""`beheld sync`: send kept snippets to the companion server; `beheld sync status`: where they stand."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from device import feedback
from device.errors import BeheldError
from device.identity import Credentials, Identity
from device.journal import NEXT_STEP, plain_row, snippet_folders, status
from device.model import WEIGHTS
from device.sync import Syncer, SyncReport, SyncSettings
from device.sync_rules import SyncRules, watch
from tools.home import home_option
from tools.output import emit, json_option, progress

spool_option = click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/spool"),
    show_default=True,
    help="Folder of kept snippets.",
)


@click.group(invoke_without_command=True)
@spool_option
@home_option
@click.option("--once", is_flag=True, help="One round, then end; else go on as snippets come.")
@click.option("--keep", is_flag=True, help="Leave receipted snippets in the spool.")
@click.option("--retry-refused", is_flag=True, help="Try refused snippets again as well.")
@click.option("--metered", is_flag=True, help="Send over a metered network as well.")
@click.option("--only-wifi", is_flag=True, help="Send over Wi-Fi or cable only.")
@click.option("--only-charging", is_flag=True, help="Send only while charging.")
@click.option(
    "--least-battery",
    type=click.FloatRange(0, 1),
    default=SyncRules().least_battery,
    show_default=True,
    help="Do not send below this charge, unless charging.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    spool: Path,
    home: Path,
    once: bool,
    keep: bool,
    retry_refused: bool,
    metered: bool,
    only_wifi: bool,
    only_charging: bool,
    least_battery: float,
    as_json: bool,
) -> None:
    """Send kept snippets to the paired server: first what lets each be seen, then their videos.

    A snippet is deleted here only after the server's signed receipt was verified.
    """
    context.obj = spool
    if context.invoked_subcommand is not None:
        return
    credentials = Credentials.load(home)
    rules = SyncRules(
        metered=metered,
        only_wifi=only_wifi,
        only_charging=only_charging,
        least_battery=least_battery,
    )
    may_send = (lambda: None) if on_this_machine(credentials.server_url) else watch(rules)
    syncer = Syncer(
        spool,
        credentials,
        Identity.load_or_create(home),
        SyncSettings(keep_after_receipt=keep),
        may_send=may_send,
    )
    report = _round(syncer, spool, retry_refused)
    _bring_home(home, may_send)
    while not once:
        due_s = syncer.next_try_s()
        time.sleep(min(60.0, max(1.0, 5.0 if due_s is None else due_s)))
        report = _round(syncer, spool, retry_refused=False)
        _bring_home(home, may_send)
    emit(asdict(report), as_json=as_json, title="Synced")


@command.command("status")
@click.option(
    "--spool", "own_spool", type=click.Path(path_type=Path, file_okay=False), default=None
)
@json_option
@click.pass_context
def show_status(context: click.Context, own_spool: Path | None, as_json: bool) -> None:
    """Every snippet of the spool: state, reason, next step, and when it is tried next."""
    rows = status(own_spool or context.obj)
    if as_json:
        counts = Counter(row.state.value for row in rows)
        emit({"snippets": [plain_row(row) for row in rows], "counts": counts}, as_json=True)
        return
    table = Table("snippet", "state", "tries", "next step", "next try", "reason")
    for row in rows:
        waits = row.state == "waiting"
        when = f"{datetime.fromtimestamp(row.next_try_s):%d %b %H:%M:%S}" if waits else ""
        step = NEXT_STEP[row.state]
        table.add_row(row.snippet_id, row.state, str(row.attempts), step, when, row.reason)
    Console().print(table)


def on_this_machine(url: str) -> bool:
    """The server is reached without any network."""
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _round(syncer: Syncer, spool: Path, retry_refused: bool) -> SyncReport:
    folders = [folder for folder in snippet_folders(spool) if folder.is_dir()]
    total = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    sent = 0
    with progress("sync", total or None) as show:

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            show(sent)

        return syncer.run_once(retry_refused=retry_refused, progress=count)


def _bring_home(home: Path, may_send: Callable[[], object]) -> None:
    """The wearer's corrections, once the snippets are away; a server that fails to tell them is no failure
    of the sync."""
    if may_send() is not None:
        return
    try:
        got = feedback.fetch(home, Credentials.load(home))
        if got or feedback.read(home):
            network = WEIGHTS / "eye_emotion.onnx"
            sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
            feedback.learn(home, Identity.load_or_create(home).device_id, sha256)
    except BeheldError as error:
        click.echo(f"corrections: {error}", err=True)
