"""The report of a hostile study: every text of the tables is text on the page, in attributes and in the figures."""

# ruff: noqa: E501 (a hostile input stands on one line)
import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext

from analysis.pages import page
from analysis.pictures.saving import show_as_written
from analysis.report import main, write_report
from analysis.table import load
from scaling import schema

MARK = "XSSXSS"
HOSTILE = [
    f"<script>alert('{MARK}')</script>",
    f'"><img src=x onerror="alert(\'{MARK}\')">',
    f"'><svg/onload=alert('{MARK}')>",
    f"javascript:alert('{MARK}')",
    f"</code></pre></style></title><b>{MARK}</b>",
    f"{MARK} &lt;script&gt; &#60;b&#62;",
    f"=HYPERLINK(\"http://x/{MARK}\")",
    f"{MARK} $\\frac{{$ $x^2$ \\mathdefault $",
    f"{MARK} ‮gnp.exe\x1b[2J",
    f"<!-- {MARK} --><![CDATA[{MARK}]]>",
]  # fmt: skip
TAGS = {
    "html", "head", "meta", "title", "style", "script", "body", "main", "h1", "h2", "p", "div", "nav", "a", "section",
    "figure", "img", "figcaption", "table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "details", "summary",
    "pre", "code", "strong", "br", "span",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "class", "href", "id", "src", "alt", "type", "http-equiv", "role", "tabindex",
    "title", "style", "aria-label", "data-name", "data-runs",
}  # fmt: skip
SAID = {"alt", "title", "aria-label"}  # attributes that hold words of the study
SCRIPT = Path(page.__file__).with_name("report.js").read_text(encoding="utf-8")
TEXTS = (
    "cell_id", "dataset", "design", "feature_space", "near", "protocol", "conditioning", "code_version", "commit",
    "family",
)  # fmt: skip


class Page(HTMLParser):
    """Every tag with its attributes, and all text, as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.styles, self._inside = "", "", ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self._inside == "style":
            self.styles += data
        elif self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_comment(self, data):
        raise AssertionError(f"comment {data[:80]}")

    def handle_pi(self, data):
        raise AssertionError(f"instruction {data[:80]}")

    def unknown_decl(self, data):
        raise AssertionError(f"declaration {data[:80]}")


def record(run: int, params: int, copies: int, word: str, rng: np.random.Generator) -> dict:
    """One evaluation of a run whose every text is `word`."""
    hits = int(rng.binomial(64, min(0.9, 0.02 * copies + params / 200_000)))
    row = dict.fromkeys(column.name for column in schema.EVALS)
    row |= dict.fromkeys(TEXTS, word) | {
        "run_id": f"{run:03d}{word}", "cell_id": f"{params} {copies} {word}", "seed": run, "images_seen": 640,
        "schema_version": schema.SCHEMA_VERSION, "science_version": 1, "params": params, "width": 8, "n_unique": 64,
        "n_train": 64 * copies, "copies": copies, "duplication_rate": 1 - 1 / copies, "n_generated": 64, "draw": run,
        "n_memorized": hits, "n_null_memorized": 1, "n_basin": 64, "n_basin_recovered": hits, "n_null_basin": 64,
        "n_null_basin_recovered": 1, "holdout_loss": 0.5, "holdout_loss_se": 0.01, "seen_loss": 0.4, "seen_loss_se": 0.01,
        "kid": 0.1, "kid_se": 0.01, "kid_train": 0.0, "ideal_distance": 0.9, "ideal_distance_se": 0.01, "image_size": 8,
        "ideal_distance_null": 1.1, "channels": 1, "n_holdout": 64,
        "config": json.dumps({"seed": run, word: {word: [word, run]}, "data": {"source": word, word: word}}),
    }  # fmt: skip
    strata = [{"copies": copies, "exposures": 10.0 * copies, "n_images": 64, "n_hits": hits, "n_basin": 64,
               "n_basin_recovered": hits, "n_extracted": min(hits, 64)}]  # fmt: skip
    prompts = [{"copies": copies, "context": word, "rounds": 3, "known_share": 0.5, "n_prompts": 20,
                "n_prompt_recovered": hits // 4, "n_null_prompts": 20, "n_null_prompt_recovered": 1}]  # fmt: skip
    levels = [
        {"kind": "loss", "sigma": s, "seen_loss": 0.4, "holdout_loss": 0.5, "ideal_distance": 0.9} for s in (0.1, 1.0)
    ]
    return {"evals": row, "strata": strata, "noise_levels": levels, "prompts": prompts}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of runs with hostile words in every text column, their configuration and arrays."""
    root, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    run = 0
    for params in (2_743, 40_489):
        for copies in (2,):
            word = " ".join(HOSTILE[run::2])
            folder = root / "runs" / f"{run:012x}"
            folder.mkdir(parents=True)
            (folder / schema.RECORDS).write_text(json.dumps(record(run, params, copies, word, rng)) + "\n")
            pixels = rng.integers(0, 256, (2, 4, 1, 8, 8), dtype=np.uint8)
            strip = dict(zip(schema.GALLERY, (*pixels, rng.random(4, np.float32), np.arange(1, 5)), strict=True))
            prompts = (np.array([word] * 4), np.ones((4, 8, 8), bool), *pixels, np.ones(4, bool), np.arange(1, 5))
            np.savez(folder / "samples.npz", **strip, **dict(zip(schema.PROMPT_GALLERY, prompts, strict=True)))
            run += 1
    write_report(load(root / "runs"), root / "out", draws=2)
    return root / "out"


