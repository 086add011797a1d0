"""Reading, refusing and identifying configurations."""

import json
import subprocess
import sys
import time
from fractions import Fraction

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from scaling import config as configuration
from scaling.config import ConfigError, build, keys, load, put
from scaling.fields import ExperimentConfig
from scaling.identity import canonical, cell_id, run_id, train_id


def refused(*flags: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(list(flags))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_then_files_in_order_then_flags(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("seed: 1\nmodel: {width: 4}\ntrain: {lr: 1e-4}\n")
    second.write_text("model: {width: 8}\n")
    config = load(["--config", str(first), "--config", str(second), "--seed=3"])
    assert (config.seed, config.model.width, config.train.lr, config.data.holdout) == (3, 8, 1e-4, 256)
    assert load(["--model.width=3", "--config", str(second)]).model.width == 3  # wherever the flag stands


def test_a_wandb_agents_flags_mean_the_same():
    """${args} writes None, True, lists and nested mappings as Python prints them."""
    plain = load(["--data.noise_draws=null", "--model.width=8", "--model.attention=true", "--evaluate.at=[64,128]"])
    agent = load(["--data.noise_draws=None", "--model={'width': 8, 'attention': True}", "--evaluate.at=[64, 128]"])
    assert run_id(plain) == run_id(agent)


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--data.n_uniqe=3", ["data.n_uniqe", "data.n_unique"]),
        ("--n_unique=3", ["n_unique", "data.n_unique"]),
        ("--data.duplication.desgn=none", ["data.duplication.design"]),
        ("--data.n_unique=1.5", ["data.n_unique=1.5", "integer"]),
        ("--data.n_unique=1e3", ["data.n_unique=1e3", "integer"]),
        ("--data.n_unique=1", ["data.n_unique=1", "greater than or equal to 2"]),
        ("--data.conditioning=foo", ["data.conditioning=foo", "'unique'"]),
        ("--train.lr=nan", ["train.lr=nan"]),
        ("--train.lr=-1", ["train.lr=-1", "greater than 0"]),
        ("--model.params=900", ["model.params=900", "2,743", "mlp"]),
        ("--model.width=1", ["model.width=1", "2 or more"]),
        ("--data.image_size=7", ["data.image_size=7", "use 6 or 8"]),
        ("--data.duplication.fraction=abc", ["data.duplication.fraction=abc"]),
        ("--data.duplication.fraction=3", ["data.duplication.fraction=3", "less than or equal to 1"]),
        ("--data.duplication.copies=3", ["data.duplication.copies=3", "design none"]),
        ("--data.fold.index=5", ["data.fold.index=5", "0 to 1"]),
        ("--evaluate.measures=[loss,foo]", ["evaluate.measures", "foo"]),
        ("--runtime.out=s3://bucket/runs", ["runtime.out=s3://bucket/runs", "file locks", "copy finished runs"]),
        ("--config=/nonexistent.yaml", ["/nonexistent.yaml"]),
        ("width", ["--KEY=VALUE"]),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(flag, parts):
    message = refused(flag)
    assert all(part in message for part in parts), message


def test_fields_that_contradict_each_other_are_refused():
    assert "give one of both" in refused("--model.width=8", "--model.params=50000")
    assert "give one of both" in refused("--train.images=8", "--train.epochs=5")
    assert "not data.n_unique" in refused("--data.duplication.fix=n_train", "--data.n_unique=8")
    uniform = ("--data.duplication.design=uniform", "--data.duplication.fraction=1/4")
    assert "needs copies" in refused(*uniform)
    assert "rate" in refused(*uniform, "--data.duplication.copies=3", "--data.duplication.rate=0.5")


def test_a_refusal_takes_less_than_a_second_and_no_torch():
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "scaling.train", "--data.n_uniqe=3"], capture_output=True, text=True)
    assert done.returncode == 2 and time.monotonic() - started < 5  # the bound is 1 s on a quiet machine
    assert done.stderr == "scaling.train: data.n_uniqe: no such configuration key; did you mean data.n_unique?\n"


def test_run_id_is_a_hash_of_the_canonical_form():
    """By hand: SHA-256 of sorted compact JSON plus SCIENCE_VERSION, 12 hex digits."""
    import hashlib

    config = load([])
    tree = json.loads(canonical(config))
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    assert text == canonical(config) and "runtime" not in tree
    expected = hashlib.sha256(f"{text}{configuration.SCIENCE_VERSION}".encode()).hexdigest()[:12]
    assert run_id(config) == expected


def test_canonical_values():
    """Coerced types, fractions as reduced p/q, params as the width of its rung, nulls kept."""
    tree = json.loads(canonical(load(["--model.params=40489", "--model.prune=0.50", "--train.lr=1"])))
    assert tree["model"] == {**tree["model"], "params": None, "width": 8, "prune": "1/2"}
    assert tree["train"]["lr"] == 1.0 and tree["data"]["noise_draws"] is None


def test_what_is_written_differently_has_one_id():
    assert run_id(load(["--model.params=40489"])) == run_id(load(["--model.width=8"]))
    assert (
        run_id(load(["--model.prune=0.5"]))
        == run_id(load(["--model.prune=1/2"]))
        == run_id(load(["--model.prune=2/4"]))
    )
    assert run_id(load(["--runtime.out=elsewhere", "--runtime.threads=2"])) == run_id(load([]))


def test_ids_depend_on_what_they_say():
    base = load([])
    seed, fold = load(["--seed=1"]), load(["--data.fold.index=0"])
    assert len({run_id(c) for c in (base, seed, fold)}) == 3 and len({cell_id(c) for c in (base, seed, fold)}) == 1
    measured, pruned = load(["--evaluate.samples=7"]), load(["--model.prune=1/2"])
    assert len({run_id(c) for c in (base, measured, pruned)}) == 3
    assert len({train_id(c) for c in (base, measured, pruned)}) == 1
    assert train_id(load(["--train.lr=1e-3"])) != train_id(base)


@examples(
    st.sampled_from(keys()),
    st.one_of(
        st.none(),
        st.integers(-3, 70),
        st.floats(),
        st.text(max_size=5),
        st.booleans(),
        st.lists(st.integers(), max_size=2),
    ),
)
def test_any_value_is_accepted_or_refused_in_one_line(key, value):
    try:
        config = build(put({}, key, value))
    except ConfigError as error:
        assert "\n" not in str(error) or "\n" in str(value)
    else:
        again = build(json.loads(canonical(config)))
        assert run_id(again) == run_id(config)


def test_every_field_is_documented():
    for key in keys():
        assert key in subprocess_help(), key


def subprocess_help(cache: list = []) -> str:  # noqa: B006 - one subprocess for all keys
    if not cache:
        done = subprocess.run([sys.executable, "-m", "scaling.train", "--help-all"], capture_output=True, text=True)
        cache.append(done.stdout)
    return cache[0]


def test_print_config_is_the_resolved_configuration():
    done = subprocess.run(
        [sys.executable, "-m", "scaling.train", "--model.params=40489", "--print_config"],
        capture_output=True,
        text=True,
    )
    import yaml

    assert done.returncode == 0
    assert run_id(build(yaml.safe_load(done.stdout))) == run_id(load(["--model.width=8"]))


def test_fractions_are_decimal_text():
    config = load(
        ["--data.duplication.design=uniform", "--data.duplication.fraction=0.1", "--data.duplication.copies=2"]
    )
    assert config.data.duplication.fraction == Fraction(1, 10)
    assert isinstance(config, ExperimentConfig)
