"""The layers: which part of the project may import which, in functions too; and which modules must load fast."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
AT_ONCE = (  # modules that --help and a mistyped flag need
    *("maml_tf", "maml_tf.runs.settings", "maml_tf.runs.flags", "maml_tf.runs.boundary", "maml_tf.runs.process"),
    *("maml_tf.runs.published", "maml_tf.runs.log", "maml_tf.supervised.datasets", "maml_tf.supervised.experiment"),
    *("maml_tf.baselines.experiment", "rl.experiment", "rl.envs", "main"),
    *("maml_tf.runs.style", "maml_tf.supervised.console", "maml_tf.supervised.command_line"),
    *("rl.commands", "rl.commands.train", "rl.commands.evaluate", "rl.commands.export"),
)
GROUND = {f"data_generators.{name}" for name in ("errors", "files", "progress", "tasks")}


def modules():
    """Maps each module to the modules of the project that it imports, at its top or in functions."""
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


MAY_IMPORT = {
    "data_generators": {"data_generators"},
    "maml_tf": {"maml_tf"} | GROUND,
    "maml_tf.runs": {"maml_tf.runs", "maml_tf.distribution", "maml_tf.workers"} | (GROUND - {"data_generators.tasks"}),
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
        if module == "maml_tf":  # it loads the public names on first use
            continue
        allowed = MAY_IMPORT[part_of(module)]
        wrong += [f"{module} imports {other}" for other in imported if not {other, part_of(other)} & allowed]
    assert not wrong


def test_all_take_keras_from_the_file_that_has_it_run_on_tensorflow():
    # task_sequence.py is allowed, since a PyDataset needs no TensorFlow.
    may = {ROOT / "maml_tf" / "backend.py", ROOT / "data_generators" / "task_sequence.py"}
    files = {ROOT / "main.py", *(file for part in PARTS for file in (ROOT / part).rglob("*.py"))} - may
    assert [file for file in files if re.search(r"^\s*(import|from) keras\b", file.read_text(), re.MULTILINE)] == []


def test_what_commands_need_first_loads_at_once():
    program = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    program += "    print(name, *({'tensorflow', 'keras', 'mujoco', 'matplotlib'} & sys.modules.keys()))"
    command = [sys.executable, "-c", program, *AT_ONCE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == list(AT_ONCE)


def test_files_are_short():
    files = [ROOT / "main.py", *(file for part in (*PARTS, "tests") for file in (ROOT / part).rglob("*.py"))]
    long = [str(file.relative_to(ROOT)) for file in files if len(file.read_text().splitlines()) > 300]
    assert not long
