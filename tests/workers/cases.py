"""Computes cases alone or as workers, for the test to compare: `python -m tests.workers.cases FILE [slow]`.

Every case is a function of Alone or Workers that returns arrays by name. An array whose name begins with "own" belongs
to the worker's own tasks; the other arrays are the same for all workers.
"""

import functools
import sys
import tempfile

import gymnasium
import keras
import numpy as np

from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML, adam
from maml_tf.optimizers import annealed_query_weights
from maml_tf.runs import process, workers
from maml_tf.supervised import evaluation
from maml_tf.supervised.steps import gradient_cosine, steps_for
from rl import vpg
from rl.advantages import Samples
from rl.experiment import EXACT, RLExperiment
from rl.maml_trpo import MAMLTRPO
from rl.policy import GaussianPolicy, gaussian_mlp
from rl.training import PolicyTraining
from rl.trpo import TrustRegion
from tests.maml_tf.golden_checks import check_meta_training
from tests.maml_tf.goldens import Golden
from tests.maml_tf.small_runs import SINUSOID, small
from tests.rl.envs.test_own import ID as OWN
from tests.rl.envs.test_own import Lift


def tasks(count, *shape, classes=3, seed=0):
    """Tasks with support and query sets of 3 * classes examples each; float64."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 6 * classes, *shape))
    y = np.eye(classes)[np.tile(np.arange(6 * classes) % classes, (count, 1))]
    return Tasks(x[:, ::2], y[:, ::2], x[:, 1::2], y[:, 1::2])


def dense(*layers, dtype="float64"):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), *(layer(dtype=dtype) for layer in layers)])


def head(**options):
    return keras.layers.Dense(3, name="output", **options)


def dropout(**options):
    return keras.layers.Dropout(0.5, **options)


def conv(block):
    """A network of the first block of `networks.conv4` and an output layer."""
    inputs = keras.Input((8, 8, 1), dtype="float64")
    x = block(inputs, 1, 4, "batch_norm", max_pool=block is networks.pooled_first_block, dtype="float64")
    return keras.Model(inputs, head(dtype="float64")(keras.layers.Flatten(dtype="float64")(x)))


def own_of(together, whole):
    """(index of the first task, Tasks) of this worker's share."""
    first, size = together.share(len(whole.query_x))
    return first, Tasks(*(values[first : first + size] for values in whole))


CLASSES = {"loss": losses.SoftmaxCrossEntropy(), "accuracy": losses.accuracy, "num_updates": 2}
MAPPED = {"task_axis": "map", "jit": False}
CLIP, CLIPPED = 1e-3, ("clipped", "conv_vectorised")  # small enough to take effect
ONCE, SIDE_BY_SIDE = ({"num_updates": 1, "task_axis": axis, "jit": False} for axis in ("map", "vectorize"))
MAMLS = {  # name -> (function that makes the network, input shape, number of tasks, settings)
    "dense_float32": (lambda: dense(head, dtype="float32"), (4,), 5, SIDE_BY_SIDE),
    "first_order": (lambda: dense(head), (4,), 5, {**ONCE, "first_order": True}),
    "learned": (lambda: dense(head), (4,), 5, {**ONCE, "learn_step_size": "per_weight"}),
    "random": (lambda: dense(dropout, head), (4,), 5, ONCE),
    "all_updates": (lambda: dense(head), (4,), 4, {**MAPPED, "query_weights": annealed_query_weights(2, 10)}),
    "reptile": (lambda: dense(head), (4,), 5, {**MAPPED, "algorithm": "reptile", "inner_optimizer": "adam"}),
    "minibatches": (lambda: dense(head), (4,), 5, {**ONCE, "minibatch": 2}),
    "conv": (lambda: conv(networks.folded_block), (8, 8, 1), 3, ONCE),
    "conv4": (lambda: networks.conv4((16, 16, 1), 3, 4, dtype="float64"), (16, 16, 1), 3, ONCE),
    "conv_vectorised": (lambda: conv(networks.pooled_first_block), (8, 8, 1), 3, {**SIDE_BY_SIDE, "first_order": True}),
    "conv_second_order": (lambda: conv(networks.pooled_first_block), (8, 8, 1), 3, SIDE_BY_SIDE),
    "clipped": (lambda: dense(head), (4,), 5, ONCE),
}
# Cases that also compute a pretraining step, or meta-gradients. What sets the other cases apart does not affect these
# computations, except for the cases in SLOWLY, which are slow.
PRETRAINED, GRADIENTS = ("random", "conv"), ("first_order",)
WHOLE = ("conv4", "conv_second_order")  # slow; other cases are parts of these
SLOWLY = {"dense_float32": "pretrained", "clipped": "pretrained", "reptile": "gradients", "all_updates": "gradients"}
LATER = {*WHOLE, *SLOWLY} - {"dense_float32"}  # only computed among the slow cases


@functools.cache  # so that cases share what they have compiled
def maml_of(together, name):
    network, _, _, settings = MAMLS[name]
    keras.utils.set_random_seed(0)
    optimizer = None if "algorithm" in settings else adam(1e-3, clip=CLIP if name in CLIPPED else None)
    return MAML(network(), **{**CLASSES, **settings}, step_size=0.1, optimizer=optimizer, workers=together)


