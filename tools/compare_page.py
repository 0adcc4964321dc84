"""The page of `beheld compare`: one HTML file, no other files and no network needed to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, LEFT, LANE = 1000, 30, 26
"""Of the timeline's drawing, in its own units: its width, where time begins, height of a lane."""

STYLE = """
:root { --ground: #faf7f2; --raised: #fff; --ink: #221e1a; --soft: #665d54; --line: #e4ddd3;
  --accent: #a3470f;
  --gain: #1c6b3c; --loss: #a3221b; --shade: #ece5db; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ground: #151210; --raised: #1f1b18; --ink: #f1ebe4;
  --soft: #afa59a;
  --line: #37302a; --accent: #f09a5c; --gain: #7ecb98; --loss: #ff9087; --shade: #2a241f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto;
  padding: clamp(1.25rem, 4vw, 3rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font: 600 clamp(1.7rem, 4vw, 2.4rem)/1.15 ui-serif, Palatino, Georgia, "Liberation Serif", serif;
  margin: 0 0 .4rem; }
h2 { font-size: 1.06rem; margin: 0 0 .8rem; }
section { margin-top: 2.6rem; }
p { margin: 0 0 .6rem; max-width: 62ch; }
.quiet, figcaption, caption { color: var(--soft); font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem;
  margin: 1.6rem 0 0; }
.facts div, .card { background: var(--raised); border: 1px solid var(--line); border-radius: .8rem;
  padding: .9rem 1.1rem; }
.facts dt { color: var(--soft); font-size: .9rem; }
.facts dd { margin: 0; font: 600 1.6rem/1.3 ui-serif, Georgia, "Liberation Serif", serif;
  font-variant-numeric: tabular-nums; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .8rem; }
.sides h3 { margin: 0 0 .3rem; font-size: 1rem; }
figure { margin: 0; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; }
svg text { font-size: 14px; fill: var(--soft); }
.same { fill: var(--shade); stroke: var(--soft); }
.gain { fill: var(--gain); }
.loss { fill: none; stroke: var(--loss); stroke-width: 2; stroke-dasharray: 5 3; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
td.n, th.n { text-align: right; }
meter { width: 8rem; accent-color: var(--accent); }
code { font: .9em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.cards { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.card { padding: 0; overflow: hidden; }
.card img { display: block; width: 100%; height: auto; }
.card p { margin: .6rem .9rem; font-size: .95rem; }
.mark { font-weight: 600; } .mark.gained { color: var(--gain); } .mark.lost { color: var(--loss); }
"""


