"""The flags of `python main.py`: the flags of the original, their meaning, and user errors in them."""

import re
import sys

import pytest

import main
from data_generators.errors import UserError
from maml_tf.supervised.experiment import Experiment
from tests import command
from tests.command import assert_refused


def experiments(line):
    return main.experiments(main.parse(["main.py", *line.split()]))


ORIGINAL_FLAGS = {
    "datasource": "sinusoid",
    "num_classes": 5,
    "baseline": "oracle",
    "pretrain_iterations": 0,
    "metatrain_iterations": 15000,
    "meta_batch_size": 25,
    "meta_lr": 0.001,
    "update_batch_size": 5,
    "update_lr": 1e-3,
    "num_updates": 1,
    "norm": "batch_norm",
    "num_filters": 64,
    "conv": True,
    "max_pool": False,
    "stop_grad": False,
    "log": True,
    "logdir": "/tmp/data",
    "resume": True,
    "train": True,
    "test_iter": -1,
    "test_set": False,
    "train_update_batch_size": -1,
    "train_update_lr": -1.0,
}


def test_every_flag_of_the_original_is_there():
    values = main.parse(["main.py", *(f"--{name}={value}" for name, value in ORIGINAL_FLAGS.items())])
    assert {name: getattr(values, name) for name in ORIGINAL_FLAGS} == ORIGINAL_FLAGS


def test_defaults_of_the_run_are_the_original_s():
    values = main.parse(["main.py"])
    for name in ("log", "resume", "train", "test_iter", "train_update_batch_size", "train_update_lr"):
        assert getattr(values, name) == ORIGINAL_FLAGS[name]
    assert experiments("") == (Experiment.of(), Experiment.of())


SINUSOID = "--datasource=sinusoid --logdir=logs/sine/ --norm=None --update_batch_size=10"
FIVE_WAY = (
    "--datasource=omniglot --metatrain_iterations=60000 --meta_batch_size=32 --update_batch_size=1 --update_lr=0.4 "
    "--num_updates=1 --logdir=logs/omniglot5way/"
)
TWENTY_WAY = (
    "--datasource=omniglot --metatrain_iterations=60000 --meta_batch_size=16 --update_batch_size=1 --num_classes=20 "
    "--update_lr=0.1 --num_updates=5 --logdir=logs/omniglot20way/"
)
MINI = (
    "--datasource=miniimagenet --metatrain_iterations=60000 --meta_batch_size=4 --update_lr=0.01 --num_updates=5 "
    "--num_classes=5 --logdir=logs/miniimagenet1shot/ --num_filters=32 --max_pool=True"
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{SINUSOID} --metatrain_iterations=70000", Experiment.of()),
        (
            f"{SINUSOID} --pretrain_iterations=70000 --metatrain_iterations=0",
            Experiment.of(pretrain_iterations=70000, metatrain_iterations=0),
        ),
        (
            f"{SINUSOID} --pretrain_iterations=70000 --metatrain_iterations=0 --baseline=oracle",
            Experiment.of(baseline="oracle"),
        ),
        (FIVE_WAY, Experiment.of(datasource="omniglot", num_classes=5)),
        (TWENTY_WAY, Experiment.of(datasource="omniglot", num_classes=20)),
        (f"{MINI} --update_batch_size=1", Experiment.of(datasource="miniimagenet")),
        (f"{MINI} --update_batch_size=5", Experiment.of(datasource="miniimagenet", update_batch_size=5)),
        ("--datasource=omniglot --num_classes=5", Experiment.of(datasource="omniglot")),
    ],
)
def test_commands_of_the_original_mean_the_paper_s_experiments(line, expected):
    for more in ("", " --train=False --test_set=True"):
        assert experiments(line + more) == (expected, expected)


def test_what_is_logged_and_how_is_tested_is_as_in_the_original_unless_asked_for():
    values = main.parse(["main.py"])
    assert (values.log_gradient_cosine, values.transductive) == (False, True)
    values = main.parse(["main.py", "--log_gradient_cosine", "--transductive=false"])
    assert (values.log_gradient_cosine, values.transductive) == (True, False)


