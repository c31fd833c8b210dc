"""Names that users and their files rely on: folders, flags, checkpoint keys, columns, tags, signatures."""

import csv
import json
import re

import pytest
import tensorflow as tf

from tests.net import commands, data
from tests.net.test_flag_names import RL_SETTINGS, SETTINGS

_SMALL = ("--meta_batch_size=2", "--metatrain_iterations=1", "--validation_interval=1", "--jit=false", "--logdir=runs")
_FEW = ("--validation_tasks=2", "--test_tasks=2")
_SINE = ("main", *_SMALL, "--learn_update_lr")
_OMNIGLOT = ("main", *_SMALL, *_FEW, "--datasource=omniglot", "--data_dir=omniglot", "--num_classes=2")
_OMNIGLOT += ("--num_filters=2", "--stop_grad")  # second order adds no names
_POLICY = ("--meta_batch_size=2", "--fast_batch_size=2", "--horizon=5", "--hidden_size=4", "--logdir=runs")
_words = str.split


def _run(folder, *lines):
    for line in lines:
        result = commands.fork(folder, *line)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def sinusoid(tmp_path_factory):
    """A folder with a small run of the sinusoid, and its export."""
    folder = tmp_path_factory.mktemp("sinusoid")
    return _run(folder, (*_SINE, *_FEW, "--log_gradient_cosine"), (*_SINE, "--export_dir=export"))


