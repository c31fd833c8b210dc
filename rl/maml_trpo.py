"""MAML's meta-update by TRPO: algorithm 3 of Finn et al. (2017), `MAMLTRPO` of cbfinn/maml_rl.

With two or more inner updates, the original starts the second update of every task from the parameters of the last
task. Here, each task continues from its own parameters.
"""

import dataclasses
import functools

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import checks
from maml_tf.distribution import ALONE, Alone
from maml_tf.task_axis import MAP, mean_over_tasks
from rl import trpo, vpg
from rl.advantages import Samples
from rl.experiment import EXACT, FINITE_DIFFERENCE, HESSIAN_PRODUCTS
from rl.policy import GaussianPolicy, Params, kl_divergence, log_prob


class MAMLTRPO:
    """The meta-optimiser of a policy; without inner updates it is plain TRPO.

    Args:
        policy: GaussianPolicy; its variables are changed.
        step_size: step size alpha of the inner updates.
        region: trpo.TrustRegion.
        hessian_product: FINITE_DIFFERENCE, as in the original, or EXACT.
        task_axis: MAP or VECTORIZE of `maml_tf.task_axis`. MAP keeps a task's arrays in the caches of one core.
        workers: the processes that share the tasks.

    Raises:
        UserError: there is no such hessian_product or task_axis.
    """

    def __init__(
        self,
        policy: GaussianPolicy,
        step_size: float = 0.1,
        region: trpo.TrustRegion = trpo.TrustRegion(),  # noqa: B008 - it is frozen
        hessian_product: str = FINITE_DIFFERENCE,
        task_axis: str = MAP,
        workers: Alone = ALONE,
    ):
        self.policy = policy
        self.step_size = step_size
        self.region = region
        self.hessian_product = hessian_product
        self.task_axis = task_axis
        self.workers = workers
        self._compile()

    def _compile(self):
        if self.hessian_product not in HESSIAN_PRODUCTS:
            known = ", ".join(HESSIAN_PRODUCTS)
            raise UserError(f"hessian_product must be one of {known}, not {self.hessian_product!r}")
        self._update = vpg.TaskUpdate(self.policy, self.task_axis)
        self._compiled, self._compiled_for = tf.function(self._step, autograph=False), self._in_the_graph()

    def _in_the_graph(self):
        """The settings that a compiled step has for good; the step size and delta are arguments of it."""
        return self.hessian_product, dataclasses.replace(self.region, delta=0.0), self.task_axis, self.workers

    def adapt(self, params: Params, samples: Samples) -> Params:
        """Makes one inner update of every task.

        Args:
            params: list of tensors with a leading task axis.
            samples: Samples, drawn with params.

        Returns:
            params after the update, with the task axis.
        """
        return self._update(params, samples, self.step_size)

    def step(self, before: tuple[Samples, ...], after: Samples) -> dict[str, float]:
        """Makes one meta-update, and assigns the policy's variables.

        Args:
            before: tuple of Samples, one for each inner update: the samples that the update used.
            after: Samples, drawn with the adapted parameters.

        Returns:
            dict of floats: loss_before, kl_before, loss, kl, backtracks, rejected.
        """
        step = self.solve(self.policy.flat(), before, after)
        self.policy.assign(step.theta)
        return {name: float(value) for name, value in step._asdict().items() if name != "theta"}

    def solve(self, theta: tf.Tensor, before: tuple[Samples, ...], after: Samples) -> trpo.Step:
        """Computes the trpo.Step of a meta-update from a vector theta; the rest as for `step`, but assigns nothing."""
        self.policy.pure.check_trainable()
        numbers = (tf.constant(number, self.policy.dtype) for number in (self.step_size, self.region.delta))
        if self._compiled_for != self._in_the_graph():
            self._compile()
        return self._compiled(theta, *numbers, tuple(before), after)

    def objective(self, step_size: tf.Tensor, before: tuple[Samples, ...], after: Samples) -> trpo.Objective:
        """The trpo.Objective of a meta-update; step_size is a scalar tensor, the others are as for `step`."""
        of_theta = MetaObjective(self.policy, step_size, before, after, self.task_axis, self.workers)
        if self.hessian_product == EXACT:
            product = of_theta.exact_kl_product
        else:
            product = functools.partial(trpo.finite_difference_product, of_theta.kl_gradient)
        return trpo.Objective(of_theta.evaluate, of_theta.differentiate, product)

    def _step(self, theta, step_size, delta, before, after):
        region = dataclasses.replace(self.region, delta=delta)
        return trpo.step(theta, self.objective(step_size, before, after), region)


