"""MiniVGG on the digits: accuracy on the held-out ones for several seeds, and seconds an epoch beside PyTorch.

    python benchmarks/digits.py                         # seeds 0 to 4, about ten minutes on two cores
    python benchmarks/digits.py --seeds 0 --epochs 5

Each seed trains the recipe of ``minivgg train`` (``training.digits_recipe``) in full. PyTorch, if it is installed, trains
the same network with the same recipe, from the same initial weights, and takes turns with minivgg epoch by epoch, with
the same number of threads (one, as ``minivgg train`` sets it). Both get their batches from minivgg's loader, so the
seconds of either include the same preparation of images; what that takes alone is printed, too.
"""

import json
import statistics
import time
from argparse import ArgumentParser
from pathlib import Path

from minivgg.bench.machine import machine, set_threads
from minivgg.training import digits_recipe

try:
    import torch
except ImportError:
    torch = None

RESULT = Path(__file__).parent / "results" / "digits.json"


class Twin:
    """The network of a recipe in PyTorch, trained the same way."""

    def __init__(self, recipe, seed):
        torch.manual_seed(seed)
        nn = torch.nn
        make = {
            "Conv2d": lambda m: nn.Conv2d(m.in_channels, m.out_channels, m.kernel_size, padding=m.padding),
            "BatchNorm2d": lambda m: nn.BatchNorm2d(m.num_features),
            "ReLU": lambda m: nn.ReLU(inplace=m.inplace),
            "MaxPool2d": lambda m: nn.MaxPool2d(m.kernel_size, m.stride),
            "Flatten": lambda m: nn.Flatten(),
            "Linear": lambda m: nn.Linear(m.in_features, m.out_features),
            "Dropout": lambda m: nn.Dropout(m.p),
        }
        layers = [*recipe.model.features, recipe.model.flatten, *recipe.model.classifier]
        self.network = nn.Sequential(*[make[type(layer).__name__](layer) for layer in layers])
        for theirs, ours in zip(self.network.state_dict().values(), recipe.model.state_dict().values(), strict=True):
            theirs.copy_(torch.from_numpy(ours.numpy().copy()))
        (group,) = recipe.optimizer.param_groups
        options = {name: group[name] for name in ("momentum", "weight_decay", "nesterov")}
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=group["initial_lr"], **options)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, recipe.epochs)
        self.recipe, self.seconds = recipe, []

    def train_an_epoch(self):
        self.network.train()
        began = time.perf_counter()
        for images, labels in self.recipe.train_loader.batches(seed=len(self.seconds)):
            loss = torch.nn.functional.cross_entropy(self.network(torch.from_numpy(images.numpy())), torch.from_numpy(labels.numpy()))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.seconds.append(time.perf_counter() - began)
        self.scheduler.step()

    def accuracy(self):
        self.network.eval()
        images, labels = self.recipe.test_loader.dataset.tensors
        with torch.no_grad():
            return (self.network(torch.from_numpy(images.numpy())).argmax(1).numpy() == labels.numpy()).mean().item()


def loading_seconds(recipe):
    """What an epoch's batches take to prepare."""
    began = time.perf_counter()
    for _ in recipe.train_loader.batches(seed=0):
        pass
    return time.perf_counter() - began


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.3f} s (quartiles {low:.3f} to {high:.3f}, {len(values)} epochs)"


parser = ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
parser.add_argument("--epochs", type=int, help="passes over the training digits (the recipe's number)")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--json", type=Path, default=RESULT, help="where the results go")
arguments = parser.parse_args()
length = {} if arguments.epochs is None else {"epochs": arguments.epochs}

set_threads(arguments.threads)
digits_recipe(epochs=1).fit()  # compiles what must be compiled
runs, loading = [], []
print("seed  minivgg  PyTorch" if torch else "seed  minivgg")
for seed in arguments.seeds:
    recipe = digits_recipe(seed, **length)
    twin = Twin(recipe, seed) if torch else None
    loading.append(loading_seconds(recipe))
    history = recipe.fit(on_epoch=lambda epoch, twin=twin: twin and twin.train_an_epoch())
    run = {"seed": seed, "accuracy": history.epochs[-1].test_accuracy, "epoch_seconds": [epoch.train_seconds for epoch in history.epochs]}
    if twin:
        run |= {"torch_accuracy": twin.accuracy(), "torch_epoch_seconds": twin.seconds}
    runs.append(run)
    print(f"{seed:4}  {run['accuracy']:7.2%}" + (f"  {run['torch_accuracy']:7.2%}" if twin else ""), flush=True)

ours = [seconds for run in runs for seconds in run["epoch_seconds"]]
means = [statistics.mean(run[name] for run in runs) for name in ("accuracy", "torch_accuracy") if name in runs[0]]
print("\nmean  " + "  ".join(f"{mean:7.2%}" for mean in means))
print(f"an epoch in minivgg {spread(ours)}, of which {statistics.median(loading):.3f} s prepare images")
if torch:
    theirs = [seconds for run in runs for seconds in run["torch_epoch_seconds"]]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"an epoch in PyTorch {spread(theirs)}; minivgg takes {statistics.median(ratios):.2f} times as long (median of pairs)")
arguments.json.parent.mkdir(parents=True, exist_ok=True)
result = {"machine": machine(), "epochs": recipe.epochs, "loading_seconds": loading, "runs": runs}
arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
