"""Every setting that decides what a run computes, in one frozen dataclass, with the paper's values as defaults."""

import dataclasses

from data_generators.errors import UserError
from maml_tf.supervised.datasets import DATASETS, Dataset, find

BASELINES = (None, "oracle")
LARGEST = 2**31 - 1  # that TensorFlow's integers hold
# Of what takes memory, or time to compile: above anything of use, so that a slip of the keyboard is told at once.
_AT_MOST = {
    "num_classes": 10_000,
    "meta_batch_size": 10_000,
    "update_batch_size": 10_000,
    "num_updates": 1000,
    "num_filters": 65_536,
    "image_size": 4096,
}
_NORM_NAMES = {"batch_norm": "batchnorm", "layer_norm": "layernorm", "None": "nonorm"}  # in the names of folders


# The settings of the paper (section 5 and appendix A) that its datasets share.
COMMON = {
    "baseline": None,
    "pretrain_iterations": 0,
    "metatrain_iterations": 60000,
    "meta_lr": 1e-3,
    "update_batch_size": 1,
    "norm": "batch_norm",
    "num_filters": 64,
    "conv": True,
    "max_pool": False,
    "stop_grad": False,
    "learn_update_lr": False,
    "image_size": None,
    "image_channels": None,
    "seed": 0,
}