class MetaObjective:
    """Loss and KL divergence of the adapted policies as functions of theta, the vector they were adapted from.

    The loss is the mean over tasks of -mean(ratio * advantage); the ratio is the probability of an action under the new
    adapted policy, divided by that under the sampling policy. The KL is KL(sampling policy || new adapted policy),
    averaged over the samples of all tasks. Derivatives are taken task by task, through the inner updates, and then
    averaged.

    Args:
        policy: GaussianPolicy.
        step_size: alpha, a scalar tensor.
        before, after: as for `MAMLTRPO.step`.
        task_axis: MAP or VECTORIZE of `maml_tf.task_axis`.
        workers: the processes that share the tasks.
    """

    def __init__(
        self,
        policy: GaussianPolicy,
        step_size: tf.Tensor,
        before: tuple[Samples, ...],
        after: Samples,
        task_axis: str = MAP,
        workers: Alone = ALONE,
    ):
        self.policy = policy
        self.step_size = step_size
        self.task_axis = task_axis
        self.workers, self._num_tasks = workers, checks.size(after.mask)
        self._mean_samples = workers.mean(tf.reduce_mean(tf.reduce_sum(after.mask, axis=1)), self._num_tasks)
        if task_axis == MAP:
            befores, of_after = [_without_padding(samples) for samples in before], _without_padding(after)
            self._tasks = tf.range(self._num_tasks)
            self._samples = lambda i: (tuple(of_before(i) for of_before in befores), of_after(i))
        else:  # all tasks at once need a common length
            self._tasks = (before, after)
            self._samples = lambda task: task

    def evaluate(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(loss, kl) at theta."""
        return self._mean(lambda task: self._of_task(theta, task), scalars=2)

    def differentiate(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(loss, kl, gradient of the loss) at theta."""

        def of_task(task):
            with tf.GradientTape() as tape:
                tape.watch(theta)
                loss, kl = self._of_task(theta, task)
            return loss, kl, tape.gradient(loss, theta)

        return self._mean(of_task, scalars=2, vectors=1)

    def kl_gradient(self, theta: tf.Tensor) -> tf.Tensor:
        """Gradient of the KL at theta."""
        return self._mean(lambda task: (self._kl_gradient_of_task(theta, task),), vectors=1)[0]

    def exact_kl_product(self, theta: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """The KL's Hessian at theta times a vector, by differentiating the product of the gradient and the vector."""

        def of_task(task):
            with tf.GradientTape() as tape:
                tape.watch(theta)
                slope = tf.reduce_sum(self._kl_gradient_of_task(theta, task) * vector)
            return (tape.gradient(slope, theta),)

        return self._mean(of_task, vectors=1)[0]

    def _kl_gradient_of_task(self, theta, task):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            _, kl = self._of_task(theta, task)
        return tape.gradient(kl, theta)

    def _of_task(self, theta, task):
        """(loss, kl) of one task; kl is scaled so that its mean over tasks is the mean over all samples."""
        before, after = task
        params = self.policy.unflatten(theta)
        for samples in before:
            params = vpg.update(self.policy, params, samples, self.step_size)
        means, log_std = self.policy(params, after.observations)
        old = log_prob(after.means, after.log_stds, after.actions)
        ratio = tf.exp(log_prob(means, log_std, after.actions) - old)
        loss = -vpg.masked_mean(ratio * after.advantages, after.mask)
        kl = kl_divergence(after.means, after.log_stds, means, log_std)
        return loss, tf.reduce_sum(kl * after.mask) / self._mean_samples

    def _mean(self, function, scalars=0, vectors=0):
        dtype = self.policy.dtype
        vector = tf.TensorSpec([sum(self.policy.sizes)], dtype)
        signature = (tf.TensorSpec([], dtype),) * scalars + (vector,) * vectors

        def of_task(task):
            return function(self._samples(task))

        return self.workers.mean(mean_over_tasks(of_task, self._tasks, signature, self.task_axis), self._num_tasks)


def _without_padding(samples):
    """Returns a function: index of a task -> its Samples without padding.

    Padding does not change the results, but takes as much time as samples. The samples without padding are gathered
    once for all gradients of a step; the function reads them without copying.
    """
    taken = samples.mask > 0
    lengths = tf.math.count_nonzero(taken, axis=1)
    of_steps = [_parts(tf.boolean_mask(values, taken), lengths) for values in samples[:5]]
    return lambda i: Samples(*(part(i) for part in of_steps), samples.log_stds[i])


def _parts(values, lengths):
    """Splits values into consecutive parts of these lengths; returns a function: index -> that part."""
    shape = [-1, *values.shape[1:]]
    parts = tf.raw_ops.TensorListSplit(tensor=values, element_shape=shape, lengths=lengths)
    read = functools.partial(tf.raw_ops.TensorListGetItem, element_shape=shape, element_dtype=values.dtype)
    return lambda i: read(input_handle=parts, index=i)
