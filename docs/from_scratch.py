"""
# MAML from scratch in one file

This page builds Model-Agnostic Meta-Learning (Finn, Abbeel and Levine 2017) from an empty file, for regression and for
few-shot classification. It uses Keras and TensorFlow alone, except for batch normalisation, whose second derivative is
wrong in Keras. A test compares the meta-gradient below with the library's, which is the same and faster.

## Setup
"""

import zipfile

import keras
import numpy as np
import tensorflow as tf

from maml_tf.layers import BatchNorm

tf.get_logger().setLevel("ERROR")  # no remark that a graph is made for each number of updates
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)

"""
## A model as a function of its weights

MAML needs a network's answers under weights that are no variables: the weights after a gradient step are tensors that
depend on the weights before it. `stateless_call` is a Keras model as such a function. With `training=True`, batch
normalisation takes the statistics of the batch at hand.
"""


def outputs(model, weights, x):
    return model.stateless_call(weights, model.non_trainable_variables, x, training=True)[0]


"""
## The inner loop

A task gives a few examples to adapt to, the support set. The inner loop descends its loss from the initial weights
theta:

    theta' = theta - alpha * gradient of L_support(theta)

Nothing is assigned. Each new weight is a tensor, computed from the old ones, so that a tape outside of this function
can differentiate through all updates; `first_order` cuts that path. The offset of batch normalisation is meta-learned,
but does not adapt, as in the authors' code.
"""


def adapt(model, loss, weights, x, y, step_size, num_updates, first_order=False):
    weights = [tf.convert_to_tensor(weight) for weight in weights]
    for _ in range(num_updates):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            support_loss = loss(outputs(model, weights, x), y)
        gradients = tape.gradient(support_loss, weights)
        if first_order:
            gradients = [tf.stop_gradient(gradient) for gradient in gradients]
        moves = ["norm" not in variable.path for variable in model.trainable_variables]
        weights = [w - step_size * g if m else w for w, g, m in zip(weights, gradients, moves, strict=True)]
    return weights


"""
## The meta-gradient

Other examples of the task, the query set, say how good the adapted weights are. The meta-objective is the mean of
their loss over a batch of tasks. Its gradient with respect to the *initial* weights goes back through the inner loop,
so that it has second derivatives of the support loss:

    gradient, by theta, of the mean over tasks of L_query(theta')

The outer tape watches theta and records the inner tape at work. That is all of MAML. `tf.function` compiles it.
"""


@tf.function
def query_mean(metric, model, loss, weights, tasks, step_size, num_updates, first_order=False):
    """The mean of a metric over tasks: support x, support y, query x, query y, each [tasks, examples, ...]."""

    def of_task(task):
        support_x, support_y, query_x, query_y = task
        adapted = adapt(model, loss, weights, support_x, support_y, step_size, num_updates, first_order)
        return metric(outputs(model, adapted, query_x), query_y)

    return tf.reduce_mean(tf.map_fn(of_task, tasks, fn_output_signature=weights[0].dtype))


