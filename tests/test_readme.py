"""What README and the pages of docs/ show is valid: examples, commands, links and names of files."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import gymnasium
import keras
import numpy as np
import pytest

import main
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from rl import envs
from scripts import record

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
README, GETTING_STARTED, EXPERIMENTS = "README.md", "docs/getting-started.md", "docs/experiments.md"
FLAGS, ARCHITECTURE, FROM_SCRATCH = "docs/flags.md", "docs/architecture.md", "docs/from-scratch.md"
USERS_FILES = {"blobs.py", "reach.py"}  # the reader writes these, and those of docs/extending.md:
USERS_FILES |= {"maml_tf/supervised/rings.py", "tests/maml_tf/supervised/test_rings.py"}
USERS_FILES |= {"rl/envs/corridor.py", "tests/rl/envs/test_corridor.py"}
FEWER = {"range(2000)": "range(200)", "epochs=4, steps_per_epoch=500": "epochs=1, steps_per_epoch=200"}
FLAG = re.compile(r"--(?:\[no\])?(\w+)")


def examples():
    """Every Python example as (page, code); its id is the page and its number there."""
    pages = {page: text for page, text in PAGES.items() if page != FROM_SCRATCH}  # test_from_scratch.py tests that page
    found = [(page, re.findall(r"```python\n(.*?)```", text, re.DOTALL)) for page, text in pages.items()]
    return [pytest.param(page, code, id=f"{page}-{i}") for page, codes in found for i, code in enumerate(codes)]


def commands():
    """Every `python ...` command in the pages (tables, text, indented blocks) and in the record of results."""
    found = [line.command for line in record.read()]
    for text in PAGES.values():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += [*re.findall(r"`([^`\n]+)`", prose), *re.findall(r"^    (.+)$", prose, re.MULTILINE)]
    parts = (
        shlex.join(shlex.split(part, comments=True)) for text in found if "python " in text for part in text.split("&&")
    )
    return sorted({part for part in parts if part.startswith("python ")})


def flags_to_add():
    """The flags of the table's rows that say `add ...`."""
    return re.findall(r"\| add `(--\S+)` \|", PAGES[EXPERIMENTS])


def mapped():
    """The paths in the map of the code, in order. A table gives them relative to the folder in its heading."""
    found = []
    for section in PAGES[ARCHITECTURE].split("\n## ")[1:]:
        folder = re.match(r".*?([\w/]+/)\n", section)
        for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) if folder else ():
            names = re.findall(r"`([\w/]+\.py)`", row)
            found += [name if (ROOT / name).exists() else folder[1] + name for name in names]
    return found


