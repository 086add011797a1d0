# %% [markdown]
# # Somebody else's table
#
# `analysis` reads any csv or parquet file, whatever made it. Here two small ones that stand for another group's
# runs: their column names are not ours, and what is true of them is planted (`tests/test_examples.py` makes them
# again), so that each answer can be judged. Every cell runs a command; `python examples/somebody_elses_table.py`
# runs all.
#
# - `data/runs.csv`: 30 runs (5 sizes, 3 amounts of images, 2 seeds), each with a validation loss and how many of
#   200 attempts regenerated a training image of 1, 4 or 16 copies. The three rows of a run share its luck.
# - `data/ladder.csv`: 8 sizes, 5 seeds, with frozen and with fresh noise.

# %%
import json
import shlex
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

DATA = Path(__file__).parent / "data"
RUNS, LADDER = DATA / "runs.csv", DATA / "ladder.csv"


def answer(command: str) -> dict:
    """What `python -m COMMAND` answers, as a mapping; raises RuntimeError where it refuses (it says why)."""
    module, *words = shlex.split(command)
    with redirect_stdout(StringIO()) as out:
        code = import_module(module).main(words)
    if code:
        raise RuntimeError(f"{module} ended with {code}")
    return json.loads(out.getvalue())


def show(params: dict) -> None:
    for name, found in params.items():
        print(f"  {name:10} {found['value']:8.4g}   95 % {found['lo']:.4g} to {found['hi']:.4g}")


# %% [markdown]
# ## How does the loss fall with size and data?
#
# The loss is a run's own, so one row a run: those of one copy. The interval of an exponent is a profile: an end
# that the data do not limit would be `null`, and `status` would say `not_identifiable`. Planted: E .3, A 12, B 40,
# alpha .35, beta .3.

# %%
loss = answer(
    f"analysis.fit {RUNS} --law chinchilla --x N=weights --x D=images --y val_loss --loss lsq_log --where copies==1"
)
print(loss["formula"], "status", loss["status"])
show(loss["params"])

# %% [markdown]
# ## Is that the right law?
#
# Not by how well it fits what it was fitted to: each law is fitted without the largest levels, then without each
# level in turn, and scored on what was left out. `chosen` is null where the difference is within chance; `why` says
# which it is.

# %%
laws = answer(
    f"analysis.compare {RUNS} --law chinchilla --law power --law log_linear@N,D "
    f"--x N=weights --x D=images --x x=weights --y val_loss --loss lsq_log --where copies==1"
)
for row in laws["rows"]:
    print(f"  {row['law']:16} error of ln loss on held-out rows {row['extrapolation']['rmse_log']:.3f}")
print(laws["why"])

# %% [markdown]
# ## What do size and copies do to memorization?
#
# Counts go in as counts (`--trials`), never as shares, and `--cluster run` says whose rows share their luck:
# without it 90 rows would count as 90 witnesses, which they are not. The row to predict, 4 copies at a size and
# amount nobody trained, gets the interval of a new run. Planted: logit f = -14 + .8 ln weights + ln copies, luck of
# a run .15.

# %%
with TemporaryDirectory() as folder:
    unseen = Path(folder) / "unseen.csv"
    unseen.write_text("weights,copies\n1280000,4\n")
    rate = answer(
        f"analysis.fit {RUNS} --law logistic --x weights=weights --x copies=copies --y regenerated --trials tried "
        f"--cluster run --bootstrap 200 --predict {unseen}"
    )
show(rate["params"])
predicted = rate["predictions"][0]
interval = f"{predicted['lo']:.2f} to {predicted['hi']:.2f}"
print(f"  at 1.28 M weights and 4 copies: {predicted['value']:.2f} (a new run: {interval})")

# %% [markdown]
# ## Which runs are at the boundary, and where would mine be?
#
# Both columns are minimised. `membership` is the share of redrawn studies in which a row is on the front: a raw
# front says nothing of it. A model from elsewhere (here one of 640,000 weights on 50,000 images) gets its
# probability of being dominated, by which rows, and what would have to change.

# %%
with TemporaryDirectory() as folder:
    mine = Path(folder) / "mine.csv"
    mine.write_text("weights,images,val_loss,regenerated,tried\n640000,50000,1.97,80,200\n")
    boundary = answer(
        f"analysis.pareto {RUNS} --where copies==16 --rate f=regenerated/tried --minimize f --minimize val_loss "
        f"--cluster run --draws 300 --place {mine} --design weights,images"
    )
placed = boundary["placed"][0]
print(f"  on the front: {len(boundary['front'])} of {boundary['n']}, rows {boundary['front']}")
way = next(way for way in placed["dominating"] if way["n_changed"])
print(f"  mine is dominated with probability {placed['p_dominated']:.2f}, by row {way['row']}: {way['words']}")

# %% [markdown]
# ## Is there a double descent?
#
# Theory named a window for the peak before the runs (8,000 to 32,000 weights), so the confirmatory test is asked.
# `absent` needs more than that nothing was seen: where the noise leaves room for a peak, the answer is
# `cannot_tell` and `why` says how large. Planted: a peak at 16,000 weights with frozen noise, none with fresh
# noise.

# %%
descent = answer(
    f"analysis.double_descent {LADDER} --group noise --x weights --y val_loss --replicate seed --log-x "
    f"--window 8000,32000 --valley 2000,4000"
)
for group in descent["groups"]:
    print(f"  {group['group']:7} {group['verdict']:12} {group['why'].split(';')[0]}")
