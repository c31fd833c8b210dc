"""Every setting that decides what a run computes, in one frozen dataclass, with the paper's values as defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from data_generators import splits
from data_generators.errors import UserError
from maml_tf.runs import published
from maml_tf.runs.settings import LARGEST_SEED, Settings, check, setting
from maml_tf.supervised import image_options, variants
from maml_tf.supervised.datasets import DATASETS, SINUSOID, Dataset, find

# The normalisations, as the names of folders show them.
_NORM_NAMES = {
    "batch_norm": "batchnorm",
    "per_update_batch_norm": "perupdatebatchnorm",
    "layer_norm": "layernorm",
    "None": "nonorm",
}

# The settings of the paper (section 5 and appendix A) that its datasets share.
COMMON: dict[str, Any] = {
    "datasource": SINUSOID.name,
    "num_classes": 5,
    "baseline": None,
    "pretrain_iterations": 0,
    "metatrain_iterations": 60000,
    "meta_batch_size": 4,
    "meta_lr": 1e-3,
    "update_batch_size": 1,
    "queries": None,
    "update_lr": 0.01,
    "num_updates": 5,
    "norm": "batch_norm",
    "num_filters": 64,
    "conv": True,
    "max_pool": False,
    "stop_grad": False,
    "learn_update_lr": False,
    "adapt": "all",
    "step_sizes": "fixed",
    "update_lr_max": None,
    "query_loss": "last",
    "query_loss_iterations": 0,
    "first_order_iterations": 0,
    "meta_lr_decay": "none",
    "algorithm": "maml",
    "inner_optimizer": "sgd",
    "inner_batch_size": None,
    "image_size": None,
    "image_channels": None,
    "splits": None,
    "augment": "none",
    "normalize": "none",
    "seed": 0,
}


def _size(help, most):
    """Makes a setting for a count that costs memory or compile time; its bound only refuses mistyped numbers."""
    return setting(help, least=1, most=most)


@dataclasses.dataclass(frozen=True)
class Experiment(Settings):
    """The settings of one run, by the original's flag names; `Experiment.of` fills in the paper's values."""

    anew: ClassVar[str] = "for a new run, another --logdir or main.py's --resume=False"
    datasource: str = setting(f"{', '.join(DATASETS)}, or your own as module:NAME; default {SINUSOID.name}")
    num_classes: int = _size("ways: classes per task (5 or 20 in the paper); sinusoid ignores it", 10_000)
    baseline: str | None = setting("oracle: amplitude and phase are inputs (sinusoid only)", choices=(None, "oracle"))
    pretrain_iterations: int = setting("updates on the support loss before, or instead of, meta-training", least=0)
    metatrain_iterations: int = setting("meta-updates", least=0)
    meta_batch_size: int = _size("tasks per meta-update", 10_000)
    meta_lr: float = setting("step size of the meta-update (beta)", positive=True)
    update_batch_size: int = _size("shots: support examples per class, or points of a sinusoid (K)", 10_000)
    queries: int | None = _size(
        "query examples per class, or points of a sinusoid, in training and its validation; default: as many as shots, "
        + ", ".join(f"{name} {dataset.queries}" for name, dataset in DATASETS.items() if dataset.queries),
        10_000,
    )
    update_lr: float = setting("step size of the inner update (alpha)", positive=True)
    num_updates: int = _size("inner updates in meta-training", 1000)
    norm: str = setting(f"normalisation of hidden layers: {', '.join(_NORM_NAMES)}", choices=tuple(_NORM_NAMES))
    num_filters: int = _size("filters of each convolution", 65_536)
    conv: bool = setting("convolutional network; false: for Omniglot, the fully connected one of the paper")
    max_pool: bool = setting("max-pooling in place of strided convolutions")
    stop_grad: bool = setting("first-order MAML: no second derivatives")
    learn_update_lr: bool = setting("the same as --step_sizes=per_variable")
    image_size: int | None = setting(
        "height and width in pixels to which a folder's images are resized; default 84", most=image_options.MOST_SIDE
    )
    image_channels: int | None = setting("channels of the images of a folder: 3 (RGB, the default) or 1 (grey)")
    splits: str | None = setting("file or folder with lists of classes, which say the split of each class of a folder")
    augment: str = setting(
        "augmentation of training images: none, or flip_crop: mirrored at random, and cropped after padding",
        choices=("none", "flip_crop"),
        before="none",
    )
    normalize: str = setting(
        "normalisation of pixels: none, or per_channel: by mean and standard deviation over the training classes",
        choices=("none", "per_channel"),
        before="none",
    )
    adapt: str = setting(
        "what the inner loop adapts: all; head, only the output layer (ANIL); body, all but the output layer (BOIL)",
        choices=("all", "head", "body"),
        before="all",
    )
    step_sizes: str = setting(
        "step sizes of the inner loop: fixed, or meta-learned, starting at update_lr: per_variable; per_update, one "
        "per variable and inner update (MAML++); per_weight (Meta-SGD)",
        choices=("fixed", "per_variable", "per_update", "per_weight"),
        before=lambda made: "per_variable" if made.get("learn_update_lr") else "fixed",
    )
    update_lr_max: float | None = setting(
        "with per_weight, step sizes start anywhere between update_lr and this; default 0.1",
        positive=True,
    )
    query_loss: str = setting(
        "loss of the meta-update: last, the query loss after the last update; all_updates, a weighted sum (MAML++)",
        choices=("last", "all_updates"),
        before="last",
    )
    query_loss_iterations: int = setting(
        "with all_updates, meta-updates until only the last update counts; default 5000", least=0, before=0
    )
    first_order_iterations: int = setting("first-order meta-updates, before the second-order ones", least=0, before=0)
    meta_lr_decay: str = setting(
        "decay of meta_lr over the meta-updates: none; cosine, to a hundredth; linear, to zero",
        choices=("none", "cosine", "linear"),
        before="none",
    )
    algorithm: str = setting("maml or reptile", choices=("maml", "reptile"), before="maml")
    inner_optimizer: str = setting(
        "optimizer of the inner loop: sgd, momentum (0.9), adam; Reptile's adam has no first moment",
        choices=("sgd", "momentum", "adam"),
        before="sgd",
    )
    inner_batch_size: int | None = setting(
        "support examples in each inner update; all are used once before any is used again; default all",
        least=1,
        most=10_000,
    )
    seed: int = setting(
        "seed of initial weights and training tasks, never of the data split or the evaluation tasks",
        least=0,
        most=LARGEST_SEED,
    )

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The paper's values for a datasource and a number of ways."""
        usual = COMMON | {name: given[name] for name in ("datasource", "num_classes") if name in given}
        dataset = find(usual["datasource"])
        sizes = {"image_size": 84, "image_channels": 3} if dataset.resizes else {}
        own = dataset.paper(usual["num_classes"])
        if unknown := own.keys() - usual.keys():
            raise UserError(f"dataset {dataset.name!r} has unknown settings: {', '.join(sorted(unknown))}")
        return usual | sizes | own | variants.usual(usual["num_classes"], given)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Makes an experiment from the given settings; a setting that is None or not given takes the paper's value.

        As in the original, an oracle knows the task, so it is trained without adaptation.

        Raises:
            UserError: a setting is out of range, or does not fit the others.
        """
        if given.get("splits"):
            given["splits"] = splits.identified(given["splits"])
        if given.get("step_sizes") == "per_variable":
            given["learn_update_lr"] = True
        experiment = super().of(**given)
        if experiment.baseline == "oracle":
            iterations = experiment.iterations
            experiment = dataclasses.replace(experiment, pretrain_iterations=iterations, metatrain_iterations=0)
            experiment.check()
        return experiment

    def check(self) -> None:
        """Checks that the settings are in range and fit together; raises UserError otherwise."""
        check("num_classes", self.num_classes, least=self.dataset.least_ways, most=10_000)
        image_options.check(self)
        super().check()
        if self.baseline == "oracle" and not self.dataset.has_oracle:
            raise UserError("--baseline=oracle needs --datasource=sinusoid: images have no amplitude and phase")
        if self.iterations == 0:
            raise UserError("nothing to train: give --metatrain_iterations or --pretrain_iterations a positive number")
        variants.check(self)

    def differences(self, made: Mapping[str, Any], resuming: bool = False) -> list[str]:
        """As `Settings.differences`, but a file of splits may move, and the duration must stay if meta_lr decays."""
        if self.splits and splits.identity(made.get("splits") or "") == splits.identity(self.splits):
            made = {**made, "splits": self.splits}
        found, name = super().differences(made, resuming), self.duration
        if resuming and self.meta_lr_decay != "none" and made.get(name) != getattr(self, name):
            found.append(f"--{name}={made.get(name)} (now {getattr(self, name)}), over which the learning rate decays")
        return found

    @property
    def phases(self) -> list[tuple[int, dict[str, bool]]]:
        """The phases of meta-training: (iteration where the phase ends, keyword arguments of `MAML.train_step`).

        Within a phase, all steps have the same arguments.
        """
        start, end = self.pretrain_iterations, self.iterations
        phases: list[tuple[int, dict[str, bool]]] = []
        second_order, last = start + self.first_order_iterations, start + self.query_loss_iterations
        for stop in sorted({min(stop, end) for stop in (second_order, last, end)} - {start}):
            told = {"first_order": start < second_order, "last": self.query_loss != "last" and start >= last}
            phases.append((stop, {name: True for name, is_told in told.items() if is_told}))
            start = stop
        return phases

    @property
    def duration(self) -> str:
        """The name of the setting that may differ when a run resumes: how long to train."""
        return "metatrain_iterations" if self.metatrain_iterations else "pretrain_iterations"

    @property
    def dataset(self) -> Dataset:
        """The Dataset of the datasource."""
        return find(self.datasource)

    @property
    def image_side(self) -> int:
        """Height of the images in pixels; 0 if there are none, or if their shape is not known."""
        shape = getattr(self.dataset, "shape", None)
        return self.image_size or (shape[0] if shape else 0)

    @property
    def iterations(self) -> int:
        """Number of updates in the whole run; those of pretraining come first."""
        return self.pretrain_iterations + self.metatrain_iterations

    @property
    def reported_update(self) -> int:
        """Number of inner updates after which a test's metric is compared with published ones."""
        if self.algorithm == "reptile":
            return self.test_updates
        if self.step_sizes in ("per_update", "per_weight"):  # MAML++ and Meta-SGD are tested as they are trained
            return self.num_updates
        return self.dataset.reported_update(self.num_classes)

    @property
    def summary_updates(self) -> int:
        """Number of inner updates that the summaries report."""
        return max(self.num_updates, self.dataset.summary_updates)

    @property
    def test_updates(self) -> int:
        """Number of inner updates that a test reports: as in the original, or for Reptile as in Reptile's code."""
        return max(50 if self.algorithm == "reptile" else 10, self.num_updates)

    @property
    def published_row(self) -> published.Row | None:
        """MAML's own row of table 1 of the paper: "maml", "maml_no_conv" or "maml_first_order".

        None if the paper has no such number: for regression, first order on Omniglot, a run that is only pretrained, a
        variant, or ways and shots that are not in the table.
        """
        if self.metatrain_iterations == 0 or variants.suffix(self) or image_options.suffix(self):
            return None
        variant = ("" if self.conv else "_no_conv") + ("_first_order" if self.stop_grad else "")
        rows = published.published_rows(self.datasource, self.num_classes, self.update_batch_size)
        return next((row for row in rows if row.key == f"maml{variant}"), None)

    @property
    def name(self) -> str:
        """The name of the run's folder: the original's `exp_string`, and the settings that `exp_string` leaves out."""
        name = f"cls_{self.num_classes}.mbs_{self.meta_batch_size}.ubs_{self.update_batch_size}"
        name += f".numstep{self.num_updates}.updatelr{self.update_lr}"
        name += f"hidden{self.num_filters}" if self.num_filters != 64 else ""
        name += "maxpool" if self.max_pool else ""
        name += "stopgrad" if self.stop_grad else ""
        name += self.baseline or ""
        name += _NORM_NAMES[self.norm]
        # The original has no names for the settings below: such runs would share, and resume from, one folder.
        name += "" if self.conv else ".noconv"
        name += variants.suffix(self)
        name += f".images{self.image_size}x{self.image_channels}" if self.image_size else ""
        name += image_options.suffix(self)
        name += f".queries{self.queries}" if self.queries else ""
        if self.pretrain_iterations:
            name += ".pretrained" if self.metatrain_iterations == 0 else f".pretrain{self.pretrain_iterations}"
        return name + (f".seed{self.seed}" if self.seed else "")
