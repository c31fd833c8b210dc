"""Malformed command lines, as data: the commands, their flags, the values and the combinations."""

import random

from tests.stress import scenarios

_INTEGERS = ["", " ", "abc", "1.5", "1e3", "nan", "inf", "-1", "0", "9" * 30, "9" * 5000, "0x", "1,2", "\uff12", "2_0"]
_INTEGERS += ["true", "None", "\0", "😀", "--1", "+2", " 2", "2**3", "0b1", str(2**31), str(2**63)]
_REALS = ["", "abc", "nan", "inf", "-inf", "1e999", "-0.1", "0", "1,5", "\0", "½", "1e-400", "0x1p3", "1_0.5"]
_BOOLEANS = ["", "2", "maybe", "None", "\0", "ja"]
_WORDS = ["", "Sinusoid", "sinusoid ", "\0", "😀", "x" * 5000, "../..", "None;", "a\nb"]
_PATHS = ["\0", "x" * 300, "x/" * 3000, "/dev/null/x", "/proc/x", "a_file", "a_file/x", "\udcff", "a\nb", "/dev/full"]
KINDS = {"integer": _INTEGERS, "real": _REALS, "boolean": _BOOLEANS, "word": _WORDS, "path": _PATHS}

_MAIN = (*scenarios.SINUSOID, "--metatrain_iterations=1", "--log=False", "--logdir=runs")
_POLICY = (*scenarios.POLICY, "--iterations=1", "--log=False", "--logdir=runs")
_BASELINES = (*scenarios.CLASSIFIER, "--iterations=1", "--logdir=runs")

# (program, its arguments, {kind of value: the flags that take it})
COMMANDS = [
    (
        "main",
        _MAIN,
        {
            "integer": "num_classes meta_batch_size update_batch_size num_updates num_filters seed save_interval "
            "validation_interval pretrain_iterations image_size image_channels test_iter train_update_batch_size "
            "queries test_queries test_tasks test_ways",
            "real": "meta_lr update_lr train_update_lr",
            "boolean": "stop_grad learn_update_lr conv max_pool log resume train transductive export_transductive",
            "word": "datasource norm baseline jit task_axis test_head augment normalize",
            "path": "logdir data_dir export_dir splits",
        },
    ),
    (
        "scripts.train_rl",
        _POLICY,
        {
            "integer": "meta_batch_size fast_batch_size horizon num_grad_updates hidden_size seed save_interval",
            "real": "fast_lr meta_step_size discount gae_lambda",
            "boolean": "log resume",
            "word": "env baseline adapt optimizer nonlinearity hessian_product",
            "path": "logdir",
        },
    ),
    (
        "scripts.baselines",
        _BASELINES,
        {
            "integer": "num_classes shots queries num_tasks num_filters batch_size seed num_updates tuning_tasks",
            "real": "learning_rate held_out step_sizes decays",
            "word": "datasource",
            "path": "logdir data_dir",
        },
    ),
    (
        "scripts.evaluate_rl",
        _POLICY,
        {"integer": "num_updates trajectories test_iter", "word": "policy", "path": "out"},
    ),
    ("scripts.export_rl", _POLICY, {"integer": "test_iter", "path": "export_dir logdir"}),
    ("scripts.plot_rl", _POLICY[:-2], {"word": "seeds env", "path": "out logdir"}),
    ("scripts.prepare_omniglot", (), {"path": "data_dir", "word": "base_url"}),
    ("scripts.prepare_miniimagenet", (), {"path": "source csv_dir data_dir"}),
    ("scripts.plot_validation", ("runs/x",), {"word": "name", "path": "out"}),
    ("scripts.plot_sinusoid", (), {"word": "seeds", "path": "logdir out"}),
    ("scripts.sinusoid_table", (), {"path": "logdir"}),
]

# Flags that do not go together or do not exist, and other user errors; each must be refused.
WRONG = [
    ("main", ("--unknown=1",)),
    ("main", ("stray",)),
    ("main", ("--metatrain_iter=3",)),
    ("main", ("--meta_batch_size",)),
    ("main", ("-5",)),
    ("main", ("--=3",)),
    ("main", ("--meta_lr=1", "--meta_lr=x")),
    ("main", ("--flagfile=missing",)),
    ("main", ("--flagfile=.",)),
    ("main", ("--baseline=oracle", "--datasource=omniglot")),
    ("main", ("--datasource=folder",)),
    ("main", ("--metatrain_iterations=0",)),
    ("main", ("--image_size=84",)),
    ("main", ("--train=False",)),
    ("main", ("--export_dir=out",)),
    ("main", ("--test_iter=3",)),
    ("main", ("--log_gradient_cosine", "--metatrain_iterations=0", "--pretrain_iterations=1")),
    ("main", ("--datasource=folder", "--data_dir=a_file")),
    ("main", ("--datasource=omniglot", "--data_dir=a_file")),
    ("main", ("--datasource=miniimagenet", "--data_dir=/dev/null")),
    ("scripts.train_rl", ("--iter=3",)),
    ("scripts.train_rl", ("--baseline=pretrained", "--num_grad_updates=1")),
    ("scripts.train_rl", ("--optimizer=adam",)),
    ("scripts.train_rl", ("stray",)),
    ("scripts.evaluate_rl", ("--best", "--test_iter=1")),
    ("scripts.export_rl", ("--iterations=1",)),
    ("scripts.baselines", ("--num_t=3",)),
    ("scripts.baselines", ("--datasource=sinusoid",)),
    ("scripts.baselines", ("--unknown",)),
    ("scripts.prepare_miniimagenet", ("--resize=yes",)),
    ("scripts.prepare_miniimagenet", ("--source=missing",)),
    ("scripts.plot_validation", ()),
    ("scripts.plot_validation", ("missing",)),
    ("scripts.render_rl", ("--fps=0",)),
    ("scripts.render_rl", ("--out=x.mp9",)),
]


def one_wrong_value(number):
    """(program, arguments, flag, kind, value) of command line `number`, which has one malformed value."""
    chance = random.Random(f"flags {number}")
    program, arguments, by_kind = chance.choices(COMMANDS, weights=[len(c[2]) ** 2 for c in COMMANDS])[0]
    kind = chance.choice(list(by_kind))
    flag = chance.choice(by_kind[kind].split())
    value = chance.choice(KINDS[kind])
    return program, (*arguments, f"--{flag}={value}"), flag, kind, value


def as_python_reads_it(kind, value):
    """The value as Python reads it, or None if it cannot. For example, Python reads full-width digits."""
    readers = {"integer": [int, lambda text: int(text, 0)], "real": [float], "word": [str], "path": [str]}
    for read in readers.get(kind, []):
        try:
            return read(value)
        except ValueError:
            continue
    return None
