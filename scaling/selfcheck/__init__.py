"""python -m scaling.selfcheck: the instruments against known answers, on this machine. A file a group of checks."""
