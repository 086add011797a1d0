"""The rules of structure (design.md section 1), run: who may import whom, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCALING = {
    0: {"limits", "redact", "atomic", "machine", "command", "code_version"}
    | {"columns", "records", "arrays", "schema"}  # what is read of a study
    | {"field_types", "runtime", "fields", "identity", "config", "sizes", "flops"},  # what a run is
    1: {"data", "models", "diffusion"},
    2: {"memorization", "quality"}
    | {"store_errors", "status_file", "links", "lock", "trained", "store", "checkpoints"}  # what a run folder holds
    | {"tables", "run_tables", "table_files", "gallery", "strangers"},
    3: {"training"},
    4: {"forecasts"},  # of what training asks of a machine
    5: {"sweep"},  # an engine runs cells, so it stands above training
    6: {"finished_run"},
    7: {"train", "sweep.__main__", "status", "overview", "collect", "selfcheck", "compare", "export"}
    | {"wandb_history", "wandb_records", "workspace"},
    8: {"audits", "reproduce"},
    9: {"audit"},
}
ANALYSIS = {
    0: {"columns", "words"},
    1: {"table_files", "parts", "rates", "command", "formulas", "descent", "plots", "replicates"},
    2: {"table", "laws", "condition", "boundary", "per_image", "bits", "emission", "richness"},
    3: {"fitting", "double_descent", "pareto", "lira", "datasets"},
    4: {"fit", "onsets", "summary"},
    5: {"onset", "questions", "pictures", "descent_curves", "boundary_points"},
    6: {"registered", "ask", "agreement", "compare", "counterfactual", "planning", "learning_rate", "placed_models"}
    | {"pictures.descent_figures", "pictures.training_figures", "pictures.intervention_figures"}
    | {"pictures.boundary_figures"},
    7: {"simulate", "pictures.instrument_agreement_figures", "pictures.score_figures", "pictures.placed_figures"},
    8: {"pictures.study_figures"},
    9: {"pages"},
    10: {"report", "figures", "studies"},
}


def modules(package: str) -> dict[str, Path]:
    paths = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / package).rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in paths.items()}


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str, layers: dict[int, set[str]]) -> tuple[int, str] | None:
    """Layer and file or folder of a module: the longest entry that is its beginning."""
    name = module.partition(".")[2]
    found = [
        (len(entry), layer, entry)
        for layer, entries in layers.items()
        for entry in entries
        if name == entry or name.startswith(f"{entry}.")
    ]
    return max(found)[1:] if found else None


def test_scaling_imports_only_from_lower_layers():
    known = modules("scaling")
    for module, path in known.items():
        if module == "scaling" or path.name == "__init__.py":
            assert not imports(path), f"{path}: __init__ is a docstring"
            continue
        here = room(module, SCALING)
        assert here, f"{module}: give it a layer in this test and in the README"
        for target in imports(path) & set(known):
            there = room(target, SCALING)
            if there is None:
                continue
            sibling = there[1] == here[1] or (there[0] == here[0] and {here[1], there[1]}.isdisjoint(folders()))
            assert there[0] < here[0] or sibling, f"{module} (layer {here[0]}) imports {target} (layer {there[0]})"


def test_analysis_imports_only_from_lower_layers():
    known = modules("analysis")
    for module, path in known.items():
        if path.name == "__init__.py":
            assert not imports(path), f"{path}: __init__ is a docstring"
            continue
        here = room(module, ANALYSIS)
        assert here, f"{module}: give it a layer in this test"
        for target in imports(path) & set(known) - {"analysis"}:
            there = room(target, ANALYSIS)
            lower = there[0] < here[0] or there[1] == here[1]
            assert lower, f"{module} (layer {here[0]}) imports {target} (layer {there[0]})"


def folders() -> set[str]:
    return {path.parent.name for path in (ROOT / "scaling").glob("*/__init__.py")}


@pytest.mark.parametrize("package", ["scaling", "analysis"])
def test_no_circles(package):
    known = modules(package)
    edges = {
        module: {t for t in imports(path) & set(known) if t != module and known[t].name != "__init__.py"}
        for module, path in known.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"circle: {' -> '.join((*trail, module))}"
        if module not in done:
            for target in edges[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_analysis_needs_no_torch_and_nothing_of_scaling_but_its_schema():
    for module, path in modules("analysis").items():
        for target in imports(path):
            assert target.partition(".")[0] not in {"torch", "diffusers", "pytorch_lightning"}, f"{module}: {target}"
            if target.startswith("scaling"):
                assert target == "scaling" or target.startswith("scaling.schema"), f"{module}: {target}"


def test_scaling_never_imports_analysis():
    for module, path in modules("scaling").items():
        assert not any(target.partition(".")[0] == "analysis" for target in imports(path)), module


LIGHT = [
    "scaling.schema",
    "scaling.config",
    "scaling.train",
    "scaling.status",
    "scaling.collect",
    "scaling.sweep.__main__",
    "scaling.selfcheck.__main__",
    "scaling.compare.__main__",
    "scaling.export.__main__",
    "scaling.audit",
    "scaling.reproduce.__main__",
    "analysis.laws",
    "analysis.report",
    "analysis.figures",
    "analysis.fit",
    "analysis.counterfactual",
    "analysis.agreement",
    "analysis.onset",
    "analysis.pareto",
    "analysis.double_descent",
    "analysis.ask",
    "analysis.compare",
    "analysis.simulate",
    "analysis.summary",
    "analysis.learning_rate",
    "analysis.lira",
    "scaling.workspace",
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_bring_no_torch(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'pytorch_lightning', 'diffusers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def described(node: ast.AST) -> bool:
    """With a docstring, or an abstract property of a protocol (`...`)."""
    (first, *rest) = node.body
    return bool(ast.get_docstring(node)) or (not rest and ast.unparse(first) == "...")


def files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files("scaling", "analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_at_once(path):
    """At most 300 lines a file and 50 a function, and what it is for."""
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300 and ast.get_docstring(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if node.end_lineno - node.lineno >= 50]


@pytest.mark.parametrize("path", files("scaling", "analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_public_is_described_where_it_is_defined(path):
    """Functions and classes of a file and the methods of its classes; what is nested in a function is not public."""
    tree = ast.parse(path.read_text())
    open_rooms = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]
    named = [node for one in open_rooms for node in one.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not [node.name for node in named if node.name[0] != "_" and not described(node)]


def test_no_rooms_for_everything():
    names = {path.stem for package in ("scaling", "analysis") for path in (ROOT / package).rglob("*")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "core"}
