"""The parts of a model: its layers, and what of it the inner loop may adapt, such as its head or its body."""

from collections.abc import Callable, Iterable

from data_generators.errors import UserError
from maml_tf.backend import keras


def adapts_by_default(model: keras.Model) -> Callable[[keras.Variable], bool]:
    """The default predicate of what adapts: every trainable variable whose layer is not marked `meta_only`."""
    fixed = {
        id(variable)
        for layer in sublayers(model)
        if getattr(layer, "meta_only", False)
        for variable in layer.trainable_variables
    }
    return lambda variable: id(variable) not in fixed


def adapts_part(part: str, model: keras.Model) -> Callable[[keras.Variable], bool]:
    """Returns the predicate of what adapts, by the name of a part of the model.

    Args:
        part: "all", as by default; "head", only the last layer with weights (ANIL, Raghu et al. 2020); "body", only the
            others (BOIL, Oh et al. 2021); or "everything", including what is marked `meta_only`.
        model: keras.Model.

    Raises:
        UserError: there is no such part; or the model is a subclassed one or has several outputs, so that its head and
            body are not known.
    """
    if part in ("head", "body") and getattr(model, "outputs", None) is None:
        remedy = 'for a subclassed one give a predicate, such as adapts=lambda v: "classifier/" in v.path'
        raise UserError(f"adapts={part!r} needs a functional or Sequential model: {remedy}")
    if part in ("head", "body") and len(model.outputs) > 1:
        remedy = "give a predicate, such as adapts=lambda v: v.path.startswith(('first/', 'second/'))"
        raise UserError(f"adapts={part!r} needs a model of one output, but this has {len(model.outputs)}: {remedy}")
    by_default, head = adapts_by_default(model), _head(model)
    parts = {
        "all": by_default,
        "head": lambda v: id(v) in head,
        "body": lambda v: by_default(v) and id(v) not in head,
        "everything": lambda v: True,
    }
    if part not in parts:
        raise UserError(f"adapts must be one of {', '.join(parts)}, or a predicate on variables, not {part!r}")
    return parts[part]


def _head(model):
    """The ids of the variables of the innermost layer that has the last trainable variable."""
    owned = [[id(v) for v in layer.trainable_variables] for layer in sublayers(model)]
    last = id(model.trainable_variables[-1]) if model.trainable_variables else None
    return min((ids for ids in owned if last in ids), key=len, default=[])


def sublayers(model: keras.Model) -> Iterable[keras.layers.Layer]:
    """All layers of a model, itself and nested ones included."""
    return model._flatten_layers()


def only_layers(layer: keras.layers.Layer) -> bool:
    """Whether a layer holds nothing but layers; a functional model may also hold operations of `keras.ops`."""
    return all(isinstance(operation, keras.layers.Layer) for operation in getattr(layer, "operations", ()))
