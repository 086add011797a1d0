"""The configuration of one run as it is read: defaults < YAML files in order < flags. No torch.

The same flags come from a W&B agent's ${args}. The identities made from a configuration (identity.py) have their names
here too.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings
from jsonargparse.typing import register_type
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from scaling.field_types import exact_fraction
from scaling.fields import ExperimentConfig
from scaling.identity import SCIENCE_VERSION as SCIENCE_VERSION
from scaling.identity import TRAINING_VERSION as TRAINING_VERSION
from scaling.identity import canonical as canonical
from scaling.identity import cell_id as cell_id
from scaling.identity import resolve as resolve
from scaling.identity import run_id as run_id
from scaling.identity import train_id as train_id
from scaling.limits import Refused, parse_yaml, printable, read_yaml

set_parsing_settings(docstring_parse_attribute_docstrings=True)
register_type(Fraction, str, exact_fraction)

TEXT_CHARACTERS = 4_096  # of a path or a name: as the system's own
SHORT = 1_000  # characters that cannot nest deeply enough to matter


class ConfigError(ValueError):
    """One line for the user: the key, the value, what is allowed."""

    def __init__(self, message: str):
        super().__init__(printable(message))


PURPOSE = """Train and measure one small diffusion model. Example:
python -m scaling.train --config configs/digits.yaml --model.width=16 --data.duplication.copies=8"""


def load(argv: Sequence[str] | None, program: str = "scaling.train") -> ExperimentConfig:
    """The resolved configuration that these flags describe; argv None = the command line's.

    Raises ConfigError (one line) on anything that is no configuration; --help and --print_config end the program.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    config = build(given([flag for flag in argv if flag != "--print_config"], program))
    if "--print_config" in argv:
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
        raise SystemExit(0)
    return config


@cache
def _parser(program: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=program, description=PURPOSE, allow_abbrev=False, exit_on_error=False, print_config=None
    )
    parser.add_argument("--config", action="config", help="YAML file; repeatable, later ones win")
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and exit")
    parser.add_class_arguments(ExperimentConfig, None)
    return parser


def _files_first(flags: list[str]) -> list[str]:
    files: list[str] = []
    others: list[str] = []
    rest = iter(flags)
    for flag in rest:
        if flag == "--config":
            files += [flag, *[value for value in [next(rest, None)] if value is not None]]
        else:
            (files if flag.startswith("--config=") else others).append(flag)
    return files + others


def given(argv: Sequence[str], program: str = "scaling.train") -> dict[str, Any]:
    """What YAML files and flags say, as a nested mapping without the defaults; raises ConfigError."""
    flags = _files_first([re.sub(r"=None$", "=null", flag) for flag in argv])  # W&B writes None where YAML says null
    _refuse_traps(flags)
    try:
        tree = _parser(program).parse_args(flags, defaults=False).as_dict()
    except ArgumentError as error:
        raise ConfigError(_line_for(str(error))) from None
    except (ValueError, RecursionError, OSError) as error:  # jsonargparse lets some of PyYAML's own pass
        raise ConfigError(f"{_cut(' '.join(flags))}: not read ({' '.join(str(error).split())})") from None
    tree.pop("config", None)
    return tree


def _refuse_traps(flags: Sequence[str]) -> None:
    """Raises ConfigError on what jsonargparse would expand, follow or wait for without end: it reads a file where a
    section stands (--data=FILE), and its fast YAML reader knows no limit of depth or aliases."""
    rest = iter(flags)
    for flag in rest:
        key, equals, value = flag.removeprefix("--").partition("=")
        try:
            if key == "config":
                _refuse_other_files("", _file_or_text(value if equals else next(rest, "")))
            elif key in sections():
                _refuse_other_files(f"{key}.", {key: parse_yaml(value if equals else next(rest, ""))})
            elif len(value) > SHORT or "!" in value or re.search(r"&\S.*\*\S", value, re.DOTALL):
                parse_yaml(value)
        except Refused as error:
            raise ConfigError(f"{key}={_cut(value)}: {error}") from None


def _cut(value: object) -> str:
    """A value in an error, short enough to leave room for what is wrong with it."""
    try:
        return printable(str(value), 200)
    except RecursionError:
        return f"a {type(value).__name__} nested too deeply"


def _file_or_text(value: str) -> object:
    try:
        return read_yaml(Path(value))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, Refused):
            raise
        return parse_yaml(value)  # jsonargparse takes YAML itself, too; what is neither it names