def mamls(together, name, slowly=None):
    _, shape, count, _ = MAMLS[name]
    maml, (first, own) = maml_of(together, name), own_of(together, tasks(count, *shape))
    found = {}
    if name in GRADIENTS or slowly == "gradients":
        found = {f"gradient{i}": g.numpy() for i, g in enumerate(maml.meta_gradients(own, first=first))}
    # These depend on a task's place in the meta-batch.
    if name == "minibatches":
        found["cosine"] = maml.compiler(functools.partial(gradient_cosine, maml, first=first))(own).numpy()
    if name == "random":
        found |= {f"own_{k}": v.numpy() for k, v in maml.curves(own, num_updates=2, first=first).items()}
    for step in range(3):
        found |= {f"{k}{step}": v.numpy() for k, v in maml.train_step(own, first=first).items()}
        if step == 0:  # Adam's moments are multiples of the gradient and of its square
            found |= {f"optimizer{i}": np.asarray(v) for i, v in enumerate(maml.optimizer.variables)}
    if name in PRETRAINED or slowly == "pretrained":
        found |= {f"{k}_pretrained": v.numpy() for k, v in maml.pretrain_step(own, first=first).items()}
    learned = [*maml.model.variables, *maml.step_sizes, *maml.slots]
    found |= {f"after{i}_{v.name}": np.asarray(v) for i, v in enumerate(learned)}
    return found


def compiled_loop(together, jit=False):
    """Runs 50 steps of the compiled loop, 10 of them pretraining; two workers share the 25 sinusoids as 13 and 12."""
    experiment = small({**SINUSOID, "meta_batch_size": 25}, 40, pretrain_iterations=10)
    keras.utils.set_random_seed(0)
    maml = MAML(networks.mlp((1,), 1, (8,)), losses.mse, jit=jit, workers=together)
    found = {}
    with steps_for(maml, experiment, Sinusoid(3)) as steps:
        for first, last in ((0, 10), (10, 30), (30, 50)):
            for _, metrics in steps.run(first, last):
                found |= {f"{name}_{last}": values for name, values in metrics.items()}
    return found | {f"after{i}": v.numpy() for i, v in enumerate(maml.weights)}


def evaluations(together):
    """Evaluates 13 tasks in uneven shares, and 1 task, fewer than workers; mapped, so every task is computed alone."""
    maml = maml_of(together, "random")  # trained; its random numbers depend on a task's place in a call
    assert maml.optimizer.iterations == 3, "the case maml_random comes first, and takes three steps"
    for variable in maml.weights:  # trained weights depend on the number of workers, by rounding
        variable.assign(np.ones(variable.shape) / 7)
    listed, found = tasks(13, 4, seed=1), {}
    for count, in_call in ((13, 3), (1, 3)):
        result = evaluation.evaluate(
            maml,
            lambda first, size: Tasks(*(values[first : first + size] for values in listed)),
            num_tasks=count,
            num_updates=2,
            tasks_per_call=in_call,
            label=None,
            workers=together,
        )
        found |= {f"query{count}": result.query, f"support{count}": result.support, f"losses{count}": result.losses}
    return found


def trust_region(together):
    """Takes a TRPO step by exact products on 5 tasks of unequal numbers of samples, and a pretraining step."""
    generator, found = np.random.default_rng(2), {}
    policy = GaussianPolicy(gaussian_mlp(3, 2, (), seed=0, dtype="float64"))
    mask = (np.arange(40) < generator.integers(10, 40, (5, 1))).astype(np.float64)

    def samples():
        observations, noise = (generator.normal(size=(5, 40, size)) for size in (3, 2))
        means, log_std = (np.asarray(v) for v in policy(policy.params(), observations.reshape(-1, 3)))
        means = means.reshape(noise.shape)
        advantages = generator.normal(size=(5, 40)) * mask
        return Samples(observations, means + noise, advantages, mask, means, np.tile(log_std, (5, 1)))

    first, size = together.share(5)
    before, after = (Samples(*(v[first : first + size] for v in samples())) for _ in range(2))
    learner = MAMLTRPO(policy, 0.1, TrustRegion(delta=0.01), EXACT, workers=together)
    step = learner.solve(policy.flat(), (before,), after)
    found |= {name: np.asarray(value) for name, value in step._asdict().items()}
    pretraining = vpg.AdamPretraining(policy, workers=together)
    found["loss_of_pretraining"] = np.array(pretraining.step((), after)["loss_before"])
    return found | {f"pretrained{i}": v.numpy() for i, v in enumerate(policy.variables)}


def reinforcement_learning(together):
    """The samples and metrics of the first iteration of 5 tasks, without its step."""
    found = {}
    for env in ("half_cheetah_direction", OWN):  # unlike point navigation, they draw their first states
        own, metrics = iteration(together, env, lambda *of_step: {})
        found |= {f"own_{env}_{n}": v for n, v in own.items()} | {f"{env}_{n}": v for n, v in metrics.items()}
    return found


