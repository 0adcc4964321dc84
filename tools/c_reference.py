"""`python -m tools.c_reference`: measure the C reference and write the figures into its README.

Flash and RAM come from `make size` (Cortex-M4, -Os), coverage from `make coverage` (the tests of
`tests/firmware_bridge`), lines are those that are neither empty nor comment. nanopb is measured with its
source in the folder that `NANOPB_SRC` names (Debian: apt-get source nanopb).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from device.errors import ConfigError

ROOM = Path(__file__).parents[1] / "firmware_bridge" / "c"
README = ROOM / "README.md"
BEGIN, END = "<!-- measured by python -m tools.c_reference -->", "<!-- end -->"
PARTS = ("frame", "link", "glasses")
LIBRARY = ("pb_common", "pb_encode", "pb_decode")
COMPILER = "arm-none-eabi-gcc"


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        table = render(sizes(Path(folder)), coverage(Path(folder)), version())
    README.write_text(replaced(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table)


def sizes(build: Path) -> dict[str, tuple[int, int]]:
    """Part -> (flash, RAM) bytes; `ram` is the one object that holds all state."""
    if shutil.which(COMPILER) is None:
        raise ConfigError(
            f"{COMPILER} is missing; on Debian: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"
        )
    said = make("size", build)
    rows = re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s+\d+\s+\S+\s+\S*arm-([\w.]+)\.o$", said, re.M)
    return {part: (int(text) + int(data), int(data) + int(bss)) for text, data, bss, part in rows}


def coverage(build: Path) -> dict[str, tuple[float, float]]:
    """Part -> (percent of lines, percent of branches taken at least once)."""
    said = make("coverage", build)
    found = re.findall(
        r"File '(?:\S*/)?(\w+)\.c'\nLines executed:([\d.]+)%.*\nBranches.*\nTaken at least once:([\d.]+)%",
        said,
    )
    return {part: (float(lines), float(branches)) for part, lines, branches in found}


def code_lines(part: str) -> int:
    """Lines of a part, its header included, that are neither empty nor only comment."""
    text = "".join((ROOM / f"{part}{end}").read_text(encoding="utf-8") for end in (".c", ".h"))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return sum(bool(line.strip()) for line in text.splitlines())


def version() -> str:
    """The cross compiler's own words."""
    done = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def render(
    size: dict[str, tuple[int, int]], covered: dict[str, tuple[float, float]], compiler: str
) -> str:
    """The table as it stands in the README."""
    rows = [
        "| part | lines | flash, bytes | lines run by the tests | branches taken |",
        "|---|---|---|---|---|",
    ]
    for part in PARTS:
        lines, branches = covered[part]
        rows.append(
            f"| `{part}` | {code_lines(part)} | {size[part][0]} | {lines:.0f} % | {branches:.0f} % |"
        )
    rows.append(f"| messages (`wire.pb.c`, generated) | | {size['wire.pb'][0]} | | |")
    total = sum(size[part][0] for part in (*PARTS, "wire.pb", *LIBRARY) if part in size)
    if LIBRARY[0] in size:
        rows.append(f"| nanopb (`pb_*.c`) | | {sum(size[part][0] for part in LIBRARY)} | | |")
    rows.append(f"| **together** | {sum(map(code_lines, PARTS))} | **{total}** | | |")
    rows += [
        "",
        f"RAM: **{size['ram'][1]} bytes**, all of it one `beheld_glasses`: packet buffers, 32 events and",
        f"8 answers included. Cortex-M4, `-Os`, {compiler}.",
    ]
    return "\n".join(rows)


def replaced(readme: str, table: str) -> str:
    """The README with another table between the marks."""
    head, _, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ConfigError(f"{README}: the marks '{BEGIN}' and '{END}' are missing")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def make(target: str, build: Path) -> str:
    """What make prints. Raises ConfigError with its last words if it fails."""
    done = subprocess.run(
        ["make", "-C", str(ROOM), target, f"BUILD={build}", "CC=gcc", f"PYTHON={sys.executable}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ConfigError(f"make {target}: {(done.stdout + done.stderr).strip()[-600:]}")
    return done.stdout


if __name__ == "__main__":
    main()
