"""The loop: it computes what it says, ends cleanly on Ctrl-C, and an interrupted or killed run resumes to the same bits."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest

import minivgg
from minivgg import nn
from minivgg.data import DataLoader, Dataset, Subset, TensorDataset, digits
from minivgg.data.transforms import RandomAffine
from minivgg.errors import ArgumentError
from minivgg.nn import functional as F
from minivgg.optim import SGD, Adam, AdamW, RMSprop
from minivgg.optim.lr_scheduler import CosineAnnealingLR, LinearLR, ReduceLROnPlateau, SequentialLR, StepLR
from minivgg.training import DivergedError, FileError, digits_recipe, evaluate, fit, read_metrics

CLOCK = ("seconds", "train_seconds", "images_per_second", "remaining")
"""What a row says of time, the only part of it that two runs do not share."""


def network():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(27, 10))


def ingredients(optimizer=SGD, schedule=lambda o: CosineAnnealingLR(o, T_max=3), own_generator=False, prefetch=0, seed=0):
    """A run with everything random that there is: order, augmentation, dropout; 3 epochs of 5 steps, the last of them smaller."""
    minivgg.manual_seed(seed)
    model = network()
    options = {"momentum": 0.9} if optimizer is SGD else {}
    opt = optimizer(model.parameters(), lr=0.02, **options)
    few = Subset(digits(transform=RandomAffine(10, (0.1, 0.1))), range(0, 1437, 20))
    generator = minivgg.Generator().manual_seed(7) if own_generator else None
    return {
        "model": model,
        "train_loader": DataLoader(few, 16, shuffle=True, generator=generator, prefetch=prefetch),
        "optimizer": opt,
        "scheduler": schedule(opt),
        "test_loader": DataLoader(Subset(digits(train=False), range(30)), 16),
        "epochs": 3,
    }


def bits(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def rows_of(path):
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in read_metrics(path)]


# What it computes -----------------------------------------------------------------------------------------------------


def test_fit_is_the_loop_that_one_writes_by_hand(tmp_path):
    parts = ingredients()
    history = fit(**parts, metrics_path=tmp_path / "new" / "metrics.jsonl")

    other = ingredients()
    model, optimizer, expected = other["model"], other["optimizer"], []
    for epoch in range(3):
        model.train()
        losses, right, seen = 0.0, 0, 0
        for images, labels in other["train_loader"]:
            scores = model(images)
            loss = F.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits = sum(int(numpy.argmax(row)) == label for row, label in zip(scores.detach().numpy(), labels.tolist(), strict=True))
            losses, right, seen = losses + loss.item() * len(labels), right + hits, seen + len(labels)
            common = {"epoch": epoch + 1, "step": 5 * epoch + len([r for r in expected if r["epoch"] == epoch + 1]) + 1, "lr": optimizer.param_groups[0]["lr"]}
            numbers = {"loss": loss.item(), "accuracy": hits / len(labels), "mean_loss": losses / seen, "mean_accuracy": right / seen}
            expected.append({"kind": "step", **common, "steps": 15, **numbers})
        model.eval()
        with minivgg.no_grad():
            (a, la), (b, lb) = other["test_loader"].batches(0)
            scores, labels = numpy.concatenate([model(a).numpy(), model(b).numpy()]), numpy.concatenate([la.numpy(), lb.numpy()])
        test_loss = F.cross_entropy(minivgg.tensor(scores), minivgg.tensor(labels)).item()
        test = {"test_loss": test_loss, "test_accuracy": float((scores.argmax(1) == labels).mean())}
        expected.append({"kind": "epoch", **common, "train_loss": losses / seen, "train_accuracy": right / seen, **test})
        other["scheduler"].step()

    assert seen == 72
    assert bits(parts["model"]) == bits(model)
    rows = rows_of(tmp_path / "new" / "metrics.jsonl")
    assert [row["kind"] for row in rows] == (["step"] * 5 + ["epoch"]) * 3
    for row, wanted in zip(rows, expected, strict=True):
        assert row.pop("test_loss", 0.0) == pytest.approx(wanted.pop("test_loss", 0.0), rel=1e-6)
        assert row == wanted
    assert (history.steps, history.interrupted, len(history.epochs)) == (15, False, 3)
    assert history.epochs[-1].test_accuracy == rows[-1]["test_accuracy"]


def test_fit_trains_in_training_mode_whatever_mode_it_finds():
    first = ingredients()
    fit(**first)
    second = ingredients()
    second["model"].eval()
    fit(**second)
    assert bits(first["model"]) == bits(second["model"])


def test_the_clock_is_plausible(tmp_path):
    steps, began = [], time.perf_counter()
    fit(**ingredients(), on_step=steps.append, metrics_path=tmp_path / "m.jsonl")
    took = time.perf_counter() - began
    seconds = [step.seconds for step in steps]
    assert sorted(seconds) == seconds
    assert 0 < seconds[-1] < took
    assert steps[-1].remaining == 0
    assert all(0 < step.remaining < 100 * took for step in steps[:-1])
    assert all(step.images_per_second > 72 / took for step in steps)
    epochs = [row for row in read_metrics(tmp_path / "m.jsonl") if row["kind"] == "epoch"]
    assert sum(epoch["train_seconds"] for epoch in epochs) < epochs[-1]["seconds"] < took


class Score(nn.Module):
    """The images as they are: one-hot images are perfect scores. Counts its calls in training."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(x)


