"""How the pages use a trained run in a program: they classify new images, and adapt a policy."""

import re
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

from maml_tf import MAML, losses

ROOT = Path(__file__).parents[1]


def block(page, start):
    """The indented block of a page that begins with `start`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (code,) = re.findall(rf"^    {re.escape(start)}.*?(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    return re.sub(r"^    ", "", code, flags=re.MULTILINE)


def test_new_images_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((28, 28, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    maml = MAML(network, losses.SoftmaxCrossEntropy(), step_size=4.0, num_updates=20)
    maml.export("exported/pictures/1")
    random = np.random.default_rng(0)
    ground = {"known/Bäume": 40, "known/blaue Tür": 160, "new": 40}
    for folder, blue in ground.items():
        Path(folder).mkdir(parents=True)
        for i, mode in enumerate(("RGB", "RGBA", "L")):
            pixels = random.integers(blue, blue + 60, (*random.integers(20, 50, 2), 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(f"{folder}/{i} ä.png")
    names = {}
    exec(block("getting-started.md", "from pathlib import Path").replace("side=84", "side=28"), names)
    assert capsys.readouterr().out == "".join(f"{i} ä.png Bäume\n" for i in range(3))
    adapted = maml.adapt(names["pixels"](names["known"]), names["labels"])
    np.testing.assert_allclose(names["outputs"], maml.predict(names["pixels"](names["new"]), adapted), rtol=1e-4)


def test_a_trained_policy_adapts(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block("rl.md", "import numpy as np\n\n    from rl.advantages"), names)
    before, after = map(float, re.findall(r"-[\d.]+", capsys.readouterr().out))
    assert after > before + 20
    assert names["mean"].shape == (1, 6)
