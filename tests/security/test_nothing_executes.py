"""No input is unpickled, evaluated or given to a shell: the code itself is searched, call by call."""

# ruff: noqa: E501 (a hostile input stands on one line)
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "codeop"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "pandas.read_pickle", "pd.read_pickle", "pandas.read_hdf", "frame.to_pickle", "yaml.load", "yaml.load_all",
    "yaml.full_load", "yaml.unsafe_load", "yaml.full_load_all", "yaml.unsafe_load_all", "torch.hub.load", "torch.save",
    "numpy.fromfile", "np.fromfile", "torch.jit.load",
}  # fmt: skip
FORBIDDEN_LOADERS = {"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CSafeLoader", "CFullLoader", "CUnsafeLoader"}
NEEDED = {  # call: keyword -> the one value that it must be given
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
NEVER = {"trust_remote_code": True, "allow_pickle": True, "shell": True, "weights_only": False}


def dotted(node: ast.AST) -> str:
    """a.b.c of names; of what is made by a call, ?.c."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def offences(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [node.module]
            yield from (f"imports {name}" for name in modules if name.partition(".")[0] in FORBIDDEN_MODULES)
            yield from (f"imports {name}" for name in names if name in FORBIDDEN_LOADERS)
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_LOADERS and dotted(node.value) == "yaml":
            yield f"uses yaml.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if name in FORBIDDEN_CALLS or name.rpartition(".")[2] in {
            "read_pickle",
            "to_pickle",
            "unsafe_load",
            "full_load",
        }:
            yield f"calls {name}"
        for keyword, value in NEVER.items():
            if given.get(keyword) is value:
                yield f"calls {name}({keyword}={value})"
        if name in NEEDED and given.get(NEEDED[name][0]) is not NEEDED[name][1]:
            yield f"calls {name} without {NEEDED[name][0]}={NEEDED[name][1]}"


FILES = sorted(path for package in ("scaling", "analysis") for path in (ROOT / package).rglob("*.py"))


def test_no_file_executes_what_it_reads():
    found = {str(path.relative_to(ROOT)): list(offences(path.read_text())) for path in FILES}
    assert len(FILES) > 150
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load(path)", "torch.load(p, weights_only=False)",
        "np.load(p)", "np.load(p, allow_pickle=True)", "yaml.load(t, Loader=L)", "yaml.load(t, yaml.FullLoader)",
        "from yaml import UnsafeLoader", "eval(text)", "subprocess.run(line, shell=True)", "os.system(line)",
        "load_dataset(name, trust_remote_code=True)", "pandas.read_pickle(p)", "frame.to_pickle(p)", "exec(text)",
        "yaml.CSafeLoader(text)", "yaml.unsafe_load(text)",
    ],
)  # fmt: skip
def test_the_search_finds(line):
    assert list(offences(line))


@pytest.mark.parametrize(
    "line",
    ["torch.load(p, weights_only=True)", "np.load(p, allow_pickle=False)", "network.eval()", "f(x).to(y).eval()", "yaml.safe_load(text)",
     "re.compile(text)", "network.compile()", "model.load_state_dict(weights)", "subprocess.run(words)"],
)  # fmt: skip
def test_the_search_leaves_alone(line):
    assert not list(offences(line))
