"""Tests of the settings for variants of MAML: names, presets, refusals, combinations, and runs in several phases."""

import contextlib
import dataclasses
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

import main
from data_generators.errors import UserError
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.training import Schedule
from maml_tf.supervised.variants import PRESETS, described
from tests.maml_tf import small_runs
from tests.maml_tf.small_runs import Run, assert_same_numbers, small

OMNIGLOT = {"datasource": "omniglot"}
SETTINGS = {
    "adapt": ["head", "body"],
    "step_sizes": ["per_variable", "per_update", "per_weight"],
    "query_loss": ["all_updates"],
    "first_order_iterations": [1, 3],
    "meta_lr_decay": ["cosine", "linear"],
    "norm": ["per_update_batch_norm", "layer_norm"],
    "algorithm": ["reptile"],
    "inner_optimizer": ["momentum", "adam"],
    "inner_batch_size": [2],
    "stop_grad": [True],
    "learn_update_lr": [True],
    "num_updates": [2],
}


@pytest.mark.parametrize(
    ("given", "suffix"),
    [
        ({}, ""),
        ({"learn_update_lr": True}, ".learnlr"),
        ({"step_sizes": "per_variable"}, ".learnlr"),
        ({"step_sizes": "per_update"}, ".per_update"),
        ({"step_sizes": "per_weight"}, ".per_weight.to0.1"),
        ({"step_sizes": "per_weight", "update_lr": 0.05}, ".per_weight.to0.1"),
        ({"query_loss": "all_updates"}, ".all_updates5000"),
        ({"adapt": "body", "first_order_iterations": 7}, ".body.firstorder7"),
        ({"inner_optimizer": "adam", "inner_batch_size": 3}, ".adam.batch3"),
        ({"algorithm": "reptile"}, ".linear.reptile.adam.batch10"),
    ],
)
def test_names_of_folders(given, suffix):
    experiment, plain = Experiment.of(**OMNIGLOT, **given), Experiment.of(**OMNIGLOT)
    own = {name: getattr(experiment, name) for name in ("meta_batch_size", "update_lr", "num_updates")}
    assert experiment.name == dataclasses.replace(plain, **own).name + suffix
    assert bool(described(experiment)) == bool(suffix)
    assert (experiment.published_row is None) == bool(suffix)


def of(*arguments):
    """Returns the experiment that a command line trains, and the one that it tests."""
    return main.experiments(main.parse(["main.py", *arguments]))