def test_evaluate_counts_rightly_and_leaves_no_trace():
    model = Score()
    model.drop.train(False)
    labels = minivgg.from_numpy(numpy.arange(10) % 5)
    shown = numpy.where(labels.numpy() == 2, 3, labels.numpy())
    images = minivgg.tensor(numpy.eye(5, dtype="float32")[shown]) * 4
    loader = DataLoader(TensorDataset(images, labels), 4, shuffle=True)
    minivgg.manual_seed(1)
    state = minivgg.default_generator.get_state()
    found = evaluate(model, loader)
    assert minivgg.default_generator.get_state() == state
    assert (model.training, model.drop.training) == (True, False)
    assert found.accuracy == 0.8
    pairs = zip(labels.tolist(), shown.tolist(), strict=True)
    assert sorted(zip(found.labels.tolist(), found.predicted.tolist(), strict=True)) == sorted(pairs)
    right, wrong = -4 + numpy.log(4 + numpy.exp(4)), numpy.log(4 + numpy.exp(4))
    assert found.loss == pytest.approx(0.8 * right + 0.2 * wrong, rel=1e-6)
    assert (evaluate(model, loader).scores == found.scores).all()


def test_soft_labels_count_at_their_highest_probability():
    images = minivgg.tensor(numpy.eye(3, dtype="float32"))
    soft = minivgg.tensor([[0.6, 0.2, 0.2], [0.5, 0.4, 0.1], [0.0, 0.1, 0.9]])
    assert evaluate(Score(), DataLoader(TensorDataset(images, soft), 2)).accuracy == pytest.approx(2 / 3)


def test_plateau_schedules_get_their_metric():
    for mode, name in (("min", "test_loss"), ("max", "test_accuracy")):
        given = []

        class Listening(ReduceLROnPlateau):
            def step(self, metrics, given=given):
                given.append(metrics)
                super().step(metrics)

        history = fit(**ingredients(schedule=lambda o, mode=mode, kind=Listening: kind(o, mode=mode)))
        assert given == [getattr(epoch, name) for epoch in history.epochs]
        parts = ingredients(schedule=lambda o, mode=mode, kind=Listening: kind(o, mode=mode))
        parts["test_loader"] = None
        given.clear()
        history = fit(**parts)
        assert given == [getattr(epoch, name.replace("test", "train")) for epoch in history.epochs]
        assert "test_loss" not in history.epochs[0].row()


