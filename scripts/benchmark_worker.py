"""Measures one workload of `scripts.benchmark` in this process, whose threads and peak memory are then its own."""

import contextlib
import dataclasses
import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_generators.episodes import ClassImages, Episodes
from data_generators.sinusoid import Sinusoid
from maml_tf import problems, runtime
from maml_tf.experiment import Experiment
from maml_tf.steps import CompiledSteps
from maml_tf.task_axis import VECTORIZE
from maml_tf.training import Schedule, Training
from scripts import flops