@pytest.mark.parametrize("datasource", ["omniglot", "miniimagenet", "sinusoid"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings_and_flags_override_them(name, datasource):
    trained, _ = of(f"--preset={name}", f"--datasource={datasource}")
    assert trained != Experiment.of(datasource=datasource)
    assert of(*trained.flags())[0] == trained
    overridden, _ = of(f"--preset={name}", f"--datasource={datasource}", "--num_updates=3", "--update_lr=0.03")
    assert (overridden.num_updates, overridden.update_lr) == (3, 0.03)


def test_flags_of_a_preset_s_own_settings_override_them():
    plus = ("--preset=maml_plus_plus", "--datasource=omniglot")
    assert of(*plus, "--query_loss_iterations=100")[0].query_loss_iterations == 100
    assert of("--preset=meta_sgd", "--update_lr_max=0.2")[0].update_lr_max == 0.2
    last, _ = of("--preset=maml_plus_plus", "--datasource=miniimagenet", "--query_loss=last")
    assert (last.query_loss, last.query_loss_iterations) == ("last", 0)
    given = Experiment.of(step_sizes="per_weight", update_lr=0.005)
    assert of(*given.flags())[0] == given


def test_presets_are_the_published_settings():
    """They come from the commands in Reptile's code and from MAML++'s configuration for Omniglot 5-way 1-shot."""
    reptile, tested = of("--preset=reptile", "--datasource=omniglot")
    assert (reptile.update_batch_size, tested.update_batch_size) == (10, 1)
    found = [reptile.meta_batch_size, reptile.meta_lr, reptile.iterations, reptile.num_updates, reptile.test_updates]
    assert found == [5, 1.0, 100_000, 5, 50]
    plus, _ = of("--preset=maml_plus_plus", "--datasource=omniglot")
    found = [plus.meta_batch_size, plus.update_lr, plus.iterations, plus.num_updates, plus.query_loss_iterations]
    assert found == [8, 0.02, 50_000, 5, 5000]  # 0.02 here is 0.1 for a loss averaged over 5 ways
    mini, _ = of("--preset=reptile", "--datasource=miniimagenet")
    assert (mini.update_batch_size, mini.num_updates) == (15, 8)
    many, _ = of("--preset=reptile", "--datasource=omniglot", "--num_classes=20")
    assert (many.iterations, many.num_updates, many.update_lr, many.inner_batch_size) == (200_000, 10, 0.0005, 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learn_update_lr": True, "step_sizes": "per_update"}, "--learn_update_lr means --step_sizes=per_variable"),
        ({"update_lr_max": 0.5}, "--update_lr_max goes with --step_sizes=per_weight"),
        (
            {"step_sizes": "per_weight", "update_lr": 0.2, "update_lr_max": 0.1},
            "--update_lr_max must be at least --update_lr, 0.2",
        ),
        ({"query_loss_iterations": 5}, "--query_loss_iterations goes with --query_loss=all_updates"),
        ({"query_loss": "all_updates", "query_loss_iterations": 0}, "--query_loss_iterations must be at least 1"),
        ({"metatrain_iterations": 0, "pretrain_iterations": 5, "norm": "per_update_batch_norm"}, "take batch_norm"),
        ({"baseline": "oracle", "meta_lr_decay": "cosine"}, "--meta_lr_decay goes with meta-training"),
        ({"baseline": "oracle", "algorithm": "reptile"}, "goes with meta-training"),
        ({"baseline": "oracle", "stop_grad": True}, "--stop_grad goes with meta-training: leave it out"),
        ({"baseline": "oracle", "learn_update_lr": True}, "--learn_update_lr goes with meta-training: leave it out"),
        (
            {"step_sizes": "per_weight", "metatrain_iterations": 0, "pretrain_iterations": 5},
            "--step_sizes goes with meta-training: give --metatrain_iterations a positive number",
        ),
        ({"first_order_iterations": 5, "stop_grad": True}, "leave out --first_order_iterations"),
        ({"algorithm": "reptile", "stop_grad": True}, "leave out --stop_grad"),
        ({"algorithm": "reptile", "adapt": "head"}, "leave out --adapt"),
        ({"algorithm": "reptile", "step_sizes": "per_weight"}, "leave out --step_sizes"),
        ({"algorithm": "reptile", "query_loss": "all_updates"}, "leave out --query_loss"),
        ({"algorithm": "reptile", "norm": "per_update_batch_norm"}, "use --norm=batch_norm"),
        ({"algorithm": "reptile", "metatrain_iterations": 0, "pretrain_iterations": 5}, "goes with meta-training"),
        ({"adapt": "tail"}, "unknown adapt 'tail'"),
        ({"inner_batch_size": 0}, "--inner_batch_size must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        Experiment.of(**given)


@pytest.mark.parametrize(("datasource", "least"), [("omniglot", 2), ("miniimagenet", 2), ("sinusoid", 1)])
@pytest.mark.parametrize("name", PRESETS)
def test_too_few_ways_are_refused_before_a_preset_divides_by_them(name, datasource, least):
    for ways in (0, -3):
        with pytest.raises(UserError, match=f"--num_classes must be at least {least}, not {ways}"):
            of(f"--preset={name}", f"--datasource={datasource}", f"--num_classes={ways}")


def test_older_checkpoints_lack_these_settings():
    experiment = Experiment.of(learn_update_lr=True)
    older = {"learn_update_lr", "norm", "stop_grad", "num_updates"}
    new = {*SETTINGS, "update_lr_max", "query_loss_iterations"} - older
    old = {name: value for name, value in dataclasses.asdict(experiment).items() if name not in new}
    assert experiment.differences(old) == []
    assert Experiment.of().differences(old) != []
    assert Experiment.of(adapt="head", learn_update_lr=True).differences(old) == ["--adapt=all (now head)"]


def test_a_decay_goes_with_its_number_of_iterations():
    made = dataclasses.asdict(Experiment.of(meta_lr_decay="cosine", metatrain_iterations=10))
    longer = Experiment.of(meta_lr_decay="cosine", metatrain_iterations=20)
    assert longer.differences(made) == []  # allowed in a test
    assert longer.differences(made, resuming=True) == [
        "--metatrain_iterations=10 (now 20), over which the learning rate decays"
    ]
    assert Experiment.of(metatrain_iterations=20).differences(made | {"meta_lr_decay": "none"}, resuming=True) == []


def test_phases():
    given = {"pretrain_iterations": 5, "metatrain_iterations": 20}
    assert Experiment.of(**given).phases == [(25, {})]
    assert Experiment.of(**given, first_order_iterations=4).phases == [(9, {"first_order": True}), (25, {})]
    weighted = {"query_loss": "all_updates", "query_loss_iterations": 6}
    assert Experiment.of(**given, **weighted).phases == [(11, {}), (25, {"last": True})]
    both = Experiment.of(**given, **weighted, first_order_iterations=8).phases
    assert both == [(11, {"first_order": True}), (13, {"first_order": True, "last": True}), (25, {"last": True})]
    assert Experiment.of(**given, first_order_iterations=30).phases == [(25, {"first_order": True})]
    assert Experiment.of(pretrain_iterations=5, metatrain_iterations=0).phases == []


def trained(folder, settings, iterations, schedule=small_runs.NEVER, **others):
    experiment = small(settings, iterations, **others)
    data = build.load(experiment)
    run = Run(experiment, build.build(experiment, data.source, "map", False), data, folder, schedule)
    assert run.run()
    return run, folder / f"model{iterations}"


def test_first_order_until_then_and_second_order_afterwards(tmp_path):
    settings = small_runs.SINUSOID
    _, first = trained(tmp_path / "first", settings, 3, stop_grad=True)
    _, mixed = trained(tmp_path / "mixed", settings, 3, first_order_iterations=3)
    assert_same_numbers(mixed, first)
    longer, _ = trained(tmp_path / "longer", settings, 5, first_order_iterations=3)
    second, _ = trained(tmp_path / "second", settings, 5)
    assert not np.allclose(longer.maml.weights[2], second.maml.weights[2], rtol=1e-6)


PLUS_PLUS = {
    "num_updates": 2,
    "step_sizes": "per_update",
    "query_loss": "all_updates",
    "query_loss_iterations": 2,
    "first_order_iterations": 1,
    "meta_lr_decay": "cosine",
    "norm": "per_update_batch_norm",
}


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        pytest.param(small_runs.IMAGES, PLUS_PLUS, marks=pytest.mark.slow),
        (small_runs.IMAGES, {"algorithm": "reptile", "inner_batch_size": 1, "meta_batch_size": 2}),
        pytest.param(
            small_runs.SINUSOID,
            {"step_sizes": "per_weight", "inner_optimizer": "adam", "adapt": "body"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["MAML++", "Reptile", "Meta-SGD, BOIL and Adam"],
)
def test_a_resumed_run_ends_with_the_same_numbers(settings, others, tmp_path, monkeypatch):
    """It resumes after iteration 1, when the later phases are still to come."""
    small_runs.use_small_omniglot(monkeypatch, tmp_path)
    _, straight = trained(tmp_path / "straight", settings | others, 4, Schedule(summary=0, save=1, validate=0))
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    for file in straight.parent.glob("model1.*"):
        shutil.copy(file, resumed)
    _, path = trained(resumed, settings | others, 4)
    assert_same_numbers(path, straight)


def drawn(seed):
    """Draws two to four random settings that can be combined."""
    rng, chosen = random.Random(seed), {}
    for name in rng.sample(sorted(SETTINGS), len(SETTINGS)):
        with contextlib.suppress(UserError):
            more = chosen | {name: rng.choice(SETTINGS[name])}
            small(small_runs.SINUSOID, 4, **more)
            chosen = more
        if len(chosen) == 2 + seed % 3:
            break
    return chosen


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_drawn_combinations_train_test_and_export(seed, tmp_path):
    chosen = drawn(seed)
    run, path = trained(tmp_path / "run", small_runs.SINUSOID, 4, **chosen)
    tasks = run.data.evaluation_tasks("test", 0, 3)
    found = run.maml.evaluate(tasks, 3)["losses"]
    assert np.isfinite(found).all()
    assert not np.array_equal(found[:, 0], found[:, 3])
    experiment = small(small_runs.SINUSOID, 4, **chosen)
    restored = build.build(experiment, run.data.source, "map", False)
    build.restore(restored, experiment, path.parent)
    for variable, value in zip(restored.meta_variables, run.maml.meta_variables, strict=True):
        np.testing.assert_array_equal(variable, value)
    if seed < 2:
        assert_exported(run.maml, tasks, tmp_path)


def assert_exported(maml, tasks, folder):
    """Asserts that an export adapts as MAML does."""
    x, y, query = (tf.constant(values[0]) for values in tasks[:3])
    loaded = tf.saved_model.load(str(maml.export(folder / "export")))
    answer = loaded.adapt_and_predict(x, y, query)["query_outputs"]
    np.testing.assert_allclose(answer, maml.predict(query, maml.adapt(x, y)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "others", [{"algorithm": "reptile"}, pytest.param({}, marks=pytest.mark.slow)], ids=["Reptile", "MAML"]
)
def test_minibatches_are_exported_and_tested_with_other_shots(others, tmp_path, monkeypatch):
    """The loss of a minibatch is divided by the minibatch's own shots, whatever the shots in training are."""
    small_runs.use_small_omniglot(monkeypatch, tmp_path)
    settings = small_runs.IMAGES | {"conv": False, "inner_batch_size": 1, "num_updates": 2} | others
    run, _ = trained(tmp_path / "run", settings, 2)
    tasks = run.data.evaluation_tasks("test", 0, 1)
    assert_exported(run.maml, tasks, tmp_path)
    x, y = tasks.support_x[0], tasks.support_y[0]
    expected = run.maml.adapt(x, y, 1).params
    other = build.build(run.training.experiment, run.data.source, "map", False, shots=2)
    mine, theirs = ([*maml.model.variables, *maml.slots] for maml in (other, run.maml))
    for variable, value in zip(mine, theirs, strict=True):
        variable.assign(value)
    for one, same in zip(other.adapt(x, y, 1).params, expected, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-5, atol=1e-7)
