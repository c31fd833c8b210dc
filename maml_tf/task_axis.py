"""Runs a function of one task over a meta-batch, mapped or vectorised, and compiles it."""

import functools
import inspect
import re
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from data_generators.errors import UserError
from maml_tf import checks, layers
from maml_tf.backend import keras, tf
from maml_tf.direct_calls import Direct
from maml_tf.graphs import forget, own_gradients
from maml_tf.parts import only_layers, sublayers

MAP, VECTORIZE = "map", "vectorize"

# Larger dense networks are mapped on CPU: one task's weights fit into the caches, those of all tasks do not.
_MOST_WEIGHTS = 50_000


_NOT_VECTORISED = re.compile(  # errors of tf.vectorized_map
    r"No pfor vectorization defined for \w+|Input \S+ of op '\w+' expected to be loop invariant"
    r"|<dtype: 'variant'> is not compatible"
)


def resolve(task_axis: str, jit: bool | str, model: keras.Model) -> tuple[str, bool]:
    """Chooses how to run a model over tasks, and whether to compile it with XLA, where the caller leaves this open.

    "auto" maps without XLA, which works for any model, with two exceptions. It vectorises with XLA small dense networks
    and, where there is a GPU, all networks made of layers that vectorise. It maps with XLA large dense networks on CPU.

    Args:
        task_axis: "auto", "map" or "vectorize".
        jit: "auto", or a bool.
        model: the keras.Model.

    Returns:
        (MAP or VECTORIZE, whether to compile by XLA).

    Raises:
        UserError: there is no such task_axis or jit.
    """
    if task_axis not in ("auto", MAP, VECTORIZE):
        raise UserError(f"task_axis must be 'auto', 'map' or 'vectorize', not {task_axis!r}")
    if isinstance(jit, str) and jit != "auto":
        raise UserError(f"jit (or jit_compile) must be 'auto', True or False, not {jit!r}")
    kinds = sublayers(model)
    well = all(type(layer) in layers.CHECKED and only_layers(layer) for layer in kinds)
    dense = well and not any(isinstance(layer, layers.Conv2D) for layer in kinds)
    gpu = bool(tf.config.list_logical_devices("GPU"))
    chosen = task_axis
    if task_axis == "auto":
        chosen = VECTORIZE if (well and gpu) or (dense and model.count_params() <= _MOST_WEIGHTS) else MAP
    if jit == "auto":
        jit = chosen == VECTORIZE or (dense and task_axis == "auto")
    return chosen, bool(jit)


def known_task_axis(task_axis: str) -> str:
    """Returns task_axis; raises UserError if it is neither MAP nor VECTORIZE."""
    if task_axis not in (MAP, VECTORIZE):
        raise UserError(f"task_axis must be 'map' or 'vectorize', not {task_axis!r}")
    return task_axis


def map_tasks(function: Callable, tasks: Any, signature: Any, task_axis: str) -> Any:
    """Applies `function` to every task and stacks the results.

    Args:
        function: function (structure of one task's tensors) -> structure of tensors.
        tasks: the same structure with a leading task axis.
        signature: structure of tf.TensorSpec of one task's results.
        task_axis: MAP, a loop that runs as many tasks in parallel as there are inter-op threads; or VECTORIZE, one
            batched graph.

    Returns:
        The results, each with a leading task axis.
    """
    if task_axis == VECTORIZE:
        with layers.vectorizable():
            return _vectorized(function, tasks)
    return tf.map_fn(
        _as_it_is(function), tasks, fn_output_signature=signature, parallel_iterations=_parallel_iterations()
    )


def _vectorized(function, tasks):
    raised = []

    def watched(element):
        try:
            return function(element)
        except UserError as error:
            raised.append(str(error))
            raise

    try:
        return tf.vectorized_map(_as_it_is(watched), tasks, fallback_to_while_loop=False)
    except Exception as error:  # under XLA, AutoGraph turns it into another kind of error, of many lines
        if raised:
            raise UserError(raised[0]) from error
        raise


class Fixed:
    """Refuses changes of an object's attributes and arguments, since its compiled methods use them as they were."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; refuses a public one that is in the set `_fixed`, which `__init__` sets last."""
        if name in self.__dict__.get("_fixed", ()) and not name.startswith("_"):
            raise UserError(f"{name} cannot be changed, since it is compiled: make another MAML of the same model")
        super().__setattr__(name, value)


def mean_over_tasks(function: Callable, tasks: Any, signature: Any, task_axis: str) -> Any:
    """The mean over tasks of a function's results, which must be floating point.

    With MAP the results are summed one by one in the order of the tasks, never stacked.

    Args are those of `map_tasks`; the result is like its result, without the task axis.

    Raises:
        UserError: there is no task. Where the number of tasks is open, TensorFlow raises an error, unless XLA compiles.

    Example:
        >>> scalar = tf.TensorSpec([], tf.float32)
        >>> float(mean_over_tasks(tf.square, tf.constant([1.0, 2.0, 3.0, 4.0]), scalar, MAP))
        7.5
    """
    tasks = _not_empty(tasks)
    if task_axis == VECTORIZE:
        return tf.nest.map_structure(lambda r: tf.reduce_mean(r, 0), map_tasks(function, tasks, signature, task_axis))
    count = checks.size(tf.nest.flatten(tasks)[0])

    def add_one(i, total):
        results = function(tf.nest.map_structure(lambda t: tf.gather(t, i), tasks))
        return i + 1, tf.nest.map_structure(tf.add, total, results)

    zeros = tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), signature)
    _, total = tf.while_loop(lambda i, *_: i < count, add_one, (0, zeros), parallel_iterations=_parallel_iterations())
    return tf.nest.map_structure(lambda t: t / tf.cast(count, t.dtype), total)


