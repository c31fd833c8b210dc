"""TensorBoard summaries of a training run."""

import contextlib

import tensorflow as tf

GRADIENT_COSINE = "Cosine of first- and second-order meta-gradient"


@contextlib.contextmanager
def summaries(folder, log=True):
    """A function write(scalars, iteration) for a dict of numbers by name; without `log`, one that writes nothing."""
    if not log:
        yield lambda scalars, iteration: None
        return
    # Compiled takes a tenth of the time; and anew for each writer, since the graph holds on to it.
    compiled = tf.function(_write)

    def write(scalars, iteration):
        tensors = {name: tf.constant(value, tf.float32) for name, value in scalars.items()}  # a float would be traced
        compiled(tensors, tf.constant(iteration, tf.int64))

    with tf.summary.create_file_writer(str(folder)).as_default():
        yield write


def curve_scalars(figures):
    """The original's scalars, means over tasks of what `MAML.evaluate` gives, by its names."""
    scalars = {}
    for name, curves in (("loss", "losses"), ("accuracy", "accuracies")):
        if curves in figures:
            scalars[f"Pre-update {name}"] = figures[f"support_{name}"].mean()
            after = figures[curves].mean(0)[1:]
            scalars |= {f"Post-update {name}, step {update}": value for update, value in enumerate(after, start=1)}
    return scalars


def _write(scalars, iteration):
    for name, value in scalars.items():
        tf.summary.scalar(name, value, iteration)
