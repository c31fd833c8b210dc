"""Flags that users and their scripts rely on, and settings: the flags that checkpoints record."""

import re

import pytest

from tests.net import commands

_words = str.split

SETTINGS = _words(
    "datasource num_classes baseline pretrain_iterations metatrain_iterations meta_batch_size meta_lr "
    "update_batch_size queries update_lr num_updates norm num_filters conv max_pool stop_grad learn_update_lr "
    "image_size image_channels seed adapt step_sizes update_lr_max query_loss query_loss_iterations "
    "first_order_iterations meta_lr_decay algorithm inner_optimizer inner_batch_size "
    "splits augment normalize"
)
RL_SETTINGS = _words(
    "env baseline iterations meta_batch_size fast_batch_size horizon fast_lr num_grad_updates optimizer "
    "meta_step_size hessian_product discount gae_lambda hidden_size nonlinearity seed adapt"
)

# The flags of main.py that have a fixed default. Settings default to the paper's values.
_DEFAULTS = {
    **dict.fromkeys(
        ("help", "log_gradient_cosine", "export_transductive", "tf32", "deterministic", "estimate", "remat"), "false"
    ),
    **dict.fromkeys(("log", "resume", "train", "transductive"), "true"),
    **dict.fromkeys(("task_axis", "jit"), "auto"),
    **{"test_head": "trained", "test_iter": "-1", "train_update_batch_size": "-1", "train_update_lr": "-1.0"},
}
_RUN_FLAGS = (
    "preset data_dir logdir export_dir test_set test_queries test_tasks test_ways ensemble save_interval "
    "validation_interval validation_tasks"
)
_RL = f"{' '.join(RL_SETTINGS)} logdir"
_TEST_RL = f"{_RL} best test_iter trajectories num_updates out"
_SCRIPTS = {
    "train_rl": f"{_RL} resume log save_interval tf32 deterministic",
    "evaluate_rl": f"{_TEST_RL} policy update name format",
    "export_rl": f"{_RL} best test_iter export_dir",
    "plot_rl": f"{_RL} seeds name out format",
    "render_rl": f"{_TEST_RL} goal every fps",
    "baselines": "datasource data_dir logdir num_classes shots queries num_tasks iterations num_filters batch_size "
    "learning_rate held_out seed step_sizes decays num_updates tuning_tasks tf32 deterministic",
    "prepare_omniglot": "data_dir base_url",
    "prepare_miniimagenet": "source csv_dir data_dir resize",
    "plot_validation": "name out format",
    "compare": "updates out format",
    "benchmark": "workload task_axis jit steps csv peers against turns",
    "benchmark_export": "export_dir logdir data_dir tasks calls",
    "benchmark_rl": f"{' '.join(RL_SETTINGS)} task_axis threads repeats sampling workers",
    "plot_sinusoid": "figure logdir out format iterations seed",
    "sinusoid_table": "logdir csv iterations seed",
    "reproduce": "data_dir logdir iterations verify write_results",
}


def _flags(tmp_path, program):
    """{flag: default} from the help of a command; the default is None if the help gives none in parentheses."""
    result = commands.fork(tmp_path, program, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    found = re.split(r"^ +(?:-\w, ?)?--(?:\[no\])?(\w+)", result.stdout, flags=re.MULTILINE)[1:]
    defaults = (re.search(r"\(default:\s+(.*?)\)", text) for text in found[1::2])
    return {name: default and default[1] for name, default in zip(found[::2], defaults, strict=True)}


def test_flags_of_main(tmp_path):
    assert _flags(tmp_path, "main") == dict.fromkeys([*SETTINGS, *_RUN_FLAGS.split()]) | _DEFAULTS


@pytest.mark.parametrize("name", _SCRIPTS)
def test_flags_of_scripts(tmp_path, name):
    assert set(_flags(tmp_path, f"scripts.{name}")) - {"help"} == set(_SCRIPTS[name].split())