@pytest.fixture
def own_dataset(monkeypatch, tmp_path):
    """Saves the example blobs.py where Python finds it."""
    (code,) = re.findall(r"save this as `blobs\.py`.*?```python\n(.*?)```", PAGES[GETTING_STARTED], re.DOTALL)
    (tmp_path / "blobs.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def run(code, capsys):
    """Runs an example. Returns its names and what it printed."""
    names = {}
    for iterations, fewer in FEWER.items():
        code = code.replace(iterations, fewer)
    exec(code, names)
    return names, capsys.readouterr().out


@functools.cache
def flags_of(module):
    """The flags that the help of a command names."""
    arguments = ["main.py", "--help"] if module == "main" else ["--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        importlib.import_module(module).main(arguments)
    return set(FLAG.findall(text.getvalue()))


def test_example_of_readme_is_short():
    (code,) = re.findall(r"```python\n(.*?)```", PAGES[README], re.DOTALL)
    assert len(code.splitlines()) <= 26
    assert len(PAGES[README].splitlines()) <= 115


@pytest.mark.parametrize(("page", "code"), examples())
def test_examples_run(page, code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    keras.utils.set_random_seed(0)  # seeds NumPy's global generator, which the examples use, and the initial weights
    names, printed = run(code, capsys)
    if "parabolas" in names:
        assert sum(code.count(iterations) for iterations in FEWER) == 1
        before, after = re.findall(r"error (?:before|after) adaptation: ([\d.e-]+)\n", printed)
        assert float(after) < float(before)
        tasks = names["parabolas"](200)
        maml, tasks = (names["model"].maml, next(tasks)) if "MAMLModel" in names else (names["maml"], tasks)
        losses = maml.evaluate(tasks, 10)["losses"].mean(0)
        assert losses[10] < losses[0] / 5
    if "sentences" in names:
        before, *_, after = names["accuracies"].mean(axis=0)
        assert 0.4 < before < 0.6
        assert after > 0.8
    if "Reach" in names:
        check_environment("Reach-v0")
        del gymnasium.registry["Reach-v0"]
    pictures, models = (re.findall(rf'{call}\("(.+)"\)', code) for call in ("savefig", r"model(?:\.maml)?\.save"))
    assert [path.name for path in tmp_path.iterdir()] == pictures + models
    assert all((tmp_path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def check_environment(name):
    """Checks that a user's environment serves as the tasks of a meta-batch."""
    tasks = envs.make_vector(name, 2, 3, 50)
    tasks.reset(envs.sample_goals(name, 0, 0, 2), (0,))
    _, rewards, _ = tasks.step(np.ones((2, 3, 1)))
    assert rewards.shape == (2, 3)
    assert (rewards < 0).all()


def test_own_dataset(own_dataset):
    experiment = Experiment.of(datasource="blobs:BLOBS", conv=False, norm="None")
    maml = build.build(experiment, experiment.dataset.shapes(experiment), jit=False)
    metrics = maml.evaluate(build.load(experiment).evaluation_tasks("test", 0, 2), 1)
    assert metrics["accuracies"].shape == (2, 2)


def test_commands_are_found():
    assert {"python main.py", "python -m pytest", "python -m scripts.sinusoid_table"} <= set(commands())
    assert "--stop_grad=True" in flags_to_add()


@pytest.mark.parametrize("command", commands())
def test_commands_are_valid(command, own_dataset, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, *arguments = shlex.split(command)
    for path in re.findall(r"--splits=(\S+)", command):  # files that the reader provides
        (tmp_path / path).write_text('{"train": ["a"], "valid": ["b"]}')
    if arguments[:2] == ["-m", "scripts.local_workers"]:  # its own flags are followed by a command
        started = 2 + sum(argument.startswith("--workers=") for argument in arguments[2:])
        assert_valid(arguments[:started])
        arguments = arguments[started:]
    assert_valid(arguments)


def assert_valid(arguments):
    """Asserts that a command, given as a list without `python`, names an existing module and existing flags."""
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None
        if arguments[1].startswith("scripts."):
            named = set(FLAG.findall(" ".join(arguments[2:])))
            assert not named or named <= flags_of(arguments[1])
        return
    assert arguments[0] == "main.py"
    if "--help" not in arguments:
        trained, tested = main.experiments(main.parse(arguments))
        assert trained.iterations > 0
        assert tested.name


@pytest.mark.parametrize("flag", flags_to_add())
def test_flags_to_add_are_valid(flag):
    usual, _ = main.experiments(main.parse(["main.py", "--datasource=omniglot"]))
    changed, _ = main.experiments(main.parse(["main.py", "--datasource=omniglot", flag]))
    assert changed != usual


def test_every_flag_is_described_once():
    intro, of_main, *_ = PAGES[FLAGS].split("\n## ")
    described = re.findall(r"^\| `(--\w+)` \|", of_main.split("\n### ")[0], re.MULTILINE)
    assert "`--help`" in intro
    assert sorted(FLAG.findall(" ".join(described))) == sorted(flags_of("main") - {"help"})


def test_flags_to_choose_from_are_there():
    named = FLAG.findall(PAGES[EXPERIMENTS].split("## Which flags decide what")[1])
    assert set(named) - {"test_"} <= flags_of("main")
    assert len(named) >= 30


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", PAGES[page]):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        if path.suffix == ".py":  # on the site, the link leads to the API reference
            defined = {getattr(node, "name", "") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
            assert set(filter(None, anchor.split("."))) <= defined, link
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_a_text_that_takes_their_place(page):
    texts = re.findall(r"!\[(.*?)\]\(", PAGES[page], re.DOTALL)
    assert all(len(text.split()) >= 2 for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("**/*.py")]
    named = set(re.findall(r"`([\w/]+\.py)`", PAGES[page])) - USERS_FILES
    assert sorted(name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)) == []


def test_map_is_whole():
    sources = [ROOT / "main.py"]
    sources += [
        path for part in ("data_generators", "maml_tf", "rl", "scripts") for path in ROOT.glob(f"{part}/**/*.py")
    ]
    with_code = [path for path in sources if ast.parse(path.read_text(encoding="utf-8")).body[1:]]
    assert sorted(mapped()) == sorted(path.relative_to(ROOT).as_posix() for path in with_code)


def test_map_of_the_library_is_in_the_order_of_imports():
    library = [path for path in mapped() if re.fullmatch(r"maml_tf/\w+\.py", path)][1:]  # without __init__.py
    for position, path in enumerate(library):
        text = (ROOT / path).read_text(encoding="utf-8")
        names = re.findall(r"^(?:from|import) maml_tf\.(\w+)", text, re.MULTILINE)
        for line in re.findall(r"^from maml_tf import (.+)", text, re.MULTILINE):
            names += [name.split()[0] for name in line.split(", ")]
        assert {f"maml_tf/{name}.py" for name in names} <= set(library[:position]), path