def meta_gradient(model, loss, tasks, step_size, num_updates, first_order=False):
    weights = [tf.convert_to_tensor(variable) for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        mean_loss = query_mean(loss, model, loss, weights, tasks, step_size, num_updates, first_order)
    return mean_loss, tape.gradient(mean_loss, weights)


"""
## The meta-update

Adam follows the meta-gradient.
"""


def train(model, loss, draw_tasks, num_iterations, step_size, num_updates=1):
    optimizer = keras.optimizers.Adam(0.001)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(tasks):
        mean_loss, gradients = meta_gradient(model, loss, tasks, step_size, num_updates)
        optimizer.apply(gradients, model.trainable_variables)
        return mean_loss

    losses = [float(step(draw_tasks())) for _ in range(num_iterations)]
    print("mean query loss in each quarter of the training:", *(f"{np.mean(q):.3f}" for q in np.array_split(losses, 4)))


"""
## Regression: sinusoids

A task is a curve of random amplitude and phase, with ten points to adapt to. No single network fits all curves.
"""


def sinusoids(num_tasks=25, points=10):
    amplitude = random.uniform(0.1, 5.0, (num_tasks, 1, 1))
    phase = random.uniform(0.0, np.pi, (num_tasks, 1, 1))
    x = random.uniform(-5.0, 5.0, (num_tasks, 2 * points, 1))
    x, y = np.float32(x), np.float32(amplitude * np.sin(x - phase))
    return x[:, :points], y[:, :points], x[:, points:], y[:, points:]


def sinusoid_network(dtype="float32"):
    dense = [keras.layers.Dense(40, "relu", dtype=dtype) for _ in range(2)]
    return keras.Sequential([keras.Input((1,), dtype=dtype), *dense, keras.layers.Dense(1, dtype=dtype)])


def squared_error(y, targets):
    return tf.reduce_mean(tf.square(y - targets))


network = sinusoid_network()
train(network, squared_error, sinusoids, num_iterations=5000, step_size=0.01)
new_tasks = sinusoids(600)
for num_updates in 0, 1, 5:
    error = query_mean(squared_error, network, squared_error, network.trainable_variables, new_tasks, 0.01, num_updates)
    print(f"error on 600 new tasks after {num_updates} updates: {error:.2f}")

"""
## Classification: Omniglot

A task is five new handwritten characters, with one image of each to adapt to. `get_file` downloads the images to
`data/omniglot`. Training takes the background set, the test the evaluation set: not the split of the paper.
"""


def characters(part):
    """The images of a published part: [characters, 20, 28, 28, 1], white on black."""
    address = f"https://github.com/brendenlake/omniglot/raw/master/python/{part}.zip"
    with zipfile.ZipFile(
        keras.utils.get_file(f"{part}.zip", address, cache_dir="data", cache_subdir="omniglot")
    ) as file:
        pngs = [file.read(name) for name in sorted(file.namelist()) if name.endswith(".png")]
    images = [tf.image.resize(tf.io.decode_png(png), (28, 28), "area") for png in pngs]
    return 1 - np.stack(images).reshape(-1, 20, 28, 28, 1) / 255


def episodes(images, num_tasks=16, ways=5):
    chosen = [random.choice(len(images), ways, replace=False) for _ in range(num_tasks)]
    x = np.stack([images[classes][:, random.choice(20, 2, replace=False)] for classes in chosen])
    y = np.tile(np.eye(ways, dtype="float32"), (num_tasks, 1, 1))
    return x[:, :, 0], y, x[:, :, 1], y  # an image of each class as support, and another as query


def omniglot_network(ways=5, filters=32, dtype="float32"):
    model = keras.Sequential([keras.Input((28, 28, 1), dtype=dtype)])
    for i in range(4):
        model.add(keras.layers.Conv2D(filters, 3, strides=2, padding="same", dtype=dtype))
        model.add(BatchNorm(name=f"norm{i}", dtype=dtype))
        model.add(keras.layers.ReLU(dtype=dtype))
    model.add(keras.layers.GlobalAveragePooling2D(dtype=dtype))
    model.add(keras.layers.Dense(ways, dtype=dtype))
    return model


def cross_entropy(logits, labels):
    """Summed over the examples and divided by the shots, here 1, as in the authors' code."""
    return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(labels, logits))


def accuracy(logits, labels):
    return tf.reduce_mean(tf.cast(tf.argmax(logits, -1) == tf.argmax(labels, -1), "float32"))


network, images = omniglot_network(), characters("images_background")
train(network, cross_entropy, lambda: episodes(images), num_iterations=2000, step_size=0.4)
new_tasks = episodes(characters("images_evaluation"), 600)
for num_updates in 0, 1, 3:
    share = query_mean(accuracy, network, cross_entropy, network.trainable_variables, new_tasks, 0.4, num_updates)
    print(f"accuracy on 600 tasks of new characters after {num_updates} updates: {share:.3f}")