def _setting(help):
    return dataclasses.field(metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The settings of one run, by the original's flag names; `Experiment.of` fills in the paper's values."""

    datasource: str = _setting(f"{', '.join(DATASETS)}, or module:NAME; default sinusoid")
    num_classes: int = _setting("ways: classes per task (5 or 20 in the paper); sinusoid ignores it")
    baseline: str | None = _setting("oracle: amplitude and phase are inputs (sinusoid only)")
    pretrain_iterations: int = _setting("updates on the support loss before, or instead of, meta-training")
    metatrain_iterations: int = _setting("meta-updates")
    meta_batch_size: int = _setting("tasks per meta-update")
    meta_lr: float = _setting("step size of the meta-update (beta)")
    update_batch_size: int = _setting("shots: support examples per class, or points of a sinusoid (K)")
    update_lr: float = _setting("step size of the inner update (alpha)")
    num_updates: int = _setting("inner updates in meta-training")
    norm: str = _setting(f"normalisation of hidden layers: {', '.join(_NORM_NAMES)}")
    num_filters: int = _setting("filters of each convolution")
    conv: bool = _setting("convolutional network, or for Omniglot the fully connected one of the paper")
    max_pool: bool = _setting("max-pooling in place of strided convolutions")
    stop_grad: bool = _setting("first-order MAML: no second derivatives")
    learn_update_lr: bool = _setting("meta-learn one inner step size per variable, starting at update_lr")
    image_size: int | None = _setting("height and width to which the images of a folder are resized; default 84")
    image_channels: int | None = _setting("channels of the images of a folder: 3 (RGB, the default) or 1 (grey)")
    seed: int = _setting("of initial weights and training tasks, never of the data split or the evaluation tasks")

    @classmethod
    def of(cls, **given):
        """The experiment with the given settings; what is None or not given takes the paper's value.

        Raises:
            UserError: a setting is out of range, or does not fit the others.
        """
        given = {name: value for name, value in given.items() if value is not None}
        datasource, ways = given.get("datasource", "sinusoid"), given.get("num_classes", 5)
        usual = COMMON | {"datasource": datasource, "num_classes": ways} | find(datasource).paper(ways)
        usual |= {"image_size": 84, "image_channels": 3} if find(datasource).resizes else {}
        experiment = cls(**(usual | given))
        experiment._validate()
        if experiment.baseline == "oracle":
            # As in the original: an oracle knows the task, so that it is trained without adaptation.
            return dataclasses.replace(experiment, pretrain_iterations=experiment.iterations, metatrain_iterations=0)
        return experiment

    def _validate(self):
        at_least = {"num_classes": self.dataset.least_ways, "pretrain_iterations": 0, "metatrain_iterations": 0}
        positive = ("meta_batch_size", "update_batch_size", "num_updates", "num_filters")
        for name, least in (at_least | dict.fromkeys(positive, 1)).items():
            check_count(name, getattr(self, name), least, _AT_MOST.get(name, LARGEST))
        check_seed(self.seed)
        for name in ("meta_lr", "update_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"--{name} must be a positive number, not {getattr(self, name)}")
        self._validate_images()
        if self.norm not in _NORM_NAMES:
            raise UserError(f"unknown norm {self.norm!r}: choose one of {', '.join(_NORM_NAMES)}")
        if self.baseline not in BASELINES:
            raise UserError(f"unknown baseline {self.baseline!r}: the only one is 'oracle'")
        if self.baseline == "oracle" and not self.dataset.has_oracle:
            raise UserError("--baseline=oracle needs --datasource=sinusoid: images have no amplitude and phase")
        if self.pretrain_iterations + self.metatrain_iterations == 0:
            raise UserError("nothing to train: give --metatrain_iterations or --pretrain_iterations a positive number")

    def _validate_images(self):
        if not self.dataset.resizes:
            for name in ("image_size", "image_channels"):
                if getattr(self, name) is not None:
                    raise UserError(f"--{name} goes with --datasource=folder: {self.datasource} has its own")
            return
        least = 16 if self.conv and self.max_pool else 1  # each of four poolings halves the image
        check_count("image_size", self.image_size, least, _AT_MOST["image_size"])
        if self.image_channels not in (1, 3):
            raise UserError(f"--image_channels must be 1 (grey) or 3 (RGB), not {self.image_channels}")

    @property
    def dataset(self) -> Dataset:
        """What the project knows of the datasource."""
        return find(self.datasource)

    @property
    def image_side(self) -> int:
        """Height of the images in pixels; 0 where there are none."""
        shape = getattr(self.dataset, "shape", None)
        return self.image_size or (shape[0] if shape else 0)

    @property
    def iterations(self):
        """Updates of the whole run; those of pretraining come first."""
        return self.pretrain_iterations + self.metatrain_iterations

    @property
    def reported_update(self) -> int:
        """After how many updates a test's metric is compared with published ones."""
        return self.dataset.reported_update(self.num_classes)

    @property
    def summary_updates(self) -> int:
        """Updates that the summaries report."""
        return max(self.num_updates, self.dataset.summary_updates)

    @property
    def test_updates(self):
        """Updates that a test reports, as in the original."""
        return max(10, self.num_updates)

    @property
    def name(self):
        """The run's folder below the log folder: the original's `exp_string`, and what it leaves out."""
        name = f"cls_{self.num_classes}.mbs_{self.meta_batch_size}.ubs_{self.update_batch_size}"
        name += f".numstep{self.num_updates}.updatelr{self.update_lr}"
        name += f"hidden{self.num_filters}" if self.num_filters != 64 else ""
        name += "maxpool" if self.max_pool else ""
        name += "stopgrad" if self.stop_grad else ""
        name += self.baseline or ""
        name += _NORM_NAMES[self.norm]
        # The original would let the runs below share, and resume from, one folder.
        name += "" if self.conv else ".noconv"
        name += ".learnlr" if self.learn_update_lr else ""
        name += f".images{self.image_size}x{self.image_channels}" if self.image_size else ""
        if self.pretrain_iterations:
            name += ".pretrained" if self.metatrain_iterations == 0 else f".pretrain{self.pretrain_iterations}"
        return name + (f".seed{self.seed}" if self.seed else "")


def check_count(flag, value, least=None, most=LARGEST):
    """Refuses a number that is too small, or so large that nothing could be computed with it.

    Args:
        flag: its name.
        value: None for one that is not given.
        least, most: bounds; None for no lower one.

    Raises:
        UserError: it is out of these bounds.
    """
    if value is None:
        return
    if least is not None and value < least:
        raise UserError(f"--{flag} must be at least {least}, not {value}")
    if value > most:
        raise UserError(f"--{flag} must be at most {most}, not {value}")


def check_seed(seed):
    """Raises UserError for a seed out of range."""
    check_count("seed", seed, 0, most=float("inf"))
    if seed >= 2**32:
        raise UserError(f"--seed must be below 2**32, not {seed}")