def test_settings_of_training_and_test_may_differ():
    trained, tested = experiments(
        "--train_update_batch_size=10 --update_batch_size=5 --train_update_lr=0.02 --update_lr=0.01"
    )
    assert (trained.update_batch_size, trained.update_lr) == (10, 0.02)
    assert (tested.update_batch_size, tested.update_lr) == (5, 0.01)
    trained, tested = experiments("--train_update_batch_size=20")
    assert (trained.update_batch_size, tested.update_batch_size) == (20, 10)
    with pytest.raises(UserError, match="--update_batch_size must be at least 1, not 0"):
        experiments("--train_update_batch_size=10 --update_batch_size=0")
    with pytest.raises(UserError, match="--update_lr must be a positive number"):
        experiments("--train_update_lr=0.01 --update_lr=-1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--train_update_batch_size=0", "--train_update_batch_size must be at least 1, not 0"),
        ("--train_update_batch_size=-2", "--train_update_batch_size must be at least 1, not -2"),
        ("--preset=reptile --train_update_batch_size=0", "--train_update_batch_size must be at least 1, not 0"),
        ("--train_update_batch_size=10001", "--train_update_batch_size must be at most 10000, not 10001"),
        ("--train_update_lr=0", "--train_update_lr must be a positive number, not 0"),
        ("--train_update_lr=nan", "--train_update_lr must be a positive number, not nan"),
    ],
)
def test_a_mistake_in_a_flag_of_training_is_told_by_its_own_name(line, message):
    with pytest.raises(UserError, match=f"^{message}"):
        experiments(line)


def test_folders_of_images_each_have_their_own_log_folder():
    line = "--datasource=folder --data_dir=pictures/birds/"

    trained, _ = experiments(f"{line} --image_size=32 --image_channels=1")
    assert (trained.image_size, trained.image_channels) == (32, 1)
    assert trained.dataset.logdir("pictures/birds/") == "logs/folder/pictures/birds"
    assert trained.dataset.logdir("/somewhere/else/birds") == "logs/folder/somewhere/else/birds"
    assert Experiment.of(datasource="omniglot").dataset.logdir("birds") is None


def test_a_tilde_in_any_folder_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    names = "logdir", "data_dir", "export_dir", "splits"
    values = main.parse(["main.py", *(f"--{name}=~/my/{name}" for name in names)])
    assert [getattr(values, name) for name in names] == [f"/home/ada/my/{name}" for name in names]


def test_help_lists_every_flag_without_tensorflow(tmp_path):
    for flag in ("--help", "-h"):
        result = command.run(tmp_path, flag)
        assert (result.returncode, result.stderr) == (0, "")
        for name in {*ORIGINAL_FLAGS, "seed", "data_dir", "jit", "task_axis", "export_dir", "help"}:
            assert re.search(rf"^  --{name}$|^  --{name} ", result.stdout, re.MULTILINE)
    check = "import main, sys; main.experiments(main.parse(['main.py'])); sys.exit('tensorflow' in sys.modules)"
    assert command.subprocess.run([sys.executable, "-c", check], cwd=command.ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--datasource=imagenet",
            "unknown datasource 'imagenet': choose one of sinusoid, omniglot, miniimagenet, cifar_fs, fc100, folder",
        ),
        ("--datasource=folder --splits=nothing", "there is no nothing: --splits takes a file or folder with lists"),
        ("--datasource=folder --augment=blur", "unknown augment 'blur': choose one of none, flip_crop"),
        ("--normalize=per_channel", "--normalize goes with photographs, and sinusoid has none: leave it out"),
        ("--image_size=28", "--image_size goes with --datasource=folder: sinusoid has its own"),
        ("--image_size=small", "flag --image_size=small: invalid literal for int()"),
        (
            "--norm=group_norm",
            "unknown norm 'group_norm': choose one of batch_norm, per_update_batch_norm, layer_norm, None",
        ),
        ("--baseline=random", "unknown baseline 'random': the only one is 'oracle'"),
        ("--baseline=oracle --datasource=omniglot", "--baseline=oracle needs --datasource=sinusoid"),
        ("--meta_batch_size=0", "--meta_batch_size must be at least 1, not 0"),
        ("--update_batch_size=-3", "--update_batch_size must be at least 1, not -3"),
        ("--num_updates=many", "flag --num_updates=many: invalid literal for int()"),
        ("--num_classes=2.5", "flag --num_classes=2.5: invalid literal for int()"),
        ("--update_lr=fast", "flag --update_lr=fast: could not convert string to float"),
        ("--save_interval=0", "--save_interval must be at least 1, not 0"),
        ("--validation_interval=-1", "--validation_interval must be at least 0, not -1"),
        ("--save_interval=2147483648", "--save_interval must be at most 2147483647, not 2147483648"),
        (f"--validation_interval={10**30}", f"--validation_interval must be at most 2147483647, not {10**30}"),
        ("--test_iter=2147483648", "--test_iter must be at most 2147483647, not 2147483648"),
        ("--task_axis=both", "flag --task_axis=both: value should be one of <auto|map|vectorize>"),
        ("--stop_grad=perhaps", "flag --stop_grad=perhaps: "),
        ("--num_clases=5", "Unknown command line flag 'num_clases'. Did you mean: num_classes"),
        ("--logdir=", "flag --logdir=: give a value, or leave the flag out"),
        ("--conv False", "'False' is not a flag: write --name=value"),
        ("omniglot", "'omniglot' is not a flag: write --name=value"),
    ],
)
def test_mistake_in_the_flags(tmp_path, line, message):
    result = command.run(tmp_path, *line.split())
    assert_refused(result, message)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
