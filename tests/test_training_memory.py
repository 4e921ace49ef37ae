"""The peak of a training step: what tracemalloc sees, held to the formula of ``inspect/training_memory.py``."""

import gc
import tracemalloc

import numpy
import pytest

import minivgg
from minivgg import models, nn, optim
from minivgg.inspect import training_memory
from minivgg.random import default_generator

OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.01),
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9),
    "adam": optim.Adam,
    "amsgrad": lambda parameters: optim.AdamW(parameters, amsgrad=True),
}


def step(model, optimizer, images, labels):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def measured(make):
    """Bytes at the peak of the third step, everything included that it stands on."""
    step(*make())  # compile first
    gc.collect()
    tracemalloc.start()
    try:
        everything = make()
        for _ in range(2):
            step(*everything)
        tracemalloc.reset_peak()
        step(*everything)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def mini(image, width, batch_norm):
    return lambda: models.MiniVGG(in_channels=3, image_size=image, width=width, batch_norm=batch_norm)


def separate(build):
    """No layers in one pass: a hook on each."""

    def made():
        model = build()
        for module in model.features:
            module.register_forward_hook(lambda *_: None)
        return model

    return made


def branches():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.left, self.right = (nn.Conv2d(c, 32, 3, padding=1) for c in (3, 32, 32))
            self.head = nn.Linear(32, 10)

        def forward(self, x):
            y = self.stem(x).relu()
            return self.head((self.left(y) + self.right(y).relu() + y).mean((2, 3)))

    return Branches()


def frozen():
    model = models.MiniVGG(in_channels=3, image_size=32, width=32, batch_norm=False)
    model.features.requires_grad_(False)
    return model


CASES = [
    # build, image, batch, optimiser: peaks in the update, at the widest layer, at the deepest
    (mini(32, 16, False), 32, 32, "sgd"),
    (mini(32, 16, False), 32, 32, "momentum"),
    (mini(32, 16, False), 32, 32, "adam"),
    (separate(mini(32, 16, False)), 32, 32, "momentum"),
    (mini(32, 16, True), 32, 32, "momentum"),
    (mini(64, 32, False), 64, 4, "amsgrad"),
    (mini(64, 32, True), 64, 4, "adam"),
    (separate(mini(64, 32, False)), 64, 4, "momentum"),
    (branches, 32, 16, "momentum"),
    (frozen, 32, 16, "adam"),
]


@pytest.fixture
def threads():
    before = minivgg.get_num_threads()
    yield minivgg.set_num_threads
    minivgg.set_num_threads(before)


@pytest.mark.parametrize(("build", "image", "batch", "name"), CASES)
def test_the_peak_of_a_step_is_what_the_formula_says(build, image, batch, name, threads):
    def make():
        model = build()
        return model, OPTIMIZERS[name](model.parameters()), minivgg.randn(batch, 3, image, image), minivgg.randint(0, 10, (batch,))

    threads(1)
    model, optimizer, *_ = make()
    assert training_memory(model, (3, image, image), optimizer, batch).peak == pytest.approx(measured(make), rel=0.02)
    threads(3)  # whose scratch memory is there at once only if all are at work at the same moment
    assert measured(make) < 1.02 * training_memory(model, (3, image, image), optimizer, batch).peak


def test_where_the_peak_is_and_what_it_is_made_of():
    model = mini(32, 16, True)()
    optimizer = optim.Adam(model.parameters())
    few = training_memory(model, (3, 32, 32), optimizer, 1)
    many = training_memory(model, (3, 32, 32), optimizer, 32)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert few.optimizer == many.optimizer == 2 * weights
    assert many.batch == 32 * few.batch == 32 * 3 * 32 * 32 * 4
    assert many.where.startswith("backward of")
    assert many.peak == sum(size for name, size in many.as_dict().items() if name not in ("peak", "where"))


def test_fusion_and_batch_are_seen():
    together, apart = mini(32, 16, False)(), separate(mini(32, 16, False))()
    peaks = [training_memory(model, (3, 32, 32), optim.SGD(model.parameters()), 32).saved for model in (together, apart)]
    assert peaks[0] < 0.9 * peaks[1]


def test_the_model_and_the_random_numbers_are_left_as_they_were():
    model = models.MiniVGG()
    model.features[1].eval()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    modes, images = [module.training for module in model.modules()], minivgg.randn(4, 1, 8, 8)
    optimizer, state = optim.Adam(model.parameters()), default_generator.get_state()
    assert training_memory(model, images, optimizer) == training_memory(model, (1, 8, 8), optimizer, batch_size=4)
    assert default_generator.get_state() == state
    assert [module.training for module in model.modules()] == modes
    assert all(numpy.array_equal(before[name], tensor.numpy()) for name, tensor in model.state_dict().items())
    assert not optimizer.state
