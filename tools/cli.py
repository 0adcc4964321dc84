"""`beheld <verb>`: one table of verbs, each in its own file, imported when it is called.

A verb is a click command named `command` in its module. What a user can mend (`BeheldError`) ends as
one plain line on stderr and exit code 2; with `--json` the last line of stdout is one JSON document.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from device.errors import BeheldError

# Our matrices are small: BLAS threads spin longer than they work, and on a busy machine a fit that
# takes four seconds alone takes two minutes. Set before numpy is imported by a verb.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

VERBS = {
    "bench": ("tools.bench.cli", "Measure a part against its peers, on data it never saw."),
    "calibrate": ("tools.calibrate", "Fit the wearer's calibration; say how good it is."),
    "compare": ("tools.compare", "One recording, two variants: moments gained and lost, joules."),
    "demo": ("tools.demo", "Run the whole system on the emulator: capture, sync, browse."),
    "doctor": ("tools.doctor", "Say whether these glasses may start, and what to do if not."),
    "emulate": ("tools.emulate", "See the virtual wearer: its scene, true gaze and eyes."),
    "emotion": ("tools.emotion", "What these glasses hold about feelings; erase all of it."),
    "energy": ("tools.energy", "Joules of a wearing hour, by component, against always-on."),
    "enroll": ("tools.enroll", "Learn the wearer's neutral eyes; undo it."),
    "models": ("tools.models", "List the networks that ship: version, size, figures, licence."),
    "pair": ("tools.pair", "Make these glasses known to a companion server."),
    "reanalyse": ("tools.reanalyse", "A folder of recordings again, in parallel; one table."),
    "record": ("tools.record", "Convert any recording to a Beheld session (MCAP)."),
    "train": ("tools.train", "Train a part on recordings of your own."),
    "replay": ("tools.replay", "Replay a recording through the glasses' own loop."),
    "run": ("tools.run", "Run the glasses: cameras, microcontroller, the loop."),
    "seal": ("tools.seal", "Sealing at rest: whom to, a key of one's own, opening."),
    "serve": ("tools.serve", "Run the companion server."),
    "server": ("tools.server_verbs", "Care for a server's data: check, back up, export, erase."),
    "sync": ("tools.sync", "Send kept snippets to the companion server."),
}
"""verb -> (module, one line for `beheld --help`)."""


class LazyGroup(click.Group):
    """A click group that imports a verb only when it is asked for, so each extra stands alone."""

    def __init__(self, *args: Any, verbs: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        try:
            module = importlib.import_module(self._verbs[cmd_name][0])
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"'{cmd_name}' needs the package '{error.name}', which is not installed; "
                "see the extras in the README (pip install 'beheld[device,server]')"
            ) from error
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in sorted(self._verbs.items())])


@click.command(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="beheld")
def beheld() -> None:
    """Beheld: open smart-eyewear software.

    Keeps what the wearer truly looked at, with why it was kept, how it felt and what it cost.
    """


def main() -> None:
    """Entry point of the console script."""
    try:
        beheld.main(standalone_mode=False)
    except BeheldError as error:
        click.echo(f"beheld: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("beheld: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
