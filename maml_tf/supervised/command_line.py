"""Meta-trains and tests MAML: `python main.py --datasource=omniglot --num_classes=5`; `--help` lists the flags.

Settings that are not given take the values of the paper for the datasource and the number of classes.
"""

import dataclasses

from data_generators.errors import UserError
from maml_tf.runs import process
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.settings import check
from maml_tf.supervised.conditions import HEADS, TRAINED
from maml_tf.supervised.datasets import DATASETS, EVALUATION_TASKS
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.variants import PRESETS, preset


def main(argv: list[str]) -> int:
    """Runs the command, given the program's name and arguments; returns its exit code."""
    return command(__doc__, define, run, argv[1:])


def define(flags: Flags) -> None:
    """Defines the flags of the original, under the same names, and those of this project."""
    flags.settings(Experiment)
    flags.choice("preset", None, list(PRESETS), "the published settings of a variant; other flags override them")
    folders = dict.fromkeys(dataset.data_dir for dataset in DATASETS.values() if dataset.data_dir)
    flags.string("data_dir", None, f"folder of the data; default {', '.join(folders)}")
    flags.string("logdir", None, "folder of the runs; default logs/<datasource>, or logs/folder/<data_dir>")
    flags.boolean("log", True, "write TensorBoard summaries")
    cosine = "record the cosine of first- and second-order meta-gradient, in summaries and gradient_cosine.csv"
    flags.boolean("log_gradient_cosine", False, cosine)
    flags.boolean("resume", True, "resume from the latest checkpoint; false: rename the folder of an earlier run")
    flags.boolean("train", True, "train, then test; false: only test")
    iteration = "with --train=False or --export_dir, iteration of the checkpoint; -1 or latest; or best, on validation"
    flags.integer("test_iter", -1, iteration, words={"latest": -1, "best": "best"})
    together = "with --train=False, test this many of the best checkpoints on validation together, by their mean output"
    flags.integer("ensemble", None, together, least=1, most=5)
    flags.exclusive("ensemble", "test_iter", "name different checkpoints")
    flags.exclusive("ensemble", "export_dir", "do not go together, since an export holds one model")
    flags.string("export_dir", None, "only export: write the latest checkpoint, or --test_iter, as a SavedModel there")
    flags.boolean("export_transductive", False, "normalise exported queries by their own statistics, as tests do")
    flags.boolean("test_set", None, "test on the test split (default); false: on validation")
    inductive = "test with queries normalised by their own batch statistics, as the original; false: by the support's"
    flags.boolean("transductive", True, inductive)
    flags.exclusive("transductive", "export_dir", "do not go together: --export_transductive is the flag of an export")
    flags.integer("train_update_batch_size", -1, "shots of training, if they differ from those of the test")
    flags.number("train_update_lr", -1, "inner step size of training, if it differs from the test's")
    queries = "query examples per class, or points of a sinusoid, in the test; default: as many as shots"
    flags.integer("test_queries", None, queries, least=1, most=10_000)
    tasks = f"tasks of the test, the first of a fixed list; default: {EVALUATION_TASKS}"
    flags.integer("test_tasks", None, tasks, least=1)
    ways = "classes per task in the test; fewer than --num_classes use the first outputs; default: --num_classes"
    flags.integer("test_ways", None, ways, least=2, most=10_000)
    head = "output layer that the test starts from: as trained, or zero, which allows any --test_ways"
    flags.choice("test_head", TRAINED, HEADS, head)
    flags.integer("save_interval", None, "iterations between checkpoints; default 1000, sinusoid 5000", least=1)
    never = "iterations between validations, 0: never; default 2500, sinusoid 10000"
    flags.integer("validation_interval", None, never, least=0)
    images = "miniimagenet, cifar_fs, fc100 and folder"
    fewer = f"tasks of each validation, the first of a fixed list; default {EVALUATION_TASKS}, {images} 200"
    flags.integer("validation_tasks", None, fewer, least=1)
    only = "only time a few steps, and print the duration of the whole training and its memory on the host"
    flags.boolean("estimate", False, only)
    flags.exclusive("estimate", "export_dir", "are two things: an estimate is of a training")
    flags.choice("task_axis", "auto", ["auto", "map", "vectorize"], "how a step runs over its tasks")
    flags.choice("jit", "auto", ["auto", "true", "false"], "compile by XLA")
    twice = "compute inner updates twice in training, rather than keep their activations: less memory, same numbers"
    flags.boolean("remat", False, twice)
    flags.exclusive("remat", "export_dir", "do not go together: an export keeps no activations")
    flags.arithmetic()


def run(flags: Flags) -> int:
    """Trains, tests or exports; returns the exit code."""
    trained, tested = experiments(flags)
    if flags.data_dir is not None and "data_dir" not in trained.dataset.folders:
        raise UserError(
            f"--datasource={trained.datasource} reads no files: leave out --data_dir, or give --datasource=folder for "
            "images of your own"
        )
    process.choose_kernels(trained.image_side)
    with process.quiet_import():
        from maml_tf.supervised import commands  # not at the top: --help and user errors need no TensorFlow
    return commands.run(trained, tested, flags)


def parse(argv: list[str]) -> Flags:
    """Parses a command line, including the program's name.

    Raises:
        UserError: a flag is unknown or excluded by another, or a value is of the wrong type or range.
    """
    flags = Flags()
    define(flags)
    return flags.parse(argv[1:])


def experiments(flags: Flags) -> tuple[Experiment, Experiment]:
    """Returns the experiments of training and of the test, which may differ only in shots and inner step size."""
    given = {name: value for name, value in flags.given(Experiment).items() if value is not None}
    in_training = {}
    if flags.preset is not None:
        given = preset(flags.preset, given)
        if "train_update_batch_size" in given:
            in_training["update_batch_size"] = given.pop("train_update_batch_size")
    ranges = {field.name: field.metadata["range"] for field in dataclasses.fields(Experiment)}
    for name in ("update_batch_size", "update_lr"):
        value = getattr(flags, f"train_{name}")
        if value != -1:
            check(f"train_{name}", value, **ranges[name])  # here, so that the error names this flag
            in_training[name] = value
    return Experiment.of(**(given | in_training)), Experiment.of(**given)
