"""Exports a policy of scripts.train_rl as a TensorFlow SavedModel, which acts and adapts without this project.

python -m scripts.export_rl --env=point_navigation --export_dir=exported/navigation/1
python -m scripts.export_rl --env=point_navigation --baseline=pretrained --export_dir=exported/pretrained/1

Give the flags of the training. The latest checkpoint is exported unless --test_iter or --best names another. The
folder must be empty, or not exist. <export_dir>/assets.extra/maml.json describes the export. Signatures:

  predict       observations -> means and log_std of the actions
  adapt         observations, actions, advantages -> the weights after one update with the step size of training; for a
                pretrained policy, with that of the original's tests
  adapt_with    arguments of adapt, step_size -> the weights after one update with this step size
  adapt_again   arguments of adapt_with, weights -> these weights after one more update
  predict_with  observations, weights -> means and log_std with these weights

Every update needs new samples, drawn with the weights that it changes, so a call makes only one update.
"""

from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl.experiment import RLExperiment


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.string("logdir", None, "folder of the runs; the run is in its subfolder <env>; default: logs")
    flags.integer("test_iter", None, "iteration of the checkpoint; default: the latest")
    flags.boolean("best", False, "take the policy with the best training return")
    flags.exclusive("best", "test_iter", "name different checkpoints")
    flags.string("export_dir", None, "folder of the export; it must be empty, or not exist", required=True)


def run(flags: Flags) -> None:
    """Exports the policy."""
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    with quiet_import():
        from maml_tf.export import refuse_unless_free
        from rl.build import load_policy
        from rl.export import export

    refuse_unless_free(flags.export_dir)
    policy, iteration = load_policy(experiment, flags.logdir, flags.test_iter, flags.best)
    print(f"Exporting the policy of iteration {iteration}")
    print(f"Written to {export(policy, experiment, iteration, flags.export_dir)}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)
