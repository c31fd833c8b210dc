"""Lets several commands in one process share a MAML, so that it is compiled only once."""

import dataclasses

import keras

from maml_tf.distribution import ALONE
from maml_tf.supervised import build
from tests.maml_tf.small_models import trained_variables

_build = build.build
_NOT_OF_A_MAML = dict.fromkeys(("pretrain_iterations", "metatrain_iterations"))


class BuiltOnce:
    """Replaces `build.build`: returns the same MAML for the same settings, with all variables at their initial values.

    A command must have ended before the next one with the same settings begins.
    """

    def __init__(self):
        self._built = {}

    def __call__(
        self, experiment, source, task_axis="auto", jit="auto", shots=None, ways=None, workers=ALONE, remat=False
    ):
        assert workers.count == 1
        assert experiment.meta_lr_decay == "none", "its optimizer would be that of another number of iterations"
        settings = dataclasses.asdict(experiment) | _NOT_OF_A_MAML
        how = task_axis, jit, shots or experiment.update_batch_size, ways
        key = str((settings, source.input_shape, source.output_size, how, remat))
        if key not in self._built:
            maml = _build(experiment, source, *how, remat=remat)
            self._built[key] = maml, [variable.numpy() for variable in trained_variables(maml)]
        maml, initial = self._built[key]
        keras.utils.set_random_seed(experiment.seed)
        for variable, value in zip(trained_variables(maml), initial, strict=True):
            variable.assign(value)
        return maml