def test_what_cannot_be_trained_is_refused(tmp_path):
    parts = ingredients()
    for loader in (DataLoader([], 4), DataLoader(Subset(digits(), range(3)), 4, drop_last=True)):
        with pytest.raises(ArgumentError, match=r"fit: there is no batch to train on \(images \d, batch_size 4\)"):
            fit(**{**parts, "train_loader": loader})
    with pytest.raises(ArgumentError, match="evaluate: there is no batch to evaluate on"):
        evaluate(parts["model"], DataLoader([], 4))
    parts = ingredients()
    minivgg.nn.init.constant_(parts["model"][-1].bias, numpy.inf)
    with numpy.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        fit(**parts, metrics_path=tmp_path / "m.jsonl")
    assert str(caught.value) == "fit: the loss is nan; parameter 6.bias held inf before this step (epoch 1, step 1, lr 0.02)"
    assert read_metrics(tmp_path / "m.jsonl") == []


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def ctrl_c_at(number):
    def press(step):
        if step.step == number:
            os.kill(os.getpid(), signal.SIGINT)

    return press


CONFIGURATIONS = {
    "sgd, cosine": {},
    "adam, plateau": {"optimizer": Adam, "schedule": lambda o: ReduceLROnPlateau(o, patience=0)},
    "adamw, warm-up": {"optimizer": AdamW, "schedule": lambda o: SequentialLR(o, [LinearLR(o, total_iters=2), StepLR(o, 1)], [1]), "prefetch": 2},
    "rmsprop, no schedule, own generator": {"optimizer": RMSprop, "schedule": lambda o: None, "own_generator": True},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, name):
    whole = ingredients(**CONFIGURATIONS[name])
    fit(**whole, metrics_path=tmp_path / "whole.jsonl")
    paths = {"metrics_path": tmp_path / "parts.jsonl", "checkpoint_path": tmp_path / "parts.safetensors"}
    for steps in (2, 5, 6, 10, 14, 15):  # amid an epoch, after the last step of one, after the first of one, at the very end
        parts = ingredients(**CONFIGURATIONS[name], seed=steps)  # whatever the new process starts from
        if steps == 2:
            parts = ingredients(**CONFIGURATIONS[name])
        history = fit(**parts, **paths, resume=True, on_step=ctrl_c_at(steps))
        assert (history.interrupted, history.steps, len(history.epochs)) == (True, steps, (steps - 1) // 5)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    parts = ingredients(**CONFIGURATIONS[name], seed=99)
    history = fit(**parts, **paths, resume=True)
    assert (history.interrupted, history.steps, len(history.epochs)) == (False, 15, 3)
    assert bits(parts["model"]) == bits(whole["model"])
    assert rows_of(paths["metrics_path"]) == rows_of(tmp_path / "whole.jsonl")
    assert [epoch.row() for epoch in history.epochs] == [row for row in read_metrics(paths["metrics_path"]) if row["kind"] == "epoch"]


def test_a_finished_run_is_left_alone_and_can_be_prolonged(tmp_path):
    paths = {"metrics_path": tmp_path / "m.jsonl", "checkpoint_path": tmp_path / "c.safetensors"}
    parts = ingredients()
    fit(**parts, **paths)
    before = bits(parts["model"])
    again = ingredients(seed=5)
    assert fit(**again, **paths, resume=True).steps == 15
    assert bits(again["model"]) == before
    longer = ingredients(seed=5)
    assert fit(**{**longer, "epochs": 4}, **paths, resume=True).steps == 20
    assert [row["epoch"] for row in read_metrics(paths["metrics_path"]) if row["kind"] == "epoch"] == [1, 2, 3, 4]


class Impatient(Dataset):
    """Presses Ctrl-C twice while one batch is being prepared."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index == 50:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        return minivgg.zeros(1, 8, 8), 0


def test_a_second_ctrl_c_interrupts_at_once():
    parts = ingredients()
    with pytest.raises(KeyboardInterrupt):
        fit(**{**parts, "train_loader": DataLoader(Impatient(), 10)})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_after_an_epoch_ends_the_run_there(tmp_path):
    history = fit(**ingredients(), on_epoch=lambda epoch: os.kill(os.getpid(), signal.SIGINT), checkpoint_path=tmp_path / "c.safetensors")
    assert (history.interrupted, history.steps) == (True, 5)
    history = fit(**ingredients(), on_epoch=lambda epoch: os.kill(os.getpid(), signal.SIGINT) if epoch.epoch == 3 else None)
    assert (history.interrupted, history.steps) == (False, 15)


def test_the_programs_own_handler_is_put_back():
    def mine(number, frame):
        raise AssertionError("not now")

    signal.signal(signal.SIGINT, mine)
    try:
        fit(**ingredients())
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_training_runs_in_any_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(**ingredients())))
    thread.start()
    thread.join()
    assert results[0].steps == 15


# Kill -9 --------------------------------------------------------------------------------------------------------------

CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_training import ingredients, fit
fit(**ingredients(prefetch=2), metrics_path=sys.argv[1] + ".jsonl", checkpoint_path=sys.argv[1] + ".safetensors", checkpoint_every=2, resume=True,
    on_step=lambda step: print(step.step, flush=True))
"""


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    """Killed at four random moments (while computing, writing metrics, or saving), begun again each time."""
    whole = ingredients()
    fit(**whole, metrics_path=tmp_path / "whole.jsonl")
    rng = numpy.random.default_rng()
    begun = []
    for attempt in range(5):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True) as child:
            line = child.stdout.readline()
            if not line:  # the one before was killed after its last step had been saved: nothing is left to do
                assert child.wait() == 0
                break
            begun.append(int(line))
            if attempt < 4:
                for _ in range(rng.integers(3)):
                    child.stdout.readline()
                time.sleep(rng.uniform(0, 0.02))
                child.kill()
            else:
                assert [line, *child.stdout][-1] == "15\n"
        assert attempt < 4 or child.returncode == 0
    assert begun == sorted(begun)
    assert all(step % 2 == 1 or step in (6, 11) for step in begun)  # just after a checkpoint: every second step, and each epoch's end
    parts = ingredients()
    fit(**parts, checkpoint_path=tmp_path / "run.safetensors", resume=True, metrics_path=tmp_path / "run.jsonl")
    assert bits(parts["model"]) == bits(whole["model"])
    assert rows_of(tmp_path / "run.jsonl") == rows_of(tmp_path / "whole.jsonl")


