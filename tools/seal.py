"""`beheld seal`: whom these glasses seal to, a key of their own, and opening what was sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from device.errors import InputError
from device.identity import PAIRING_FILE, Credentials
from device.journal import snippet_folders
from device.sealing import (
    EXTENSION,
    LOCKED_FILE,
    make_local_key,
    read_identity,
    recipient_of,
    unseal,
)
from device.spool import MANIFEST, atomic_write
from device.unseal import open_snippet
from tools.home import home_option
from tools.output import emit, json_option, progress


@click.group()
def command() -> None:
    """What the glasses keep is sealed: they can write it but not read it.

    Paired glasses seal to their server, which opens what arrives. Glasses that are not paired seal to a key
    of their own (`beheld seal key`), which a passphrase unlocks. The files are in age format: the program
    `age` opens them as well.
    """


@command.command("status")
@home_option
@json_option
def show_status(home: Path, as_json: bool) -> None:
    """Whom these glasses seal to."""
    recipient = recipient_of(home)
    whose: str | None = None
    if recipient is not None:
        paired = Credentials.load(home) if (home / PAIRING_FILE).exists() else None
        by_server = paired is not None and paired.seal_recipient == recipient
        whose = f"the server {paired.server_name}" if paired and by_server else "their own key"
    result = {"sealed": recipient is not None, "to": whose, "recipient": recipient}
    emit(result, as_json=as_json, title="Sealed at rest" if recipient else "Not sealed")
    if recipient is None and not as_json:
        click.echo(
            "What 'beheld run' keeps lies in clear. Pair with a server, or 'beheld seal key'."
        )


@command.command("key")
@home_option
@json_option
def make_key(home: Path, as_json: bool) -> None:
    """Make a key of these glasses' own, unlocked by a passphrase.

    The passphrase is needed to read, never to write. Nobody can replace it: without it what was sealed
    stays closed.
    """
    passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)
    recipient = make_local_key(home, passphrase)
    result = {"recipient": recipient, "key": str(home / LOCKED_FILE)}
    emit(result, as_json=as_json, title="Sealed from now on")


@command.command("open")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for what is opened."
)
@click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False),
    help="age identity file, e.g. the server's seal.key. [default: the glasses' own key]",
)
@home_option
@json_option
def open_sealed(path: Path, out: Path, identity: Path | None, home: Path, as_json: bool) -> None:
    """Open PATH: a spool, one snippet of it, or a single .age file. PATH stays as it is.

    What comes out of a spool is a spool again, in clear, which `beheld sync --spool OUT` sends.

    \b
    Examples:
      beheld seal open ~/beheld/spool --out plain/
      beheld seal open ~/beheld/spool --out plain/ --identity ~/beheld-server/seal.key
    """
    key = read_identity(
        identity or home / LOCKED_FILE, lambda: str(click.prompt("Passphrase", hide_input=True))
    )
    result: dict[str, Any] = {"opened": 0, "already_plain": 0, "out": str(out)}
    if path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        atomic_write(
            out / path.name.removesuffix(EXTENSION), unseal(path.read_bytes(), key, str(path))
        )
        result["opened"] = 1
        emit(result, as_json=as_json, title="Opened")
        return
    folders = [path] if (path / MANIFEST).is_file() else snippet_folders(path)
    if not folders:
        raise InputError(f"{path}: holds no snippets")
    with progress("open", len(folders)) as show:
        for number, folder in enumerate(folders, start=1):
            if any(folder.glob(f"*{EXTENSION}")):
                open_snippet(folder, out, key)
                result["opened"] += 1
            else:
                result["already_plain"] += 1
            show(number)
    emit(result, as_json=as_json, title="Opened")
