"""Where these glasses keep their identity and pairing: `--home`, `$BEHELD_HOME`, else `~/.beheld`."""

from __future__ import annotations

from pathlib import Path

import click

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path.home() / ".beheld",
    envvar="BEHELD_HOME",
    help="Folder of the device's key and pairing. [env: BEHELD_HOME; default: ~/.beheld]",
)
