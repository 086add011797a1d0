"""What lies in a store and does not belong with the rest, in a line each: what is no run, runs of other versions."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from scaling.code_version import code_version
from scaling.identity import SCIENCE_VERSION
from scaling.limits import printable

OURS = {".workers", ".trained"}
SHOWN = 3


def no_runs(out: Path, names: Iterable[str], runs: Collection[str]) -> list[str]:
    """At most one line. names: everything in the folder `out`; runs: what of it is a run. The rest stays untouched."""
    strange = sorted(set(names) - set(runs) - OURS)
    if not strange:
        return []
    shown = ", ".join(printable(name, 60) for name in strange[:SHOWN]) + (", …" if len(strange) > SHOWN else "")
    return [f"left out: {len(strange)} thing(s) in {out} that are no run: {shown}"]


def mixed_versions(runs: Iterable[Mapping[str, object]]) -> list[str]:
    """At most a line on science versions and one on versions of the code. runs: a status or an evals row of each."""
    science: Counter[Any] = Counter()
    code: Counter[Any] = Counter()
    commits: dict[Any, Any] = {}
    for run in runs:
        science[run.get("science_version")] += 1
        code[run.get("code_version")] += 1
        commits[run.get("code_version")] = run.get("commit") or commits.get(run.get("code_version"))
    lines = []
    del science[None], code[None]  # of a run that has no status yet
    if set(science) - {SCIENCE_VERSION}:
        counted = ", ".join(f"{science[version]} of {version}" for version in sorted(science))
        lines.append(
            f"science_version: {counted}; this code is {SCIENCE_VERSION}: numbers of different versions mean different "
            f"things; a sweep trains the others anew, beside them"
        )
    if len(code) > 1:
        counted = ", ".join(f"{n} by {_named(version, commits[version])}" for version, n in code.most_common())
        lines.append(f"code_version: runs {counted}; this is {code_version()}: tell them apart before comparing bits")
    return lines


def _named(version: object, commit: object) -> str:
    return f"{version} (commit {commit})" if commit else str(version)
