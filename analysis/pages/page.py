"""One HTML page without any external reference. Every text is escaped here; only `Html` passes as it is."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,40}")


class Html(str):
    """Markup that is already safe."""


def text(value: object) -> Html:
    """Anything but Html, escaped."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def lines(said: str) -> Html:
    """Text of several lines in one cell."""
    return Html("<br>".join(text(line) for line in said.split("\n")))


def joined(parts: Sequence[object]) -> Html:
    """The parts on lines of their own."""
    return Html("\n".join(text(part) for part in parts))


def paragraph(value: object, css: str = "") -> Html:
    """One paragraph; `css` is its class."""
    return Html(f"<p{_css(css)}>{text(value)}</p>")


def bullets(values: Sequence[object], css: str = "") -> Html:
    """A list without numbers; `css` is its class."""
    return Html(f"<ul{_css(css)}>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>")


def anchor(run_id: str) -> str:
    """The identifier of a run's row and panel; names from elsewhere may hold anything.

    A whole hash is longer than IDENTIFIER allows, so no run can be named like another's.
    """
    return f"run-{run_id if IDENTIFIER.fullmatch(run_id) else hashlib.sha256(run_id.encode()).hexdigest()}"


def run_link(run_id: str, said: object = None) -> Html:
    """A link to a run that has its part on the page; `said` in place of its name."""
    return Html(f'<a href="#{anchor(run_id)}">{text(run_id if said is None else said)}</a>')


def table(
    name: str,
    headers: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    texts: Sequence[int] = (0,),
    anchors: Sequence[str] | None = None,
) -> Html:
    """`name` is that of its csv file; `texts`: columns set as prose (left, wrapping), the others are numbers.

    anchors: an identifier for each row, which links lead to.
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{_css('text' if k in texts else '')}>{text(value)}</{tag}>" for k, value in enumerate(values)
        )

    names = [""] * len(rows) if anchors is None else [f' id="{text(one)}"' for one in anchors]
    body = "".join(f"<tr{at}>{cells('td', row)}</tr>" for at, row in zip(names, rows, strict=True))
    head = f"<thead><tr>{cells('th', headers)}</tr></thead>"
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}"><table class="data" '
        f'data-name="{text(name)}">{head}<tbody>{body}</tbody></table></div>'
    )


def image_source(data: bytes, kind: str) -> Html:
    """A picture as a data URL; kind is png or svg+xml."""
    return Html(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")


def picture(
    name: str,
    data: bytes,
    kind: str,
    *,
    alt: str,
    caption: object,
    wide: bool = False,
    marks: Sequence[Html] = (),
    numbers: str = "",
) -> Html:
    """An embedded image; kind is png or svg+xml. marks: places to point at, see `mark`; numbers: its rows as csv."""
    pointed = f'<div class="marks" role="group" aria-label="points of {text(name)}">{"".join(marks)}</div>'
    rows = folded("the numbers drawn", numbers, css="csv") if numbers else ""
    return Html(
        f'<figure id="figure-{text(name)}" data-name="{text(name)}"{_css("wide" if wide else "")}><div class="plot">'
        f'<div class="drawn"><img src="{image_source(data, kind)}" alt="{text(alt)}">{pointed if marks else ""}</div>'
        f"</div><figcaption>{text(caption)}</figcaption>{rows}</figure>"
    )


def mark(left: float, top: float, said: str, runs: Sequence[str], link: str = "") -> Html:
    """A place of a picture, in shares of its width and height; it leads to its runs, or to the identifier `link`."""
    where = f'style="left:{100 * left:.2f}%;top:{100 * top:.2f}%" title="{text(said)}" aria-label="{text(said)}"'
    found = [anchor(run) for run in runs] or ([text(link)] if link else [])
    if not found:
        return Html(f'<span {where} role="img" tabindex="-1"></span>')
    several = f' data-runs="{" ".join(found)}"' if len(found) > 1 else ""
    return Html(f'<a href="#{found[0]}"{several} {where} tabindex="-1"></a>')


def figures(parts: Sequence[Html], wide: Sequence[bool]) -> Html:
    """Two narrow ones beside each other; one that would stand beside nothing has its words there."""
    placed, free = list(parts), None  # the narrow one that nothing stands beside so far
    for k, spread in enumerate([*wide, True]):
        if spread and free is not None:
            placed[free] = Html(f'<div class="alone">{parts[free]}</div>')
        free = None if spread or free is not None else k
    return Html(f'<div class="figures">{joined(placed)}</div>')


def folded(title: object, code: object, css: str = "") -> Html:
    """Text set as it is, shown once its title is clicked."""
    return Html(f"<details><summary>{text(title)}</summary><pre{_css(css)}><code>{text(code)}</code></pre></details>")


def numbered(values: Sequence[object], css: str = "") -> Html:
    """A list with numbers; `css` is its class."""
    return Html(f"<ol{_css(css)}>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ol>")


def section(key: str, heading: str, content: object) -> Html:
    """A part of the page; `contents` links to its `key`."""
    return Html(f'<section id="{text(key)}"><h2>{text(heading)}</h2>\n{text(content)}</section>')


def contents(entries: Sequence[tuple[str, str]]) -> Html:
    """Links to (key, heading)."""
    links = "".join(f'<a href="#{text(key)}">{text(heading)}</a>' for key, heading in entries)
    return Html(f'<nav aria-label="sections">{links}</nav>')


def page(title: str, body: object, study: Mapping[str, Any], *, refresh: int | None = None) -> str:
    """The document. study: what the script knows of the runs (runs.panels); refresh: seconds, of a live page.

    The policy in its head lets a browser load nothing, and run no script but the one that stands here.
    """
    script, style = ((HERE / f"report.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'; "
        f"base-uri 'none'; form-action 'none'"
    )
    # With scripts the page waits with it while somebody reads a panel or types; without, it cannot know.
    again = f'<noscript><meta http-equiv="refresh" content="{refresh}"></noscript>' if refresh else ""
    live = f' data-refresh="{refresh}"' if refresh else ""
    # No "<" in the data: no text of a study can end its script.
    data = json.dumps(study, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">{again}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{text(title)}</title>'
        f"<style>{style}</style></head>\n<body{live}>\n{text(body)}\n"
        f'<script type="application/json" id="study">{data}</script>\n<script>{script}</script></body></html>\n'
    )


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