def _refuse_other_files(place: str, tree: object) -> None:
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        key = f"{place}{name}" if not place.startswith(f"{name}.") else name
        if key in sections():
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(f"{key}={_cut(value)}: a section, so give its keys, as {key}: {{…}}")
            _refuse_other_files(f"{key}.", value)


def build(tree: Mapping[str, object]) -> ExperimentConfig:
    """The resolved configuration of a nested mapping; raises ConfigError naming key, value and what is allowed."""
    try:
        _refuse_odd_texts(tree)
        return resolve(ExperimentConfig.model_validate(tree))
    except ConfigError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        key = max((known for known in keys() if f"{key}.".startswith(f"{known}.")), key=len, default=key)
        if first["type"] == "extra_forbidden":
            raise ConfigError(unknown_key(".".join(str(part) for part in first["loc"]))) from None
        message = first["msg"].removeprefix("Value error, ")
        about_key = first["type"] == "value_error" and re.match(r"[a-z_.]+=", message)
        raise ConfigError(message if about_key else f"{key}={_cut(first['input'])}: {message}") from None
    except ValueError as error:  # no rung for model.params
        raise ConfigError(str(error)) from None


def _refuse_odd_texts(tree: object, key: str = "") -> None:
    """A name with a NUL, a line break or a bidi mark in it stands for another one in every file and on every screen."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            _refuse_odd_texts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(tree, str):
        if len(tree) > TEXT_CHARACTERS:
            raise ConfigError(f"{key}: {len(tree):,} characters; a path or name has up to {TEXT_CHARACTERS:,}")
        if printable(tree, TEXT_CHARACTERS) != tree:
            raise ConfigError(f"{key}={_cut(tree)}: control characters or surrogates; rename it")


def put(tree: Mapping[str, object], key: str, value: object) -> dict[str, Any]:
    """The nested mapping with the dotted key set; raises ConfigError on an unknown key."""
    if key not in set(keys()) | set(sections()):
        raise ConfigError(unknown_key(key))
    return _put_inside(tree, key, value)


def _put_inside(tree: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    name, _, rest = key.partition(".")
    return {**tree, name: _put_inside(tree.get(name) or {}, rest, value) if rest else value}


def _walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo, bool]]:
    """(dotted name, field, whether it is a section) of every field."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        yield prefix + name, field, nested
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")


def keys() -> list[str]:
    """The dotted name of every configuration field."""
    return [key for key, _, nested in _walk(ExperimentConfig) if not nested]


def sections() -> list[str]:
    """The dotted name of every section, outer ones first."""
    return [key for key, _, nested in _walk(ExperimentConfig) if nested]


def readme_rows() -> str:
    """Markdown table rows of every configuration field, as docs/configuration.md shows them."""
    tree = build({}).model_dump(mode="json")
    rows = []
    for key, field, nested in _walk(ExperimentConfig):
        if not nested:
            default = tree
            for name in key.split("."):
                default = default[name]
            rows.append(f"| `{key}` | `{json.dumps(default)}` | {' '.join((field.description or '').split())} |")
    return "\n".join(rows)


def unknown_key(key: str) -> str:
    """One line for a key that does not exist, with the nearest that does."""
    known = keys() + sections()
    near = difflib.get_close_matches(key, known, 1, 0.6)
    near = near or [full for full in known if full.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"{key}: no such configuration key; " + (
        f"did you mean {near[0]}?" if near else "docs/configuration.md has all"
    )


def _line_for(message: str) -> str:
    """jsonargparse's many-line message as one line that names key, value and what is allowed."""
    if found := re.match(r"Group '(.*)' does not accept option '(.*)'", message):
        return unknown_key(f"{found[1]}.{found[2]}")
    if found := re.match(r"unrecognized arguments: (\S+)", message):
        flag = found[1].partition("=")[0]
        return unknown_key(flag.removeprefix("--")) if flag.startswith("--") else f"{flag}: flags are --KEY=VALUE"
    found = re.match(r'Parser key "([\w.]+)":', message)
    value = re.findall(r"(?:Got|Given) value: (.*)", message)
    if found and value and found[1] in keys():
        try:
            build(put({}, found[1], parse_yaml(value[-1])))
        except (ConfigError, Refused) as error:
            return " ".join(str(error).split())
        wanted = "whole numbers without exponent, lists as [a,b]"
        return f"{found[1]}={_cut(value[-1])}: not written as its type wants ({wanted})"
    return " ".join(message.split())