def _not_empty(tasks):
    """Returns the tasks; raises an error if there are none."""
    count, needed = checks.size(tf.nest.flatten(tasks)[0]), "the meta-batch is empty: it needs at least one task"
    if isinstance(count, int):
        if count == 0:
            raise UserError(needed)
        return tasks
    with tf.control_dependencies([tf.debugging.assert_positive(count, needed)]):
        return tf.nest.map_structure(tf.identity, tasks)


def _as_it_is(function):
    """Exempts a function from AutoGraph, which would hide the kind of error that the function raises."""
    return tf.autograph.experimental.do_not_convert(function)


def _parallel_iterations():
    # One task per thread: more would only push the tasks' arrays out of the caches.
    return tf.config.threading.get_inter_op_parallelism_threads() or 2


class Compiler:
    """Compiles the functions of one learner.

    Args:
        task_axis: MAP or VECTORIZE.
        jit: whether to compile by XLA.
        apart: whether XLA compiles only the parts of a function, so that there can be a sum over workers between them.
        check: function that each call of a `compiled` method calls first, to refuse what graphs would not notice.
    """

    def __init__(self, task_axis: str, jit: bool, apart: bool = False, check: Callable = lambda: None):
        self.check = check
        self._task_axis = task_axis
        self._jit = jit
        self._apart = apart
        self._known = {}
        self._gradients = set()
        weakref.finalize(self, forget, self._gradients)

    def __call__(self, function: Callable, signature: Any = None, jit: bool = True) -> Callable:
        """Returns the function compiled: anew for each kind of arguments, or once for a signature that fits them all.

        Without `jit`, XLA does not compile the whole function: that would take longer than a few hundred runs can save.
        """
        return self._compiled(function, signature, jit and self._jit and not self._apart)

    def part(self, function: Callable, *args: Any) -> Any:
        """Calls a part of a compiled function; XLA compiles the part by itself if it does not compile the whole."""
        return self._compiled(function, None, True)(*args) if self._jit and self._apart else function(*args)

    def call_as(self, specs: Any, key: Any, function: Callable, *args: Any) -> Any:
        """Calls a function that is compiled once for each key and signature.

        Args:
            specs: tuple of the structures of tf.TensorSpec of the arguments.
            key: value that tells the functions apart.
            function, args: what to call.
        """
        key = (key, str(specs))
        if key not in self._known:
            self._known.setdefault(key, self(function, specs))  # two threads may be here at once
        return self._known[key](*args)

    def _compiled(self, function, signature, jit):
        # A new partial for each function, since TensorFlow counts tracings by code object, and warns of too many.
        traced = functools.partial(self._traced, function)
        # No AutoGraph: it would double the time to trace, and nothing here needs it. A user's function that needs it
        # may be a tf.function itself.
        return tf.function(traced, signature, jit_compile=jit or None, autograph=False)

    def _traced(self, function, *args):
        with layers.vectorizable() if self._jit or self._task_axis == VECTORIZE else nullcontext():
            try:
                results = function(*args)
            except (ValueError, TypeError) as error:
                unknown = _NOT_VECTORISED.search(str(error))
                if unknown and self._task_axis == VECTORIZE:
                    what = f"TensorFlow cannot vectorise the model, loss or metrics over tasks ({unknown[0]})"
                    raise UserError(f"{what}: give task_axis='map'") from error
                raise
        self._gradients |= own_gradients(tf.compat.v1.get_default_graph())
        return results


class compiled:
    """A method that is compiled once for each object and each set of its keyword arguments.

    Positional arguments are tensors, arrays or structures of them; keyword-only ones are Python values, fixed when the
    method is traced. `learner.step(x)` is compiled by the object's `compiler`; `learner.step.graph(x)` is the method
    itself, for use within another compiled function.

    Example:
        >>> class Scale:
        ...     compiler = Compiler(MAP, jit=False)
        ...
        ...     @compiled
        ...     def scale(self, x, *, factor):
        ...         return factor * x
        >>> float(Scale().scale(tf.constant(2.0), factor=3))
        6.0
    """

    def __init__(self, method: Callable):
        self._method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]  # typeshed asks for a callable

    def __get__(self, learner, owner=None):
        if learner is None:
            return self
        # Keyed by the descriptor rather than the name, so that a subclass may override the method and call the
        # original.
        known = learner.__dict__.setdefault("_compiled_methods", {})
        if self not in known:
            known.setdefault(self, _Compiled(self._method.__get__(learner), learner.compiler))
        return known[self]


class _Compiled:
    """A `compiled` method of one object."""

    def __init__(self, method, compiler):
        self.graph, self._compiler, self._known = method, compiler, {}
        self._signature = inspect.signature(method)
        functools.update_wrapper(self, method)

    def __call__(self, *args, **kwargs):
        self._compiler.check()
        function, args = self._given(args, kwargs)
        return function(*args)

    def trace(self, *args, **kwargs):
        """Compiles the method for such arguments without calling it, so that a later call need not wait for that."""
        function, args = self._given(args, kwargs)
        function.trace(*args)

    def _given(self, args, kwargs):
        given = self._signature.bind(*args, **kwargs)  # tensors may be given by their names, too
        key = tuple(sorted(given.kwargs.items()))
        if key not in self._known:
            function = functools.partial(self.graph, **given.kwargs)
            self._known.setdefault(key, Direct(lambda: self._compiler(function)))  # two threads may be here at once
        return self._known[key], map(checks.arrays, given.args)