@pytest.fixture(scope="module")
def read(written) -> Page:
    return Page((written / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_has_our_tags_and_attributes_only(read):
    assert {tag for tag, _ in read.tags} <= TAGS
    assert {name for _, attributes in read.tags for name in attributes} <= ATTRIBUTES
    assert not any(
        value and MARK in value for tag, found in read.tags for name, value in found.items() if name not in SAID
    )


@pytest.mark.slow
def test_the_only_script_is_ours_and_the_policy_lets_no_other_run(read):
    """The hash is computed here again; the study's own words stand in a block of data, which ends where it should."""
    data, script = read.scripts
    assert script == SCRIPT
    assert [found for tag, found in read.tags if tag == "script"] == [{"type": "application/json", "id": "study"}, {}]
    assert "<" not in data and any(MARK in run["name"] for run in json.loads(data)["runs"].values())
    (policy,) = (found["content"] for _, found in read.tags if found.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"


def test_the_script_sets_texts_never_markup():
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch(",
                 "XMLHttpRequest", "import(", "http:", "https:"):  # fmt: skip
        assert word not in SCRIPT


@pytest.mark.slow
def test_the_page_fetches_and_runs_nothing(read, written):
    for tag, attributes in read.tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            ours = r"#[a-z0-9_-]+|#run-[0-9a-zA-Z_-]{1,64}|data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]+"
            assert value is None or re.fullmatch(ours, value), (tag, value)
    assert not re.search(r"url\(|@import|expression|https?:", read.styles) and MARK not in read.styles


@pytest.mark.slow
def test_the_hostile_words_stand_on_the_page_as_text(read):
    """Seen as they were written (but for marks that a line cannot show): nothing was cut out, nothing doubly escaped."""
    for word in HOSTILE:
        shown = schema.printable(word) if not word.isprintable() else word
        assert word in read.text or shown in read.text, word
    assert "&lt;script&gt;" in read.text  # the one that was written so


@pytest.mark.slow
def test_the_figures_hold_no_script_and_no_reference(written):
    """An embedded image runs no script, but the same files lie beside the page and may be opened by themselves."""
    files = sorted((written / "figures").glob("*.svg"))
    assert len(files) > 4
    for path in files:
        for element in ElementTree.parse(path).iter():
            tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
            assert tag not in {"script", "foreignObject", "iframe", "a", "animate", "set"}, path
            for name, value in element.attrib.items():
                assert not name.lower().startswith("on"), path
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png;base64,")), (path, value[:60])


@pytest.mark.slow
def test_json_beside_the_page_is_json(written):
    for name in ("fits", "answers", "verdicts"):
        json.loads((written / f"{name}.json").read_text(), parse_constant=lambda token: pytest.fail(token))


def test_dollars_of_a_name_are_dollars_and_powers_of_an_axis_powers():
    """`$\\frac{$` is no formula, so matplotlib raised on it; tick labels of a log axis stay mathematics."""
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 10, 100], [1, 2, 3], label="$\\frac{$ and $x$")
    axes.set(xscale="log", title="$\\badcommand$", xlabel="a $ b $ c")
    axes.xaxis.set_major_formatter(LogFormatterMathtext())
    axes.set_yticks([1, 2], labels=["$\\frac{$", "plain $x^2$"])
    axes.legend()
    with pytest.raises(ValueError, match=r"Unknown symbol|Expected|ParseException|\\badcommand"):
        figure.canvas.draw() if hasattr(figure.canvas, "renderer") else figure.savefig("/dev/null", format="svg")
    show_as_written(figure)
    figure.savefig("/dev/null", format="svg")
    assert [label.get_parse_math() for label in axes.get_yticklabels()] == [False, False]
    assert all(label.get_parse_math() for label in axes.get_xticklabels())


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "@x", "<b>", "a\nb", "‮", "\x1b[2J", "$x$", "x" * 10_000, ""])
def test_odd_column_names_of_a_foreign_table_are_named_not_run(tmp_path, capsys, name):
    frame = pandas.DataFrame({"run_id": ["a", "b"], "images_seen": [0, 64], "param" + name: [1, 2]})
    frame.to_csv(tmp_path / "evals.csv", index=False)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.strip().isprintable() and "params" in error


@pytest.mark.parametrize("config", ["[1]", "5", '{"train": [1]}', '{"data": "x"}', "{", "[" * 5_000, '{"a": NaN}',
                                    '{"a": ' * 9 + "1" + "}" * 9])  # fmt: skip
def test_a_configuration_that_is_none_is_one_line(tmp_path, capsys, config):
    frame = pandas.DataFrame({"run_id": ["a"], "images_seen": [64], "params": [1], "config": [config]})
    frame.to_parquet(tmp_path / "evals.parquet")
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config" in error and not (tmp_path / "out").exists()


def test_only_html_passes_unescaped():
    for word in HOSTILE:
        for made in (page.text(word), page.paragraph(word), page.bullets([word]), page.table(word, [word], [[word]]),
                     page.lines(f"{word}\n{word}"), page.folded(word, word),
                     page.picture("name", b"", "png", alt=word, caption=word, marks=[page.mark(0.5, 0.5, word, [word, word])],
                                  numbers=word), page.section("key", word, word), page.contents([("key", word)]),
                     page.run_link(word), page.numbered([word]), page.page(word, word, {"runs": word})):  # fmt: skip
            found = Page(made)
            assert {tag for tag, _ in found.tags} <= TAGS and {n for _, a in found.tags for n in a} <= ATTRIBUTES