@pytest.fixture(scope="module")
def omniglot(tmp_path_factory):
    """A folder with a small run of Omniglot."""
    folder = tmp_path_factory.mktemp("omniglot")
    data.omniglot(folder)
    return _run(folder, _OMNIGLOT)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A folder with a small run of a policy, its returns on test goals, and its export."""
    return _run(
        tmp_path_factory.mktemp("policy"),
        ("scripts.train_rl", *_POLICY, "--iterations=1"),
        ("scripts.evaluate_rl", *_POLICY, "--policy=maml", "--trajectories=2", "--num_updates=1", "--out=out"),
        ("scripts.export_rl", *_POLICY, "--export_dir=export"),
    )


_PAPER_MINI = "cls_5.mbs_4.ubs_1.numstep5.updatelr0.01hidden32maxpoolbatchnorm"


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("main --num_updates=2 --seed=3", "logs/sinusoid/cls_5.mbs_25.ubs_10.numstep2.updatelr0.01nonorm.seed3"),
        (
            "main --pretrain_iterations=7 --stop_grad --norm=layer_norm",
            "logs/sinusoid/cls_5.mbs_25.ubs_10.numstep1.updatelr0.01stopgradlayernorm.pretrain7",
        ),
        (
            "main --datasource=omniglot --num_classes=20 --learn_update_lr",
            "logs/omniglot/cls_20.mbs_16.ubs_1.numstep5.updatelr0.1batchnorm.learnlr",
        ),
        (
            "main --datasource=omniglot --conv=false",
            "logs/omniglot/cls_5.mbs_32.ubs_1.numstep1.updatelr0.4batchnorm.noconv",
        ),
        ("main --datasource=miniimagenet --logdir=x", f"x/{_PAPER_MINI}"),
        ("main --datasource=folder --data_dir=a/b --image_channels=1", f"logs/folder/a/b/{_PAPER_MINI}.images84x1"),
        ("scripts.train_rl", "logs/point_navigation/maml.mbs_20.fbs_20.numgrad1.fastlr0.5.delta0.01"),
        (
            "scripts.train_rl --env=half_cheetah_velocity --iterations=475 --fast_batch_size=10",
            "logs/half_cheetah_velocity/maml.mbs_40.fbs_10.numgrad1.fastlr0.1.delta0.01",
        ),
        (
            "scripts.train_rl --env=half_cheetah_direction --meta_step_size=0.02 --nonlinearity=tanh",
            "logs/half_cheetah_direction/maml.mbs_40.fbs_20.numgrad1.fastlr0.1.delta0.02.nonlinearitytanh",
        ),
        ("scripts.train_rl --env=ant_velocity --baseline=oracle", "logs/ant_velocity/oracle.mbs_1.fbs_100.delta0.01"),
        (
            "scripts.train_rl --baseline=pretrained --seed=1",
            "logs/point_navigation/pretrained.mbs_20.fbs_20.adam.seed1",
        ),
        (
            "scripts.train_rl --env=ant_direction --hessian_product=exact --gae_lambda=0.9 --logdir=x",
            "x/ant_direction/maml.mbs_40.fbs_40.numgrad1.fastlr0.1.delta0.01.hessian_productexact.gae_lambda0.9",
        ),
    ],
)
def test_folder_of_a_run(tmp_path, line, folder):
    """The export command names the folder when it refuses to export a run that does not exist."""
    program, *flags = line.replace("train_rl", "export_rl").split()
    result = commands.fork(tmp_path, program, *flags, "--export_dir=out")
    assert result.returncode == 2
    assert re.search(rf"error: no (trained policy|checkpoint) in {re.escape(folder)}: ", result.stderr)
    if program == "main":
        assert f"  {'folder':21} {folder}\n" in result.stdout
    else:
        assert f": make it by `python -m {line}`" in result.stderr


def _keys(checkpoint):
    """{key: shape} of a checkpoint; the keys lack their common ending."""
    shapes = tf.train.load_checkpoint(str(checkpoint)).get_variable_to_shape_map()
    return {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shape for key, shape in shapes.items()}


def _optimizer(name, shapes):
    """{key: shape} that a checkpoint holds for Adam and variables of these shapes."""
    moments = {f"{name}/_variables/{2 + 2 * i + k}": shape for i, shape in enumerate(shapes) for k in range(2)}
    return {f"{name}/_iterations": [], f"{name}/_learning_rate": []} | moments


def _trained(shapes):
    return {f"optimizer/_trainable_variables/{i}": shape for i, shape in enumerate(shapes)}


_OF_EVERY_RUN = {"_CHECKPOINTABLE_OBJECT_GRAPH": [], "experiment": [], "iteration": []}


def test_checkpoint_of_the_sinusoid(sinusoid):
    (run,) = (sinusoid / "runs").iterdir()
    weights, sizes = [[1, 40], [40], [40, 40], [40], [40, 1], [1]], [[]] * 6
    expected = _OF_EVERY_RUN | _trained(weights + sizes) | _optimizer("optimizer", weights + sizes)
    expected |= _optimizer("pretrain_optimizer", weights) | {f"step_sizes/{i}": [] for i in range(6)}
    assert _keys(run / "model1") == expected


def test_checkpoint_of_omniglot(omniglot):
    (run,) = (omniglot / "runs").iterdir()
    weights = [[3, 3, 1, 2], [2], *[[3, 3, 2, 2], [2]] * 3, [2, 2], [2], *[[2]] * 4]
    expected = _OF_EVERY_RUN | _trained(weights) | _optimizer("optimizer", weights)
    expected |= _optimizer("pretrain_optimizer", weights)
    expected |= {f"model/_operations/{i}/{name}": [2] for i in (2, 5, 8, 11) for name in ("mean", "variance")}
    assert _keys(run / "model1") == expected


def test_checkpoint_of_a_policy(policy):
    (run,) = (policy / "runs" / "point_navigation").iterdir()
    expected = _OF_EVERY_RUN | {"best_return": [], "model/_operations/4/log_std": [2]}
    for i, (inputs, units) in enumerate([(2, 4), (4, 4), (4, 2)], start=1):
        expected |= {f"model/_operations/{i}/_kernel": [inputs, units], f"model/_operations/{i}/bias": [units]}
    assert _keys(run / "model1") == _keys(run / "best" / "model0") == expected


def _settings(checkpoint):
    text = tf.train.load_checkpoint(str(checkpoint)).get_tensor("experiment/.ATTRIBUTES/VARIABLE_VALUE")
    return json.loads(text)


def test_settings_in_checkpoints(sinusoid, policy):
    assert set(_settings(next((sinusoid / "runs").iterdir()) / "model1")) >= set(SETTINGS)
    assert set(_settings(next((policy / "runs" / "point_navigation").iterdir()) / "model1")) >= set(RL_SETTINGS)


def _header(path):
    with open(path, newline="") as file:
        return " ".join(next(csv.reader(file)))


_PROGRESS = (
    "iteration return_before return_after loss_before loss kl_before kl backtracks rejected policy_std "
    "explained_variance_before explained_variance_after env_steps diverged_paths seconds_sampling seconds_estimating "
    "seconds_step seconds"
)


def test_columns(sinusoid, policy):
    """The columns of a test's results are checked in tests/test_main.py."""
    (run,) = (sinusoid / "runs").iterdir()
    assert _header(run / "gradient_cosine.csv") == "iteration cosine"
    (run,) = (policy / "runs" / "point_navigation").iterdir()
    assert _header(run / "progress.csv") == _PROGRESS
    returns = policy / "out" / "point_navigation_returns.csv"
    assert _header(returns) == "policy update updates mean ci95 published_mean published_ci95"
    assert _header(policy / "out" / "point_navigation_trajectories.csv") == "task goal_x goal_y updates path step x y"


