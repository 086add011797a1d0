"""Sweeps whose points the server draws (random, bayes): parameters are configuration keys, the metric a column."""

import json

import pytest

from scaling.config import load
from tests.agents.conftest import TINY, Fleet, sweep_file
from tests.wandb_stub.agents import register
from tests.wandb_stub.points import points

pytestmark = pytest.mark.agent
DRAWN = {
    "train.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
    "model.width": {"min": 2, "max": 4},
    "data.duplication.levels": {"values": [1, 2], "probabilities": [0.25, 0.75]},
    "train.ema": {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
    "seed": {"distribution": "q_uniform", "min": 0, "max": 5, "q": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_an_agent_trains_what_the_server_draws(stub, tmp_path, method):
    """The run's configuration is the point; lr drawn within its bounds, whole numbers whole, the metric a number."""
    fleet = Fleet(stub, tmp_path)
    fixed = {key: {"value": value} for key, value in TINY.items() if key not in DRAWN}
    more = {"method": method, "metric": {"name": "n_memorized", "goal": "minimize"}, "parameters": fixed | DRAWN}
    sweep = register(stub, sweep_file(tmp_path, {}, {}, **more), tmp_path)
    assert sweep.spec["parameters"]["model.width"]["distribution"] == "int_uniform"  # filled in by `wandb sweep`
    try:
        fleet.agent(sweep, "--count", "2").end(400)
        runs = fleet.of(sweep)
        assert [run.state for run in runs] == ["finished", "finished"]
        for run in runs:
            config = load([f"--{key}={run.config[key]}" for key in [*fixed, *DRAWN]])
            assert config.model.width == run.config["model.width"] == run.config["model"]["width"]
            assert config.train.lr == run.config["train.lr"] and 1e-4 <= config.train.lr <= 1e-2
            assert config.seed == run.config["seed"] and type(config.seed) is int
            record = json.loads(run.history[-1]["record"])["evals"]
            assert (record["width"], record["seed"]) == (config.model.width, config.seed)
            assert run.summary[sweep.spec["metric"]["name"]] == record["n_memorized"]
        assert len({run.config["run_id"] for run in runs}) == 2
    finally:
        fleet.close()


def test_whatever_is_drawn_is_a_configuration():
    """200 points of every distribution as an agent writes them."""
    width = {"distribution": "int_uniform", "min": 2, "max": 4}
    spec = {"method": "random", "parameters": DRAWN | {"model.width": width}}
    drawn = points(spec, seed=1)
    configs = [load([f"--{key}={value}" for key, value in next(drawn).items()] + ["--data.duplication.design=spectrum"])
               for _ in range(200)]  # fmt: skip
    assert {config.model.width for config in configs} == {2, 3, 4}
    assert {config.seed for config in configs} == {0, 1, 2, 3, 4, 5}
    assert {config.data.duplication.levels for config in configs} == {1, 2}
    assert min(config.train.lr for config in configs) < 3e-4 and max(config.train.lr for config in configs) > 3e-3
