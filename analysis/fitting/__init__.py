"""One fit: what is minimised, the search, profiles, intervals, scatter between runs, survival times."""
