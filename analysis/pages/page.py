"""One HTML page without any external reference. Every text is escaped here; only `Html` passes as it is."""

import base64
from collections.abc import Sequence
from html import escape

STYLE = """
:root { --ink: #1d2329; --soft: #5b6570; --line: #dfe3e8; --paper: #ffffff; --panel: #f6f7f9; --accent: #0072b2;
  --warn: #a34400; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #a0a9b2; --line: #343b43; --paper: #15181c; --panel: #1e2328;
  --accent: #6cc0f5; --warn: #f0a35c; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .8rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
.facts { color: var(--soft); margin: 0 0 1.6rem; }
.summary { background: var(--panel); border-left: 4px solid var(--accent); border-radius: 0 6px 6px 0;
  padding: 1rem 1.3rem; font-size: 1.05rem; max-width: none; }
.summary p { max-width: 52rem; margin: 0; }
nav { display: flex; flex-wrap: wrap; margin: 1.2rem 0 0; font-size: .92rem; }
nav a { color: var(--accent); text-decoration: none; margin-right: 1.1rem; white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.6rem;
  align-items: start; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; max-width: 46rem; }
figure img { width: 100%; height: auto; display: block; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: .4rem; }
figcaption { color: var(--soft); font-size: .88rem; line-height: 1.45; margin-top: .5rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { background: var(--panel); color: var(--soft); font-weight: 600; vertical-align: bottom; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; min-width: 9rem; }
tr:last-child td { border-bottom: 0; }
.note { color: var(--soft); font-size: .9rem; }
.caveats li { margin-bottom: .35rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
pre { background: var(--panel); border-radius: 6px; padding: .9rem 1rem; overflow-x: auto; font-size: .82rem;
  line-height: 1.45; }
code { font-size: .92em; }
"""


class Html(str):
    """Markup that is already safe."""


def text(value: object) -> Html:
    """Anything but Html, escaped."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def lines(said: str) -> Html:
    """Text of several lines in one cell."""
    return Html("<br>".join(text(line) for line in said.split("\n")))


def joined(parts: Sequence[object]) -> Html:
    return Html("\n".join(text(part) for part in parts))


def paragraph(value: object, css: str = "") -> Html:
    return Html(f"<p{_css(css)}>{text(value)}</p>")


def bullets(values: Sequence[object], css: str = "") -> Html:
    return Html(f"<ul{_css(css)}>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>")


def table(headers: Sequence[object], rows: Sequence[Sequence[object]], *, texts: Sequence[int] = (0,)) -> Html:
    """`texts`: columns set as prose (left, wrapping); the others are numbers."""

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{_css('text' if k in texts else '')}>{text(value)}</{tag}>" for k, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', headers)}</tr></thead>"
    return Html(f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>')


def picture(data: bytes, kind: str, *, alt: str, caption: object, wide: bool = False) -> Html:
    """An embedded image; kind is png or svg+xml."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Html(
        f'<figure{_css("wide" if wide else "")}><img src="{source}" alt="{text(alt)}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def figures(parts: Sequence[Html]) -> Html:
    return Html(f'<div class="figures">{joined(parts)}</div>')


def folded(title: object, code: object) -> Html:
    return Html(f"<details><summary>{text(title)}</summary><pre><code>{text(code)}</code></pre></details>")


def page(title: str, facts: str, summary: object, sections: Sequence[tuple[str, object]]) -> str:
    """The document: sections are (heading, content); empty content is left out."""
    shown = [(heading, content) for heading, content in sections if content]
    links = "".join(f'<a href="#s{k}">{text(heading)}</a>' for k, (heading, _) in enumerate(shown))
    body = "".join(
        f'<section id="s{k}"><h2>{text(heading)}</h2>\n{text(content)}</section>\n'
        for k, (heading, content) in enumerate(shown)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{text(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n<h1>{text(title)}</h1>\n{paragraph(facts, 'facts')}\n"
        f'<div class="summary">{paragraph(summary)}</div>\n<nav>{links}</nav>\n{body}</main></body></html>\n'
    )


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
