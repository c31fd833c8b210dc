"""The package: what its wheel contains and requires, and that it works without a clone."""

import ast
import email
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import maml_tf

ROOT = Path(__file__).parents[1]
PACKAGES = ("data_generators", "maml_tf", "rl")
RUNTIME = {"tensorflow", "keras", "tensorboard", "numpy", "pillow", "absl-py", "tqdm"}
EXTRAS = {
    "rl": {"gymnasium", "mujoco", "tensorflow-probability", "tf-keras", "setuptools", "matplotlib"},
    "dev": {"pytest", "pytest-xdist", "keras-tuner", "pyyaml", "ruff", "mypy", "nbclient", "ipykernel"},
    "docs": {"latex2mathml", "mkdocs", "mkdocs-material", "mkdocstrings-python", "ruff"},
}
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
DISTRIBUTIONS = {"PIL": "pillow", "absl": "absl-py"}  # module -> distribution, where the names differ


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the clone in the current environment."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    for name in (*PACKAGES, "scripts", "requirements", "docs"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.*"), ROOT / "LICENSE"):
        if file.is_file():
            shutil.copy(file, clone)
    for name in ("tests", "runs"):
        (clone / name).mkdir()
        (clone / name / "__init__.py").touch()
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=clone, capture_output=True, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def metadata(wheel):
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_three_packages_alone(wheel):
    info = f"maml_tf-{maml_tf.__version__}.dist-info"
    expected = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    expected |= {f"{name}/py.typed" for name in PACKAGES} | {"maml_tf/runs/published.json"}
    expected |= {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == expected | {f"{info}/licenses/LICENSE"}
    assert wheel.stat().st_size < 500_000


def test_metadata(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("maml-tf", maml_tf.__version__)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# MAML in TensorFlow 2")


def test_dependencies_by_extra(metadata):
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    assert {need.name for need in needed if need.marker is None} == RUNTIME
    for extra, names in EXTRAS.items():
        assert {need.name for need in needed if need.marker and need.marker.evaluate({"extra": extra})} == names
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    assert all("<" in str(need.specifier) and ">=" in str(need.specifier) for need in needed)


def test_requirements_txt_names_the_files_of_all_dependencies_but_of_the_site():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {line.removeprefix("-r ") for line in lines if not line.startswith("#")}
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("requirements/*.txt")}
    assert named == files - {"requirements/docs.txt", "requirements/peers.txt"}


def test_what_two_files_require_is_the_same_for_both():
    found = {}
    for path in ROOT.glob("requirements/*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if requirement := line.partition("#")[0].strip():
                need = Requirement(requirement)
                assert found.setdefault(need.name, need) == need


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_required(package):
    required = RUNTIME | (EXTRAS["rl"] if package == "rl" else set())
    for file in (ROOT / package).rglob("*.py"):
        found = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
        found -= {*sys.stdlib_module_names, *PACKAGES}
        if file.name == "style.py":
            found.discard("matplotlib")  # only loaded to draw a picture, by maml-rl or in a clone
        assert {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in found} <= required, file


def test_the_version_is_the_same_everywhere():
    versions = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == cited[0] == maml_tf.__version__


@pytest.mark.slow
def test_the_installed_package_works_without_a_clone(wheel, tmp_path):
    """Installs the wheel and what it requires into a fresh environment, first without extras, then with extra rl."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(program, *arguments, code=0):
        command = [programs / program, *arguments]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stderr
        return result.stderr if code else result.stdout

    run("python", "-m", "pip", "install", "--quiet", wheel)
    assert "Meta-trains and tests MAML: `maml --datasource=omniglot" in run("maml", "--help")
    assert "maml-rl CHOICE [flags]" in run("maml-rl", "--help")
    refused = run("maml-rl", "train", "--help", code=2)
    assert re.fullmatch(r"error: maml-rl needs gymnasium, mujoco, .*: install maml-tf\[rl\]\n", refused)
    assert run("python", "-c", "from maml_tf import MAMLModel; print(MAMLModel.__name__)") == "MAMLModel\n"
    run("maml", "--datasource=sinusoid", "--metatrain_iterations=1000")
    (trained,) = (folder / "logs" / "sinusoid").iterdir()
    assert (trained / "model1000.index").exists()
    assert list(trained.glob("test_ubs10_*.csv"))
    for module in ("main", "scripts", "tests"):
        run("python", "-c", f"import {module}", code=1)

    run("python", "-m", "pip", "install", "--quiet", f"{wheel}[rl]")
    small = ("--meta_batch_size=2", "--fast_batch_size=2", "--horizon=5", "--iterations=1")
    assert "maml-rl train --env=point_navigation" in run("maml-rl", "train", "--help")
    assert "Trained for 1 iterations" in run("maml-rl", "train", *small)
    run("maml-rl", "evaluate", *small, "--policy=maml", "--trajectories=2", "--num_updates=1")
    assert (folder / "logs" / "point_navigation" / "point_navigation_returns.png").exists()
    refused = run("maml-rl", "export", "--seed=1", "--export_dir=exported", code=2)
    assert refused.endswith(": make it by `maml-rl train --seed=1`\n")
    run("maml-rl", "export", *small, "--export_dir=exported")
    assert (folder / "exported" / "saved_model.pb").exists()
