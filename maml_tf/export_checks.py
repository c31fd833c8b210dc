"""Checks of what an exported model is called with. They are part of its graph, and so hold wherever it is loaded."""

import tensorflow as tf


def shaped(value, spec, name):
    """The value of an argument; running it fails where its shape is not that of `spec`, naming both, or it holds a NaN.

    It would not show in the answer: TensorFlow's fused ReLU makes a number of a NaN.

    Python compares the shapes of arguments itself, but a server need not, and TensorFlow would optimise a check away
    that, going by the signature, cannot fail. So the signature's shape is taken off first.
    """
    value = tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None), name=name)
    return finite(tf.ensure_shape(value, spec.shape), name)


def finite(value, name):
    """The value of an argument; running it fails where it holds a NaN or an infinity."""
    return tf.debugging.check_numerics(value, f"{name} must be finite") if value.dtype.is_floating else value


def same_number_of_examples(support_inputs, support_labels, inputs, targets):
    """Fails where the support is empty, or has not a label for each input; `inputs` and `targets` are their specs."""
    examples, labels = tf.shape(support_inputs)[0], tf.shape(support_labels)[0]
    expected = f"expected support_inputs {text(inputs)} and support_labels {text(targets)}"
    tf.debugging.assert_positive(examples, f"the support is empty: {expected}, with at least one example")
    tf.debugging.assert_equal(labels, examples, f"{expected}, with as many labels as inputs")


def at_least_one(value, name):
    """The value of a scalar argument; running it fails where it is less than 1."""
    assertion = tf.debugging.assert_positive(value, f"{name} must be a scalar of at least 1")
    with tf.control_dependencies([assertion]):
        return tf.identity(value)


def text(spec, axis="examples"):
    """The shape of a spec as messages show it, [examples, 28, 28, 1]; "any" is another axis whose size is free."""
    sizes = ["any" if size is None else str(size) for size in spec.shape]
    if sizes and sizes[0] == "any":
        sizes[0] = axis
    return f"[{', '.join(sizes)}]"
