"""README.md says what the code does: tables, configuration, commands and files it names."""

import re
from pathlib import Path

from scaling import config, schema

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_tables_are_those_of_the_schema():
    assert schema.readme_rows(schema.IDENTITY) in README
    for table in schema.TABLES:
        assert schema.readme_rows(schema.own_columns(table)) in README, (
            f"README.md: table {table} differs from schema.py"
        )


def test_configuration_is_that_of_the_fields():
    assert config.readme_rows() in README, "README.md: the configuration table differs from scaling/fields.py"


def test_named_modules_files_and_targets_exist():
    for module in set(re.findall(r"python -m ([a-z_.]+)", README)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for file in set(re.findall(r"(?:configs|sweeps|docs|tests)/[\w./]+\.(?:yaml|png|py)", README)):
        assert (ROOT / file).exists(), file
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_flags_in_examples_are_configuration_keys():
    known = set(config.keys())
    for key in set(re.findall(r"--((?:data|model|train|evaluate|runtime)\.[a-z_.]+)=", README)):
        assert key in known, key
