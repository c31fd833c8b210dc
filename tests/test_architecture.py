"""The layers: which part of the project may import which, inside functions too; and what must load at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = (  # of maml_tf; a file may import those above it
    "adaptation",
    "pure_model",
    "losses",
    "task_learner",
    "normalisation",
    "fast_conv",
    "layers",
    "networks",
    "task_axis",
)
GROUND = {f"data_generators.{name}" for name in ("errors", "files", "progress", "tasks")}


def modules():
    """Module -> the modules of the project that it imports, at its top or within functions."""
    files = [ROOT / "main.py", *(file for part in PARTS for file in (ROOT / part).rglob("*.py"))]
    names = {_name(file) for file in files}
    return {_name(file): _imported(file, names) - {_name(file)} for file in files}


def _name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(file, names):
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (children & names) or {node.module}
    return found & names


PARTS = ("data_generators", "maml_tf", "rl", "scripts")


def part_of(module):
    for part in ("maml_tf.runs", "maml_tf.supervised", "maml_tf.baselines", "rl.envs", *PARTS, "main"):
        if module == part or module.startswith(f"{part}."):
            return part
    raise AssertionError(module)


WHOLE_LIBRARY = "maml_tf"
MAY_IMPORT = {
    "data_generators": {"data_generators"},
    "maml_tf": {WHOLE_LIBRARY} | GROUND,
    "maml_tf.runs": {"maml_tf.runs", "maml_tf.distribution"} | (GROUND - {"data_generators.tasks"}),
    "maml_tf.supervised": {"data_generators", "maml_tf", "maml_tf.runs", "maml_tf.supervised"},
    "maml_tf.baselines": {"data_generators", "maml_tf", "maml_tf.runs", "maml_tf.supervised", "maml_tf.baselines"},
    "rl.envs": {"rl.envs", "data_generators.errors", "maml_tf.runs.process"},
    "rl": {"rl", "rl.envs", "maml_tf", "maml_tf.runs"} | GROUND,
    "main": {"maml_tf", "maml_tf.runs", "maml_tf.supervised"} | GROUND,
    "scripts": {*PARTS, "main", "maml_tf.runs", "maml_tf.supervised", "maml_tf.baselines", "rl.envs"},
}


def test_imports_point_one_way():
    wrong = []
    for module, imported in modules().items():
        if module == "maml_tf":  # the public names, loaded on first use
            continue
        allowed = MAY_IMPORT[part_of(module)]
        wrong += [f"{module} imports {other}" for other in imported if not {other, part_of(other)} & allowed]
    assert not wrong


def test_files_are_short():
    files = [ROOT / "main.py", *(file for part in (*PARTS, "tests") for file in (ROOT / part).rglob("*.py"))]
    long = [str(file.relative_to(ROOT)) for file in files if len(file.read_text().splitlines()) > 300]
    assert not long
