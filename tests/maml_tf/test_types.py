"""Types on the public functions of the library."""

import ast
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "maml_tf").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_arguments_and_results_of_public_functions_have_types(file):
    missing = []
    for parent in ast.walk(ast.parse(file.read_text())):
        is_class = isinstance(parent, ast.ClassDef) and not parent.name.startswith("_")
        for function in parent.body if is_class or isinstance(parent, ast.Module) else []:
            if isinstance(function, ast.FunctionDef) and (
                not function.name.startswith("_") or function.name in ("__init__", "__call__")
            ):
                arguments = function.args.posonlyargs + function.args.args[is_class:] + function.args.kwonlyargs
                missing += [f"{function.name}: {a.arg}" for a in arguments if a.annotation is None]
                if function.returns is None and function.name != "__init__":
                    missing.append(f"{function.name}: result")
    assert missing == []