def page(found: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page of a comparison (`tools.compare.result`); thumbnails by moment id, base64 JPEG."""
    a, b = found["a"], found["b"]
    title = f"{a['name']} against {b['name']}"
    title = title[0].upper() + title[1:]
    what = f"{found['recording']}, {_span(found['session_s'])}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="quiet">{_text(what)}. A is the first, B the second; gained and lost are B\'s.</p>',
        f"<p>{_text(_verdict(found))}</p>",
        _facts(found),
        _section("Who ran", '<div class="sides">' + _who("A", a) + _who("B", b) + "</div>"),
        _section("Moments over the recording", _timeline(found)),
        _section("What changed", _changed(found, pictures)),
        _section("What it cost", _costs(found) + _decisions(a, b)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(found: Mapping[str, Any]) -> str:
    moments, gained, lost = found["moments"], len(found["gained"]), len(found["lost"])
    if found["identical"]:
        kept = "Both keep the very same moments, to the byte"
    elif not gained and not lost:
        kept = f"Both keep the same {moments['both']} moments, with other evidence or edges"
    else:
        kept = (
            f"B keeps {moments['both']} of A's {moments['a']} moments, loses {lost}, gains {gained}"
        )
    saved = found["saved_j"]
    share = abs(saved) / found["joules"]["a"] if found["joules"]["a"] else 0.0
    spent = f"saves {saved:.2f} J" if saved >= 0 else f"spends {-saved:.2f} J more"
    return f"{kept}. It {spent} ({share:.1%} of A)."


def _facts(found: Mapping[str, Any]) -> str:
    moments = found["moments"]
    rows = [
        ("Kept by A / by B", f"{moments['a']} / {moments['b']}"),
        ("Kept by both", str(moments["both"])),
        ("Gained / lost", f"{len(found['gained'])} / {len(found['lost'])}"),
        ("Joules of A / of B", f"{found['joules']['a']:.1f} / {found['joules']['b']:.1f}"),
    ]
    cells = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in rows)
    return f'<dl class="facts">{cells}</dl>'


def _who(letter: str, side: Mapping[str, Any]) -> str:
    changed = "".join(
        f"<tr><td><code>{_text(k)}</code></td><td>{_text(v)}</td></tr>"
        for k, v in sorted(side["changed"].items())
    )
    settings = (
        f'<div class="table"><table><tbody>{changed}</tbody></table></div>'
        if changed
        else '<p class="quiet">All settings as shipped.</p>'
    )
    joules = f"{side['joules_low']:.1f} to {side['joules_high']:.1f} J by low and high coefficients"
    on = f"scene camera on for {side['scene_camera_on_s']:.1f} s"
    return (
        f'<div><h3>{letter}: {_text(side["name"])}</h3>{settings}<p class="quiet">{joules}; {on}. '
        f"moments.json <code>{side['sha256'][:16]}</code></p></div>"
    )


def _timeline(found: Mapping[str, Any]) -> str:
    """Two lanes, A above B. What both keep is grey, gained is filled, lost is a dashed outline."""
    scale = (WIDTH - LEFT) / max(found["session_s"], 1e-9)

    def box(moment: Mapping[str, Any], lane: int, kind: str) -> str:
        x, width = LEFT + moment["start_s"] * scale, (moment["end_s"] - moment["start_s"]) * scale
        what = {"same": "kept by both", "gain": "gained by B", "loss": "lost by B"}[kind]
        label = _text(f"{_name(moment)}, {moment['start_s']:.1f} s: {what}")
        return (
            f'<rect class="{kind}" x="{x:.1f}" y="{24 + lane * (LANE + 14)}" rx="3" '
            f'width="{max(width, 3):.1f}" height="{LANE}"><title>{label}</title></rect>'
        )

    boxes = [box(pair["a"], 0, "same") + box(pair["b"], 1, "same") for pair in found["both"]]
    boxes += [box(m, 0, "loss") for m in found["lost"]]
    boxes += [box(m, 1, "gain") for m in found["gained"]]
    height = 24 + 2 * (LANE + 14)
    lanes = "".join(
        f'<text x="0" y="{24 + 18 + k * (LANE + 14)}">{letter}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{24 + LANE + k * (LANE + 14)}" '
        f'y2="{24 + LANE + k * (LANE + 14)}" stroke="var(--line)"/>'
        for k, letter in enumerate("AB")
    )
    ends = f'<text x="{WIDTH}" y="18" text-anchor="end">{_span(found["session_s"])}</text>'
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_text(_verdict(found))}">'
        f"{lanes}{ends}{''.join(boxes)}</svg><figcaption>Grey: kept by both. Filled green: gained by B. "
        "Dashed red: lost by B. Each is listed below.</figcaption></figure>"
    )


def _changed(found: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    cards = [_card(m, "lost", pictures) for m in found["lost"]]
    cards += [_card(m, "gained", pictures) for m in found["gained"]]
    if not cards:
        return "<p>No moment appears and none vanishes.</p>"
    return f'<ul class="cards">{"".join(cards)}</ul>'


def _card(moment: Mapping[str, Any], what: str, pictures: Mapping[str, str]) -> str:
    picture = pictures.get(moment["id"])
    image = (
        f'<img src="data:image/jpeg;base64,{picture}" alt="What the wearer saw: {_text(_name(moment))}">'
        if picture
        else ""
    )
    told = f"{_name(moment)} at {moment['start_s']:.1f} s for {moment['end_s'] - moment['start_s']:.1f} s"
    return (
        f'<li class="card">{image}<p><span class="mark {what}">{what.capitalize()}</span> '
        f"{_text(told)}, {moment['mj']:.0f} mJ</p></li>"
    )


def _costs(found: Mapping[str, Any]) -> str:
    a, b = (found["by_component_j"][side] for side in "ab")
    most = max([*a.values(), *b.values(), 1e-12])
    names = sorted({*a, *b}, key=lambda n: (-max(a.get(n, 0.0), b.get(n, 0.0)), n))
    rows = [(n.replace("_", " "), a.get(n, 0.0), b.get(n, 0.0)) for n in names]
    rows.append(("all", found["joules"]["a"], found["joules"]["b"]))
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th>{_joules(x, most)}{_joules(y, most)}'
        f'<td class="n">{y - x:+.2f}</td></tr>'
        for name, x, y in rows
    )
    return _table(
        "Joules by component, typical coefficients", ("component", "A", "B", "B - A"), body, span=2
    )


def _joules(value: float, most: float) -> str:
    share = max(0.0, min(100.0, 100 * value / most))
    meter = f'<meter min="0" max="100" value="{share:.1f}" aria-hidden="true"></meter>'
    return f'<td>{meter}</td><td class="n">{value:.2f}</td>'


def _decisions(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    names = sorted({*a["decisions"], *b["decisions"]})
    if not names:
        return ""
    body = "".join(
        f'<tr><th scope="row">{_text("reused" if n == "reuse" else f"run at {n} px")}</th>'
        f'<td class="n">{a["decisions"].get(n, 0)}</td><td class="n">{b["decisions"].get(n, 0)}</td></tr>'
        for n in names
    )
    return _table("What the resolution controller did, frames in moments", ("", "A", "B"), body)


def _table(caption: str, heads: Sequence[str], body: str, span: int = 1) -> str:
    first, *rest = heads
    cells = "".join(
        f'<th scope="col" class="n"{f" colspan={span}" if span > 1 and h in "AB" else ""}>{_text(h)}</th>'
        for h in rest
    )
    return (
        f'<div class="table"><table><caption>{_text(caption)}</caption><thead><tr>'
        f'<th scope="col">{_text(first)}</th>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _name(moment: Mapping[str, Any]) -> str:
    return str(moment["thing"] or "something")


def _span(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


def _text(value: Any) -> str:
    return escape(str(value), quote=True)
