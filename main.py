"""Meta-trains and tests MAML: `python main.py --datasource=omniglot --num_classes=5`; `--help` lists the flags.

Settings that are not given take the values of the paper for the datasource and the number of classes.
"""

import dataclasses
import sys

from maml_tf.runs import command

if __name__ == "__main__":
    command.while_loading()

# isort: split

from absl import flags

from data_generators.errors import UserError
from maml_tf.runs import process
from maml_tf.runs.command import guarded
from maml_tf.runs.process import quiet_import
from maml_tf.supervised.datasets import find
from maml_tf.supervised.experiment import Experiment, check_count

_DEFINE = {
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def main(argv):
    """Runs the command; returns its exit code."""
    return guarded(lambda: _run(argv))


def _run(argv):
    values = parse(argv)
    if values.help:
        print(__doc__, values.get_help(include_special_flags=False), sep="\n")
        return 0
    trained, tested = experiments(values)
    process.choose(trained.image_side)
    with quiet_import():
        from maml_tf.supervised import commands  # only now, so that --help and mistakes need not wait for TensorFlow
    return commands.run(trained, tested, values)


def parse(argv):
    """The flags of the original, by the same names, and ours.

    Args:
        argv: program name and arguments.

    Returns:
        absl.flags.FlagValues; settings of the experiment that are not given are None.

    Raises:
        UserError: an argument is not one of the flags, or a value has the wrong type.
    """
    values = flags.FlagValues()
    for field in dataclasses.fields(Experiment):
        define = _DEFINE.get(field.type, flags.DEFINE_string)
        define(field.name, None, field.metadata["help"], flag_values=values)
    _define_flags_of_the_run(values)
    try:
        _, *rest = values(argv)
    except flags.Error as error:
        raise UserError(str(error).removeprefix("ERROR:: ")) from error
    except (OSError, UnicodeError) as error:  # absl itself reads the file of --flagfile
        raise UserError(f"the file of --flagfile cannot be read ({error}): give another") from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag: write --name=value")
    for name in ("save_interval", "validation_interval", "test_iter"):
        check_count(name, values[name].value)
    if values.data_dir and not values.logdir:
        values.logdir = find(values.datasource or "sinusoid").logdir(values.data_dir)
    return values


def _define_flags_of_the_run(values):
    def define(kind, name, default, help, **bounds):
        kind(name, default, help, flag_values=values, **bounds)

    integer, text, boolean = flags.DEFINE_integer, flags.DEFINE_string, flags.DEFINE_bool
    define(text, "data_dir", None, "folder of the data; default data/omniglot or data/miniImagenet")
    define(text, "logdir", None, "folder of the runs; default logs/<datasource>, or logs/folder/<data_dir>")
    define(boolean, "log", True, "write TensorBoard summaries")
    cosine = "note how near the first-order meta-gradient is to the true one, in summaries and gradient_cosine.csv"
    define(boolean, "log_gradient_cosine", False, cosine)
    define(boolean, "resume", True, "continue from the latest checkpoint; otherwise put an earlier run aside")
    define(boolean, "train", True, "train, then test; otherwise only test")
    define(integer, "test_iter", -1, "with --train=False or --export_dir, iteration of the checkpoint; -1: the latest")
    define(text, "export_dir", None, "only export: write the latest checkpoint, or --test_iter, as a SavedModel there")
    define(boolean, "export_transductive", False, "normalise exported queries by their own statistics, as tests do")
    define(boolean, "test_set", None, "test on the test split (default), or on validation")
    inductive = "test with queries normalised by their own batch statistics, as the original; false: by the support's"
    define(boolean, "transductive", True, inductive)
    define(integer, "train_update_batch_size", -1, "shots of training, if other than those of the test")
    define(flags.DEFINE_float, "train_update_lr", -1, "inner step size of training, if other than the test's")
    define(integer, "save_interval", None, "iterations between checkpoints; default 1000, sinusoid 5000", lower_bound=1)
    never = "iterations between validations, 0: never; default 2500, sinusoid 10000"
    define(integer, "validation_interval", None, never, lower_bound=0)
    flags.DEFINE_enum("task_axis", "auto", ["auto", "map", "vectorize"], "how a step runs over its tasks", values)
    flags.DEFINE_enum("jit", "auto", ["auto", "true", "false"], "compile by XLA", values)
    flags.DEFINE_bool("help", False, "show this", short_name="h", flag_values=values)


def experiments(values):
    """The experiment as it is, or was, trained, and as it is tested; only shots and inner step size may differ.

    Raises:
        UserError: a setting is out of range, or does not fit the others.
    """
    given = {field.name: values[field.name].value for field in dataclasses.fields(Experiment)}
    names = ("update_batch_size", "update_lr")
    in_training = {name: values[f"train_{name}"].value for name in names if values[f"train_{name}"].value != -1}
    return Experiment.of(**(given | in_training)), Experiment.of(**given)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
