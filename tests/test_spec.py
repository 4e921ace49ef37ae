"""Problem descriptors of convolutions: sizes against PyTorch, counts against published ones, problem strings there and back."""

import dataclasses
import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minivgg.errors import ArgumentError, ShapeError
from minivgg.spec import Conv2dSpec, pair

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def specs(draw):
    groups, taps, dilation = draw(st.integers(1, 3)), draw(pairs), draw(pairs)
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    h, w = (
        max(1, d * (r - 1) + 1 - before - after) + draw(st.integers(0, 9))
        for d, r, before, after in zip(dilation, taps, padding[::2], padding[1::2], strict=True)
    )
    return Conv2dSpec(
        draw(st.integers(0, 3)), groups * draw(st.integers(1, 3)), h, w, groups * draw(st.integers(1, 3)), *taps, draw(pairs), padding, dilation, groups
    )


@given(spec=specs())
def test_output_size_is_pytorchs(spec):
    top, bottom, left, right = spec.padding
    x = torch.nn.functional.pad(torch.zeros(spec.input_shape), (left, right, top, bottom))
    out = torch.conv2d(x, torch.zeros(spec.weight_shape), None, spec.stride, 0, spec.dilation, spec.groups)
    assert tuple(out.shape) == spec.output_shape


steps = st.integers(1, 3) | st.integers(1, 60)
axes = st.tuples(st.integers(1, 5), st.integers(1, 4), steps, steps, st.integers(0, 130), st.integers(0, 130))


@settings(max_examples=1000)
@given(axis=axes)
def test_what_leads_beyond_the_input_is_brought_near_and_reads_the_same(axis):
    size, taps, dilation, stride, before, after = axis
    assume(size + before + after > dilation * (taps - 1))
    spec = Conv2dSpec(1, 1, size, 1, 1, taps, 1, (stride, 1), (before, after, 0, 0), (dilation, 1))
    outputs = (size + before + after - dilation * (taps - 1) - 1) // stride + 1

    def read(stride, dilation, before):
        places = [[p * stride + t * dilation - before for t in range(taps)] for p in range(outputs)]
        return [[place if 0 <= place < size else None for place in row] for row in places]

    assert spec.p == outputs == (size + sum(spec.padding[:2]) - spec.span[0]) // spec.stride[0] + 1
    assert read(spec.stride[0], spec.dilation[0], spec.padding[0]) == read(stride, dilation, before)
    assert spec.dilation[0] <= max(1, size + (outputs - 1) * spec.stride[0] + 1)
    assert spec.stride[0] <= size + spec.span[0]
    assert Conv2dSpec(*[getattr(spec, field.name) for field in dataclasses.fields(spec) if field.init]) == spec


@given(spec=specs())
def test_string_is_read_back(spec):
    assert Conv2dSpec.parse(str(spec)) == spec
    assert str(Conv2dSpec.parse(str(spec))) == str(spec)


@given(spec=specs())
def test_arguments_mean_the_descriptor(spec):
    top, bottom, left, right = spec.padding
    arguments = {"stride": spec.stride, "padding": [top, left], "dilation": list(spec.dilation), "groups": spec.groups}
    spec = dataclasses.replace(spec, padding=(top, top, left, left), h=spec.h + bottom, w=spec.w + right)
    assert Conv2dSpec.of(spec.input_shape, spec.weight_shape, **arguments) == spec
    assert Conv2dSpec.of(spec.input_shape[1:], spec.weight_shape, **arguments) == spec.with_batch(1)


@given(size=st.tuples(st.integers(1, 9), st.integers(1, 9)), taps=pairs, dilation=pairs)
def test_same_keeps_the_size_and_pads_more_below_and_to_the_right(size, taps, dilation):
    spec = Conv2dSpec.of((1, 2, *size), (3, 2, *taps), padding="same", dilation=dilation)
    assert (spec.p, spec.q) == size
    top, bottom, left, right = spec.padding
    assert bottom - top in (0, 1)
    assert right - left in (0, 1)


BLOCKS = {  # convolutions of the nets of the paper: (output channels, filter side), M for max pooling
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256/1 M 512 512 512/1 M 512 512 512/1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
CONV_MACS = {"A": 7_485_456_384, "B": 11_184_832_512, "C": 11_647_254_528, "D": 15_346_630_656, "E": 19_508_428_800}


@pytest.mark.parametrize("net", BLOCKS)
def test_multiply_adds_of_vgg_are_the_known_ones(net):
    total, channels, side = 0, 3, 224
    for word in BLOCKS[net].split():
        if word == "M":
            side //= 2
            continue
        filters, _, taps = word.partition("/")
        taps = taps or "3"
        spec = Conv2dSpec.parse(f"n1 c{channels} h{side} w{side} k{filters} r{taps} p{int(taps) // 2}")
        assert (spec.p, spec.q) == (side, side)
        total, channels = total + spec.macs, spec.k
    assert total == CONV_MACS[net]


def test_batch_can_be_changed():
    spec = Conv2dSpec.parse("n1 c3 h8 w8 k4 r3 p1 g1")
    assert spec.with_batch(5) == Conv2dSpec.parse("n5 c3 h8 w8 k4 r3 p1")
    assert spec.with_batch(5).macs == 5 * spec.macs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n1 c3 h8", "'n1 c3 h8' lacks w, k, r"),
        ("n1 c3 h8 w8 k4 r3 r3", "'r3' is not a field like c64, r3x5 or p0:1x0:1, or stands twice"),
        ("n1 c3 h8 w8 k4 r3 y2", "'y2' is not a field"),
        ("n1 c3 h8 w8 k4 r3xx", "has a malformed number"),
        ("n1 c3x2 h8 w8 k4 r3", "has a malformed number"),
        ("n1 c3 h8 w8 k4 r3 p1:2:3", "has a malformed number"),
        ("n1 c3 h8 w8 k4 r3 s0", "stride must be at least 1, got (0, 0)"),
        ("n1 c3 h8 w8 k4 r9", "the filter spans 9x9, the padded input is only 8x8"),
        ("n1 c0 h8 w8 k4 r3", "only the batch may be empty, got input (1, 0, 8, 8), weight (4, 0, 3, 3)"),
        ("n1 c3 h8 w8 k4 r3 g2", "groups must divide the channels: 3 in, 4 out, groups 2"),
        ("n1 c3 h8 w8 k4 r3 g0", "groups must be an int of at least 1, got 0"),
    ],
)
def test_malformed_problems_are_refused(text, problem):
    with pytest.raises((ArgumentError, ShapeError), match=re.escape(problem)):
        Conv2dSpec.parse(text)


def test_pairs():
    assert pair("conv2d", "stride", (2,), 1) == (2, 2)
    for value, problem in (((1, 2, 3), "must be an int or a pair of ints, got (1, 2, 3)"), (1.5, "got 1.5"), ((1, 0), "must be at least 1, got (1, 0)")):
        with pytest.raises(ArgumentError, match=re.escape(problem)):
            pair("conv2d", "stride", value, 1)