def test_metrics_written_after_the_checkpoint_are_written_again(tmp_path):
    paths = {"metrics_path": tmp_path / "m.jsonl", "checkpoint_path": tmp_path / "c.safetensors"}
    fit(**ingredients(), **paths, on_step=ctrl_c_at(2))
    with paths["metrics_path"].open("a") as file:
        file.write('{"kind": "step", "step": 3}\n' * 100 + '{"kind": "st')
    fit(**ingredients(), **paths, resume=True, on_step=ctrl_c_at(4))
    assert [row["step"] for row in read_metrics(paths["metrics_path"])] == [1, 2, 3, 4]
    fit(**ingredients(), **paths, on_step=ctrl_c_at(1))  # without resume, everything begins again
    assert [row["step"] for row in read_metrics(paths["metrics_path"])] == [1]


def test_metrics_that_got_lost_are_missed(tmp_path):
    paths = {"metrics_path": tmp_path / "m.jsonl", "checkpoint_path": tmp_path / "c.safetensors"}
    fit(**ingredients(), **paths, on_step=ctrl_c_at(2))
    size = paths["metrics_path"].stat().st_size
    paths["metrics_path"].write_bytes(paths["metrics_path"].read_bytes()[:-1])
    with pytest.raises(FileError) as caught:
        fit(**ingredients(), **paths, resume=True)
    text = f"fit: the metrics file {paths['metrics_path']} is missing or shorter than the {size} bytes it had at the checkpoint; put it back or start anew"
    assert str(caught.value) == text


# Recipes --------------------------------------------------------------------------------------------------------------


def test_the_digits_recipe_learns_and_repeats():
    """Two epochs of it; benchmarks/digits.py measures what all of them reach."""
    first = digits_recipe(seed=1, epochs=2)
    history = first.fit()
    assert history.epochs[-1].test_accuracy > 0.9
    second = digits_recipe(seed=1, epochs=2)
    assert bits(second.model) != bits(first.model)
    second.fit()
    assert bits(second.model) == bits(first.model)
    assert bits(digits_recipe(seed=2).model) != bits(digits_recipe(seed=1).model)
