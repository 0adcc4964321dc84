"""`beheld record`: any recording as a Beheld session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from device.errors import StorageError
from device.pipeline import Source, Stage, run
from device.record import Recorder
from device.sources.camera import AlwaysOn
from device.stages.encode import EncodeStage
from tools.open_source import open_source
from tools.output import emit, json_option, progress


@click.command()
@click.argument("path", type=str)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .mcap to write.")
@click.option("--force", is_flag=True, help="Overwrite OUT if it is there.")
@json_option
def command(path: str, out: Path, force: bool, as_json: bool) -> None:
    """Convert the recording PATH to a Beheld session OUT (MCAP), with its scene camera always on.

    PATH is anything that `beheld replay` takes. OUT opens in Foxglove, Rerun and every MCAP reader
    (docs/session-format.md); it appears under its name when it is complete.

    \b
    Examples:
      beheld record ~/recordings/neon-2024-03 --out kitchen.mcap
      beheld record emulator:7 --out wearer.mcap --json
    """
    emit(record(open_source(path), out, force=force), as_json=as_json, title=f"{path} -> {out}")


def record(source: Source, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the session. Raises StorageError; OUT is then as it was, and nothing is left beside it."""
    if out.exists() and not force:
        raise StorageError(f"{out}: is there already; give --force to overwrite it")
    source.camera = AlwaysOn()
    header = source.header
    stages: list[Stage] = [] if header.brings_packets else [EncodeStage()]
    writing = out.with_name(f".{out.name}.writing")
    duration_ns = header.duration_ns
    try:
        with (
            Recorder(writing, header) as recorder,
            progress("record", None if duration_ns is None else duration_ns / 1e9) as bar,
        ):
            report = run(source, stages, [recorder], progress=lambda t_ns: bar(t_ns / 1e9))
        writing.replace(out)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        writing.unlink(missing_ok=True)
    return {
        "messages": recorder.messages,
        "bytes": recorder.size,
        "session_s": report.session_ns / 1e9,
        "source": header.source,
        "dropped": sum(report.late.values()),
        "notes": list(header.notes),
    }