# With few samples, ten hardly damped iterations of conjugate gradient turn rounding errors of 1e-16 into 1e-5. This
# happens in one process, too, if the order of its tasks changes.
REGION = TrustRegion(delta=0.01, damping=1.0, cg_iterations=3)


def whole_iteration(together, env):
    """The samples, metrics and new policy of the first iteration of 5 tasks; its step is exact, in float64."""
    weights = {}

    def step(training, before, after):
        experiment = training.experiment
        sizes = training.envs.obs_dim, training.envs.act_dim, (experiment.hidden_size,) * 2
        policy = GaussianPolicy(gaussian_mlp(*sizes, experiment.nonlinearity, seed=0, dtype="float64"))
        policy.assign(np.float64(training.policy.flat()))
        before, after = (Samples(*(np.float64(v) for v in samples)) for samples in (before, after))
        learner = MAMLTRPO(policy, experiment.fast_lr, REGION, EXACT, workers=together)
        metrics = learner.step((before,), after)
        weights.update({f"after{i}": v.numpy() for i, v in enumerate(policy.variables)})
        return metrics

    own, metrics = iteration(together, env, step)
    return {f"own_{n}": v for n, v in own.items()} | metrics | weights


def iteration(together, env, step):
    """(samples of this worker's tasks, metrics) of an iteration in which `step` replaces the usual step."""
    if env == OWN and OWN not in gymnasium.registry:
        gymnasium.register(OWN, Lift, max_episode_steps=4)
    sizes = {"meta_batch_size": 5, "fast_batch_size": 3, "horizon": 12, "iterations": 1, "hidden_size": 8}
    own = {}

    def noted(before, after):
        for when, samples in (("before", before[0]), ("after", after)):
            own.update({f"{when}_{n}": np.asarray(v) for n, v in samples._asdict().items()})
        return step(training, before[0], after)

    with tempfile.TemporaryDirectory() as folder:  # for the best policy
        training = PolicyTraining(RLExperiment.of(env=env, **sizes), folder, log=False, workers=together)
        training.learner.step = noted
        metrics = training.iterate(0)
    return own, {n: np.array(v) for n, v in metrics.items() if not n.startswith("seconds")}


def of_mamls(names, slowly=lambda name: None):
    return {f"maml_{name}": lambda together, name=name: mamls(together, name, slowly(name)) for name in names}


CASES = {
    **of_mamls(name for name in MAMLS if name not in LATER),
    "compiled_loop": compiled_loop,
    "evaluations": evaluations,
    "trust_region": trust_region,
    "reinforcement_learning": reinforcement_learning,
}
ENVIRONMENTS = ("point_navigation", "half_cheetah_direction", "ant_direction", OWN)
ITERATIONS = {f"iteration_{env}": lambda together, env=env: whole_iteration(together, env) for env in ENVIRONMENTS}
SLOW_CASES = {  # XLA takes seconds to compile each phase of the loop
    **ITERATIONS,
    **of_mamls([*WHOLE, *SLOWLY], SLOWLY.get),
    "compiled_loop_by_xla": lambda together: compiled_loop(together, jit=True),
}

GOLDENS = [("s1", "float32")]
SLOW_GOLDENS = [("s1", "float64"), ("o1", "float32"), ("o1", "float64"), ("m1", "float32"), ("m1", "float64")]


def golden(together, name, dtype):
    """Compares a shared meta-batch with the original's numbers; returns what differs, or "as the original"."""
    original = Golden(name)
    _, own = own_of(together, original.tasks(dtype))
    original.tasks = lambda dtype: own
    try:
        check_meta_training(original, original.maml(dtype, **MAPPED, workers=together), dtype)
    except AssertionError as error:
        return str(error)
    return "as the original"


def numbers_of(cases, together):
    """{"<case>/<name>": array} of these cases."""
    return {f"{case}/{name}": np.asarray(v) for case, f in cases.items() for name, v in f(together).items()}


def what_the_chief_gives(together):
    """Variables, bytes and flags that differ between workers until they are shared."""
    copied = keras.Variable(np.array([1.5, -0.0, np.nan]) * (1 + together.index), dtype="float64", trainable=False)
    counter = keras.Variable(7 + together.index, dtype="int32", trainable=False)
    together.copy_from_chief([copied, counter])
    found = {"copied": copied.numpy(), "counter": counter.numpy(), "index": np.array(together.index)}
    found["any"] = np.array([together.any(together.index == 1), together.any(False)])
    return found | {"bytes": np.frombuffer(together.from_chief(b"from worker %d" % together.index), np.uint8)}


def main(path, which="quick"):
    """Computes the quick or the slow cases, as a worker or alone, and writes them to a file."""
    cases, goldens = (SLOW_CASES, SLOW_GOLDENS) if which == "slow" else (CASES, GOLDENS)
    process.configure(process.TASKS_SIDE_BY_SIDE)
    with workers.joined() as together:
        found = numbers_of(cases, together)
        if together.count > 1:
            found |= {f"golden_{name}_{dtype}": np.array(golden(together, name, dtype)) for name, dtype in goldens}
        found |= what_the_chief_gives(together)
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
