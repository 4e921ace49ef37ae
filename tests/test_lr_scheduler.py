"""Learning-rate schedules: epoch by epoch against PyTorch; alone, chained, one after another, and resumed."""

import copy

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minivgg
from minivgg.errors import ArgumentError

few = settings(max_examples=80, deadline=None)
EPOCHS = 30
ours, theirs = minivgg.optim.lr_scheduler, torch.optim.lr_scheduler

gammas = st.sampled_from([0.1, 0.5, 0.9, 1.0, 2.0])
functions_of_the_epoch = st.one_of(
    st.tuples(st.just("StepLR"), st.tuples(st.integers(1, 12), gammas)),
    st.tuples(st.just("MultiStepLR"), st.tuples(st.lists(st.integers(1, EPOCHS), max_size=4), gammas)),
    st.tuples(st.just("CosineAnnealingLR"), st.tuples(st.integers(1, 40), st.sampled_from([0.0, 1e-3]))),
    st.tuples(st.just("LinearLR"), st.tuples(st.sampled_from([0.01, 1 / 3, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 20))),
)


def optimizer_of(library):
    """Two groups with learning rates of their own; no gradients, so that steps are cheap."""
    return library.optim.SGD([{"params": [library.ones(1)]}, {"params": [library.ones(1)], "lr": 0.7}], lr=0.1)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def assert_same(mine, torchs, epoch):
    numpy.testing.assert_allclose(rates(mine), rates(torchs), rtol=1e-11, atol=1e-14, err_msg=f"epoch {epoch}")


@few
@given(case=functions_of_the_epoch)
def test_a_schedule_is_pytorch_s(case):
    name, arguments = case
    mine, torchs = optimizer_of(minivgg), optimizer_of(torch)
    schedule, other = getattr(ours, name)(mine, *arguments), getattr(theirs, name)(torchs, *arguments)
    for epoch in range(EPOCHS):
        assert_same(mine, torchs, epoch)
        assert schedule.get_last_lr() == rates(mine)
        assert schedule.last_epoch == other.last_epoch == epoch
        torchs.step()
        schedule.step()
        other.step()


@few
@given(cases=st.lists(functions_of_the_epoch, min_size=2, max_size=2), change_at=st.integers(0, EPOCHS))
def test_schedules_multiply_each_other_and_a_change_by_hand(cases, change_at):
    mine, torchs = optimizer_of(minivgg), optimizer_of(torch)
    schedules = [getattr(ours, name)(mine, *arguments) for name, arguments in cases]
    others = [getattr(theirs, name)(torchs, *arguments) for name, arguments in cases]
    # the ratio that continues a cosine from its lowest point is 0 / 0, where rounding decides
    for epoch in range(EPOCHS):
        numpy.testing.assert_allclose(rates(mine), rates(torchs), rtol=1e-8, atol=1e-12, err_msg=f"epoch {epoch}")
        torchs.step()
        for group in (*mine.param_groups, *torchs.param_groups):
            group["lr"] *= 0.5 if epoch == change_at else 1
        for schedule in (*schedules, *others):
            schedule.step()


@few
@given(cases=st.lists(functions_of_the_epoch, min_size=1, max_size=3), data=st.data())
def test_one_schedule_after_another_is_pytorch_s(cases, data):
    count = len(cases) - 1
    milestones = sorted(data.draw(st.lists(st.integers(1, EPOCHS - 1), min_size=count, max_size=count, unique=True)))
    mine, torchs = optimizer_of(minivgg), optimizer_of(torch)
    schedule = ours.SequentialLR(mine, [getattr(ours, name)(mine, *arguments) for name, arguments in cases], milestones)
    other = theirs.SequentialLR(torchs, [getattr(theirs, name)(torchs, *arguments) for name, arguments in cases], milestones)
    for epoch in range(EPOCHS):
        assert_same(mine, torchs, epoch)
        assert schedule.get_last_lr() == rates(mine)
        torchs.step()
        schedule.step()
        other.step()


@few
@given(
    mode=st.sampled_from(["min", "max"]), factor=st.sampled_from([0.1, 0.5]), patience=st.integers(0, 3), threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    threshold_mode=st.sampled_from(["rel", "abs"]), cooldown=st.integers(0, 3), min_lr=st.sampled_from([0, 0.05, [0.01, 0.3]]),
    eps=st.sampled_from([1e-8, 0.02]), metrics=st.lists(st.floats(-3, 3), min_size=EPOCHS, max_size=EPOCHS),
)  # fmt: skip
def test_reduce_on_plateau_is_pytorch_s(metrics, **options):
    mine, torchs = optimizer_of(minivgg), optimizer_of(torch)
    schedule, other = ours.ReduceLROnPlateau(mine, **options), theirs.ReduceLROnPlateau(torchs, **options)
    for epoch, metric in enumerate(metrics):
        schedule.step(minivgg.tensor(metric, dtype="float64"))
        other.step(metric)
        assert_same(mine, torchs, epoch)
        assert schedule.get_last_lr() == rates(mine)
        assert (schedule.best, schedule.num_bad_epochs, schedule.cooldown_counter) == (other.best, other.num_bad_epochs, other.cooldown_counter)


def make(name, optimizer):
    if name == "ReduceLROnPlateau":
        return ours.ReduceLROnPlateau(optimizer, patience=1, cooldown=1)
    if name == "SequentialLR":
        return ours.SequentialLR(optimizer, [ours.LinearLR(optimizer), ours.CosineAnnealingLR(optimizer, 15)], [5])
    arguments = {"StepLR": (3,), "MultiStepLR": ([2, 9],), "CosineAnnealingLR": (12,), "LinearLR": ()}[name]
    return getattr(ours, name)(optimizer, *arguments)


@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "CosineAnnealingLR", "LinearLR", "ReduceLROnPlateau", "SequentialLR"])
@pytest.mark.parametrize("stopped_at", [0, 4, 5, 8])
def test_a_checkpoint_continues_to_the_same_bits(name, stopped_at):
    metrics = numpy.random.default_rng(0).standard_normal(20)

    def run(optimizer, schedule, epochs):
        seen = []
        for epoch in epochs:
            schedule.step(*[metrics[epoch]] * (name == "ReduceLROnPlateau"))
            seen.append(rates(optimizer))
        return seen

    optimizer = optimizer_of(minivgg)
    schedule = make(name, optimizer)
    run(optimizer, schedule, range(stopped_at))
    saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    whole = run(optimizer, schedule, range(stopped_at, 20))

    resumed = optimizer_of(minivgg)
    again = make(name, resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    assert again.get_last_lr() == rates(resumed)
    assert run(resumed, again, range(stopped_at, 20)) == whole


def test_refusals():
    optimizer = optimizer_of(minivgg)
    step = ours.StepLR(optimizer, 1)
    for call, text in [
        (lambda: ours.StepLR([], 1), "StepLR: expects an optimiser, got list"),
        (lambda: ours.StepLR(optimizer, 0), "StepLR: step_size must be at least 1, got 0"),
        (lambda: ours.CosineAnnealingLR(optimizer, 0), "CosineAnnealingLR: T_max must be at least 1, got 0"),
        (lambda: ours.LinearLR(optimizer, 0), "LinearLR: start_factor must lie in (0, 1], end_factor in [0, 1], got 0 and 1.0"),
        (lambda: ours.LinearLR(optimizer, total_iters=0), "LinearLR: total_iters must be at least 1, got 0"),
        (
            lambda: ours.ReduceLROnPlateau(optimizer, "low"),
            "ReduceLROnPlateau: mode must be 'min' or 'max', threshold_mode 'rel' or 'abs', got 'low' and 'rel'",
        ),
        (lambda: ours.ReduceLROnPlateau(optimizer, factor=1.0), "ReduceLROnPlateau: factor must be below 1, got 1.0"),
        (lambda: ours.ReduceLROnPlateau(optimizer, min_lr=[0.1]), "ReduceLROnPlateau: min_lr must be one number, or one for each of the 2 groups, got [0.1]"),
        (lambda: ours.SequentialLR(optimizer, [step], [3]), "SequentialLR: 1 schedules need one ascending milestone between any two, got [3]"),
        (lambda: ours.SequentialLR(optimizer_of(minivgg), [step], []), "SequentialLR: schedule 0, StepLR, belongs to another optimiser"),
        (
            lambda: ours.SequentialLR(optimizer, [ours.ReduceLROnPlateau(optimizer)], []),
            "SequentialLR: schedule 0, ReduceLROnPlateau, is not a function of the epoch",
        ),
    ]:
        with pytest.raises(ArgumentError) as caught:
            call()
        assert str(caught.value) == text
