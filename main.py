"""Meta-trains and tests MAML: `python main.py --datasource=omniglot --num_classes=5`. `--help` lists the flags."""

import dataclasses
import sys
from pathlib import Path

from absl import flags

from data_generators.errors import UserError
from maml_tf.experiment import Experiment

FLAGS = flags.FLAGS
_DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}

for field in dataclasses.fields(Experiment):
    _DEFINE.get(field.type, flags.DEFINE_string)(field.name, None, field.metadata["help"] + "; default: the paper's")
flags.DEFINE_string("data_dir", None, "folder of the data; default data/<datasource>")
flags.DEFINE_string("logdir", None, "folder of the runs; default logs/<datasource>")
flags.DEFINE_bool("log", True, "write TensorBoard summaries")
flags.DEFINE_bool("resume", True, "go on from the latest checkpoint of this run, if there is one")
flags.DEFINE_bool("train", True, "train, then test; otherwise only test")
flags.DEFINE_integer("test_iter", -1, "iteration of the checkpoint to test; -1: the latest")
flags.DEFINE_bool("test_set", None, "test on the test split (default), or on validation")
flags.DEFINE_integer("train_update_batch_size", -1, "shots that the run was trained with, if they differ from those to test")
flags.DEFINE_float("train_update_lr", -1, "inner step size that the run was trained with, if it differs from that to test")
flags.DEFINE_integer("save_interval", None, "iterations between checkpoints; default 1000, sinusoid 5000")
flags.DEFINE_integer("validation_interval", None, "iterations between validations, 0: never; default 2500, sinusoid 10000")
flags.DEFINE_enum("task_axis", "auto", ["auto", "map", "vectorize"], "how a step runs over its tasks")
flags.DEFINE_enum("jit", "auto", ["auto", "true", "false"], "compile by XLA")


def main():
    """Runs the command; returns its exit code."""
    try:
        FLAGS(sys.argv)
        from maml_tf import commands  # after the flags, so that --help and mistakes need not wait for TensorFlow

        return commands.run(FLAGS)
    except (UserError, flags.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
