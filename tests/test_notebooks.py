"""The notebooks of docs/notebooks/: the stored files are complete and clean, and the notebooks run."""

import ast
import importlib
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: path for path in sorted(ROOT.glob("docs/notebooks/*.ipynb"))}
KEYS = {"markdown": {"cell_type", "id", "metadata", "source"}}
KEYS["code"] = KEYS["markdown"] | {"execution_count", "outputs"}
# An absolute path on any system. A slash after a word, as in a URL or a fraction, does not begin a path.
ABSOLUTE = re.compile(r"(?<![\w.:/>)\]}-])(?:/[\w.-]+){2,}|\b[A-Z]:\\\w|~/")


def stored(name):
    return json.loads(NOTEBOOKS[name].read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(value):
    return value if isinstance(value, str) else "".join(value)


def printed(notebook):
    """All that the cells of a notebook print."""
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    return "".join(text(output["text"]) for output in outputs if output["output_type"] == "stream")


def numbers(pattern, found):
    """The numbers that a pattern finds in a text: for each match, a list with one number for each group."""
    places = re.findall(pattern, found)
    assert places, pattern
    return [[float(part) for part in (place if isinstance(place, tuple) else (place,))] for place in places]


def check_sinusoid(found):
    rows = {updates: errors for updates, *errors in numbers(r"(?m)^ +(\d+) +([\d.]+) +([\d.]+)$", found)}
    assert rows[1][0] < rows[0][0] / 3
    assert rows[10][0] < rows[1][0]
    assert rows[10][0] < rows[10][1] / 3  # column 1 is the pretrained network's
    (first, last) = numbers(r"loss after adaptation: ([\d.]+) in epoch 1, ([\d.]+) in epoch 10", found)[0]
    assert last < first / 3


def check_pictures(found):
    accuracies = {int(updates): accuracy for updates, accuracy in numbers(r"updates: (\d), accuracy: ([\d.]+)", found)}
    assert accuracies[0] < 0.35  # chance is 0.2
    assert accuracies[3] > 0.65
    assert numbers(r"updates: 3, (\d+) of 25", found)[0][0] >= 13
    assert len(re.findall("gives the same answers: True", found)) == 2


def check_second_derivatives(found):
    (stock,), (ours,) = numbers(r"relative error: (\S+)", found)
    assert stock > 0.05
    assert ours < 1e-8
    assert "has wrong second derivatives in TensorFlow" in found
    assert "has no second derivative in TensorFlow (SoftsignGrad)" in found


def check_policy(found):
    (before,), (after,) = numbers(r"updates: \d, return (\S+) \+-", found)
    assert before < -30
    assert after > before / 1.5
    assert numbers(r"(\d+) of 40 goals have a higher return", found)[0][0] >= 34


CHECKS = {
    "1_sinusoid": check_sinusoid,
    "2_your_own_pictures": check_pictures,
    "3_second_derivatives": check_second_derivatives,
    "4_policy": check_policy,
}


def test_all_are_checked_and_listed():
    assert NOTEBOOKS.keys() == CHECKS.keys()
    page = (ROOT / "docs" / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\((\w+)\.ipynb\)", page) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_form(name):
    """The files have the form that nbformat 4.5 requires; checked without nbformat."""
    notebook = stored(name)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell.keys() == KEYS[cell["cell_type"]] for cell in notebook["cells"])
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert notebook["cells"][0]["cell_type"] == "markdown"


@pytest.mark.parametrize("name", CHECKS)
def test_outputs_are_stored_and_clean(name):
    notebook = stored(name)
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} == {"stdout"}
    assert [list(output["data"]) for output in outputs if "data" in output] == [["image/png"]] * sum(
        "plt.show()" in text(cell["source"]) for cell in cells
    )
    CHECKS[name](printed(notebook))
    assert NOTEBOOKS[name].stat().st_size < 300_000


@pytest.mark.parametrize("name", CHECKS)
def test_no_absolute_path(name):
    notebook = stored(name)
    found = [printed(notebook), *(text(cell["source"]) for cell in notebook["cells"])]
    assert [ABSOLUTE.findall(part) for part in found if ABSOLUTE.search(part)] == []


def test_absolute_paths_are_found():
    assert all(map(ABSOLUTE.search, ("in /tmp/tmpab/pictures", '"/home/me"', "C:\\Users", "~/pictures")))
    assert not any(map(ABSOLUTE.search, ("2/n (1 - 1/n)", "../rl.md", "https://arxiv.org/abs/1703.03400", "a/b/c")))


@pytest.mark.parametrize("name", CHECKS)
def test_code_compiles_and_imports_what_there_is(name):
    for cell in code_cells(stored(name)):
        for node in ast.walk(ast.parse(text(cell["source"]))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                missing = [part for part in missing if importlib.util.find_spec(f"{node.module}.{part}") is None]
                assert missing == []


@pytest.mark.parametrize("name", CHECKS)
def test_links_lead_somewhere(name):
    for cell in stored(name)["cells"]:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#\s]+)", text(cell["source"])):
                assert "://" in link or (NOTEBOOKS[name].parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_notebook_runs(name, monkeypatch, tmp_path):
    """The notebook runs in a fresh kernel and an empty folder, and leaves no files there."""
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    CHECKS[name](printed(notebook))
    assert list(tmp_path.iterdir()) == []
