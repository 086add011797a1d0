"""README.md and docs/ say what the code does: tables, configuration, commands and files they name."""

import re
from pathlib import Path

import pytest

from scaling import config, schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}


def test_tables_are_those_of_the_schema():
    page = PAGES["docs/tables.md"]
    tables = {"identity": schema.IDENTITY} | {table: schema.own_columns(table) for table in schema.TABLES}
    for name, columns in tables.items():
        assert f"\n{schema.readme_rows(columns)}\n\n" in f"{page}\n", (
            f"docs/tables.md: table {name} differs from schema.py"
        )


def test_configuration_is_that_of_the_fields():
    page = PAGES["docs/configuration.md"]
    assert f"\n{config.readme_rows()}\n" in page, "docs/configuration.md: the table differs from scaling/fields.py"


def test_the_readme_leads_to_both():
    assert {"(docs/tables.md)", "(docs/configuration.md)"} <= set(re.findall(r"\([\w/.]+\)", PAGES["README.md"]))


@pytest.mark.parametrize("page", PAGES)
def test_named_modules_files_and_targets_exist(page):
    text = PAGES[page]
    for module in set(re.findall(r"python -m ((?:scaling|analysis|benchmarks)[a-z_.]*)", text)):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for file in set(re.findall(r"(?:configs|sweeps|docs|tests|examples|benchmarks)/[\w./]+\.(?:yaml|png|py|md)", text)):
        assert (ROOT / file).exists(), file
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_examples_are_configuration_keys(page):
    known = set(config.keys())
    for key in set(re.findall(r"--((?:data|model|train|evaluate|runtime)\.[a-z_.]+)=", PAGES[page])):
        assert key in known, key
