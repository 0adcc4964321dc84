"""`beheld sync`: send kept snippets to the companion server; `beheld sync status`: where they stand."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from device.identity import Credentials, Identity
from device.journal import SyncRow, sealed, status
from device.sync import Syncer, SyncReport, SyncSettings
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
@json_option
@click.pass_context
def command(
    context: click.Context,
    spool: Path,
    home: Path,
    once: bool,
    keep: bool,
    retry_refused: bool,
    as_json: bool,
) -> None:
    """Send kept snippets to the paired server.

    A snippet is deleted here only after the server's signed receipt was verified.
    """
    context.obj = spool
    if context.invoked_subcommand is not None:
        return
    syncer = Syncer(
        spool,
        Credentials.load(home),
        Identity.load_or_create(home),
        SyncSettings(keep_after_receipt=keep),
    )
    report = _round(syncer, spool, retry_refused)
    while not once:
        due_s = syncer.next_try_s()
        time.sleep(min(60.0, max(1.0, 5.0 if due_s is None else due_s)))
        report = _round(syncer, spool, retry_refused=False)
    emit(asdict(report), as_json=as_json, title="Synced")


@command.command("status")
@click.option(
    "--spool", "own_spool", type=click.Path(path_type=Path, file_okay=False), default=None
)
@json_option
@click.pass_context
def show_status(context: click.Context, own_spool: Path | None, as_json: bool) -> None:
    """Every snippet of the spool: state, reason, and when it is tried next."""
    rows = status(own_spool or context.obj)
    if as_json:
        counts = Counter(row.state.value for row in rows)
        emit({"snippets": [_plain(row) for row in rows], "counts": counts}, as_json=True)
        return
    table = Table("snippet", "state", "tries", "next try", "reason")
    for row in rows:
        plain = _plain(row)
        table.add_row(
            row.snippet_id, row.state, str(row.attempts), plain["next_try"] or "", row.reason
        )
    Console().print(table)


def _round(syncer: Syncer, spool: Path, retry_refused: bool) -> SyncReport:
    folders = [folder for folder in sealed(spool) if folder.is_dir()]
    total = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    sent = 0
    with progress("sync", total or None) as show:

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            show(sent)

        return syncer.run_once(retry_refused=retry_refused, progress=count)


def _plain(row: SyncRow) -> dict[str, str | int | None]:
    waits = row.state == "waiting"
    when = datetime.fromtimestamp(row.next_try_s).astimezone() if waits else None
    return {
        "snippet_id": row.snippet_id,
        "state": row.state.value,
        "reason": row.reason,
        "attempts": row.attempts,
        "next_try": when.isoformat(timespec="seconds") if when else None,
    }
