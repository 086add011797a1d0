"""Which images come back first: an image's recovered chains beside its score and what lies near it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.per_image.quadrants import by_stratum
from analysis.per_image.rank_correlation import Correlation

if TYPE_CHECKING:
    from pandas import DataFrame

KEYS = ["image_id", "copies"]


def recovered_with(scored: "DataFrame", images: "DataFrame", names: Sequence[str]) -> Mapping[str, Correlation]:
    """name -> Spearman of an image's recovered chains with it within equal copies, over strata, with 95 % intervals.

    scored: a row for each image and number of copies, with the columns `names`; images: the last evaluations of the
    runs it is of. Chains are the mean over the runs that trained on the image: only they can have memorized it.
    """
    trained = images[images["in_training"] == True]  # noqa: E712 (objects)
    chains = trained.groupby(KEYS, as_index=False)["n_basin_recovered"].mean()
    rows = scored.merge(chains, on=KEYS, how="inner", validate="one_to_one")
    columns = {name: rows[name].to_numpy(float) for name in ("n_basin_recovered", *names)}
    copies = rows["copies"].to_numpy()
    return {name: by_stratum(columns["n_basin_recovered"], columns[name], copies, 0.95)[1] for name in names}