def _tags(folder):
    (file,) = folder.rglob("events.*")
    return {v.tag for event in tf.compat.v1.train.summary_iterator(str(file)) for v in event.summary.value}


def test_tensorboard_tags(sinusoid, omniglot, policy):
    losses = {"Pre-update loss", *(f"Post-update loss, step {i}" for i in range(1, 6))}
    accuracies = {"Pre-update accuracy", *(f"Post-update accuracy, step {i}" for i in range(1, 6))}
    validation = {f"Validation loss, step {i}" for i in range(11)}
    assert _tags(sinusoid) == losses | validation | {"Cosine of first- and second-order meta-gradient"}
    assert _tags(omniglot) == losses | accuracies | {f"Validation accuracy, step {i}" for i in range(4)}
    assert _tags(policy) == set(_PROGRESS.split()) - {"iteration"}


def _signatures(folder):
    signatures = tf.saved_model.load(str(folder)).signatures
    return {n: (set(f.structured_input_signature[1]), set(f.structured_outputs)) for n, f in signatures.items()}


def test_export_of_a_maml(sinusoid):
    weights = {f"{layer}_{kind}" for layer in ("dense1", "dense2", "output") for kind in ("kernel", "bias")}
    support, more = {"support_inputs", "support_labels"}, {"step_size", "num_updates"}
    outputs = {"query_outputs", "support_examples"}
    expected = {
        "serving_default": ({"inputs"}, {"outputs"}),
        "predict": ({"inputs"}, {"outputs"}),
        "predict_with": ({"inputs"} | weights, {"outputs"}),
        "adapt": (support, weights),
        "adapt_with": (support | more, weights),
        "adapt_and_predict": (support | {"query_inputs"}, outputs),
        "adapt_and_predict_with": (support | {"query_inputs"} | more, outputs),
    }
    assert _signatures(sinusoid / "export") == expected
    description = json.loads((sinusoid / "export" / "assets.extra" / "maml.json").read_text())
    assert list(description) == _words(
        "maml_tf tensorflow keras datasource iteration settings step_size num_updates queries_normalised_by weights "
        "state arguments"
    )
    assert description["arguments"].keys() == expected.keys() - {"serving_default"}
    assert {name: set(arguments) for name, arguments in description["arguments"].items()} == {
        name: expected[name][0] for name in description["arguments"]
    }


def test_export_of_a_policy(policy):
    weights = {f"{layer}_{kind}" for layer in ("dense0", "dense1", "means") for kind in ("kernel", "bias")}
    weights |= {"log_std_log_std"}
    samples, outputs = {"observations", "actions", "advantages"}, {"means", "log_std"}
    assert _signatures(policy / "export") == {
        "serving_default": ({"observations"}, outputs),
        "predict": ({"observations"}, outputs),
        "predict_with": ({"observations"} | weights, outputs),
        "adapt": (samples, weights),
        "adapt_with": (samples | {"step_size"}, weights),
        "adapt_again": (samples | {"step_size"} | weights, weights),
    }
    description = json.loads((policy / "export" / "assets.extra" / "maml.json").read_text())
    assert list(description) == _words(
        "maml_tf tensorflow keras env iteration settings goal actions advantages step_size "
        "step_size_of_later_updates weights arguments"
    )
