"""All public functions and methods have type annotations; mypy checks whether the annotations are right."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("data_generators", "maml_tf", "rl") for file in (ROOT / package).rglob("*.py"))


def public_functions(parent):
    """Yields (function, arguments that need a type) for a module or class and the public classes in it."""
    for node in parent.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name in ("__init__", "__call__")
        ):
            positional = node.args.posonlyargs + node.args.args
            is_method = isinstance(parent, ast.ClassDef) and "staticmethod" not in map(ast.unparse, node.decorator_list)
            rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
            yield node, positional[is_method:] + node.args.kwonlyargs + rest


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_arguments_and_results_of_public_functions_have_types(file):
    missing = []
    for function, arguments in public_functions(ast.parse(file.read_text())):
        missing += [f"{function.name}: {argument.arg}" for argument in arguments if argument.annotation is None]
        if function.returns is None and function.name != "__init__":
            missing.append(f"{function.name}: result")
    assert missing == []
