"""Bad input to the core: one line that says what was wrong, what it was, and what would be right."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import a2sg
from a2sg import IF, LIF, PLIF, AdaptiveWindows, InputError, IntegerLIF, StepGuard, errors
from a2sg.analysis import EnergyMeter
from a2sg.data import create_data
from a2sg.data.sets import DATA
from a2sg.errors import (
    called,
    many,
    nearest,
    require,
    require_choice,
    require_count,
    require_gradient,
    require_positive,
)
from a2sg.export import to_nir
from a2sg.models import create_model, unfold
from a2sg.models.setting import MODELS
from a2sg.neuron import NEURONS, State
from a2sg.surrogate import Boxcar


def told(call, *parts):
    """The call raises one line that holds all parts."""
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


every_neuron = pytest.mark.parametrize("make", [LIF, IF, PLIF, IntegerLIF], ids=lambda cls: cls.__name__)


@every_neuron
def test_more_steps_than_windows(make):
    told(
        lambda: make(steps=4)(torch.zeros(5, 4, 3)),
        "steps=4",
        "T=5",
        "[T, B, ...]",
        "if the batch came first, use x.transpose(0, 1)",
    )


@every_neuron
def test_pixels_that_are_not_scaled_are_guessed(make):
    told(lambda: make(steps=2)(torch.zeros(2, 3, dtype=torch.uint8)), ".float() / 255")
    assert "255" not in told(lambda: make(steps=2)(torch.zeros(2, 3, dtype=torch.int64)), ".float()")


@every_neuron
@pytest.mark.parametrize("shape", [(), (4,)])
def test_wrong_rank(make, shape):
    told(lambda: make(steps=4)(torch.zeros(shape)), str(shape), "[T, B, ...]")
    told(lambda: make(steps=4).step(torch.zeros(())), "[T, B, ...]")


@every_neuron
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_wrong_dtype(make, dtype):
    told(lambda: make(steps=2)(torch.zeros(2, 3, dtype=dtype)), "floating point", str(dtype))
    told(lambda: make(steps=2).step(torch.zeros(3, dtype=dtype)), "floating point", str(dtype))


@every_neuron
@pytest.mark.parametrize(
    "value", [np.zeros((2, 3)), [[0.0], [1.0]], None, 1.0], ids=lambda v: type(v).__name__
)
def test_no_tensor(make, value):
    told(lambda: make(steps=2)(value), "tensor", type(value).__name__)
    told(lambda: make(steps=2).step(value), "tensor", type(value).__name__)


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda: LIF(4),
        lambda: LIF(4, reset="hard"),
        lambda: LIF(4, reset="hard", detach_reset=True, order="scaled"),
        lambda: LIF(4, decay=0.0),
        lambda: LIF(4, decay=0.0, reset="hard"),
        lambda: IF(4),
        lambda: IF(4, reset="hard"),
        lambda: PLIF(4, order="scaled"),
        lambda: IntegerLIF(4),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_nan_and_infinity(make, value, step, dtype):
    x = torch.zeros(4, 2, 5, dtype=dtype)
    x[step, 1, 3] = value
    told(lambda: make()(x), "NaN or infinity", "(4, 2, 5)")

    def stream():
        neuron, state = make(), None
        for current in x:
            _, state = neuron.step(current, state)

    told(stream, "NaN or infinity")


def test_opposite_infinities_do_not_cancel():
    x = torch.zeros(2, 2)
    x[0] = torch.tensor([math.inf, -math.inf])
    told(lambda: LIF(2)(x), "NaN or infinity")


def test_large_finite_input_is_no_infinity():
    x = torch.full((2, 8, 100), 1e30)
    x[:, ::2] *= -1
    assert LIF(2)(x).isfinite().all()


def test_state_of_another_stream():
    neuron = LIF(4)
    _, state = neuron.step(torch.zeros(2, 5))
    told(lambda: neuron.step(torch.zeros(3, 5), state), "(2, 5)", "(3, 5)", "None")
    told(lambda: neuron.step(torch.zeros(2, 5, 1), state), "(2, 5)", "(2, 5, 1)")
    told(lambda: neuron.step(torch.zeros(2, 5), State(torch.zeros(5), 1)), "(5,)")


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: LIF(0), "steps must be a whole number of at least 1, not 0"),
        (lambda: LIF(-2), "-2"),
        (lambda: LIF(2.0), "2.0"),
        (lambda: LIF(True), "True"),
        (lambda: LIF(2, threshold=0.0), "threshold must be a number above 0, not 0"),
        (lambda: LIF(2, threshold=-1.0), "-1"),
        (lambda: LIF(2, threshold=math.nan), "nan"),
        (lambda: LIF(2, threshold="high"), "'high'"),
        (lambda: LIF(2, decay=-0.1), "decay must be between 0 and 1, not -0.1"),
        (lambda: LIF(2, decay=1.1), "1.1"),
        (lambda: LIF(2, decay=math.nan), "nan"),
        (lambda: LIF(2, decay="slow"), "'slow'"),
        (lambda: PLIF(2, decay=0.0), "0.0"),
        (lambda: PLIF(2, decay=1.0), "1.0"),
        (lambda: PLIF(2, decay=math.nan), "nan"),
        (lambda: IntegerLIF(levels=0), "levels must be a whole number of at least 1, not 0"),
        (lambda: IntegerLIF(decay=2.0), "2"),
        (lambda: LIF(2, reset="sfot"), "did you mean 'soft'"),
        (lambda: LIF(2, order="reversed"), "field, scaled"),
        (lambda: LIF(2, surrogate="boxcar"), "a2sg.surrogate.Boxcar()"),
        (lambda: LIF(2, surrogate=Boxcar), "a2sg.surrogate.Boxcar()"),
        (lambda: LIF(2, window=0.0), "window must be above 0, not 0"),
        (lambda: LIF(2, window=-1), "-1"),
        (lambda: LIF(2, window=[0.5, -0.25]), "-0.25"),
        (lambda: LIF(2, window=math.nan), "nan"),
        (lambda: LIF(2, window=math.inf), "inf"),
        (lambda: LIF(2, window=[0.5, 0.5, 0.5]), "2 steps"),
        (lambda: LIF(2, window=torch.ones(3, 1, 2)), "(3, 1, 2)"),
        (lambda: LIF(2, window="wide"), "'wide'"),
        (lambda: LIF(2, window=None), "None"),
    ],
)
def test_bad_parameters_of_neurons(call, part):
    told(call, part)


def test_nothing_is_half_done_after_an_error():
    neuron = LIF(2)
    x = torch.randn(2, 3)
    expected = neuron(x)
    told(lambda: neuron(torch.full((2, 3), math.nan)), "NaN")
    assert torch.equal(neuron(x), expected)


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_helpers():
    require(True, "no")
    told(lambda: require(False, "just so"), "just so")
    assert require_positive("x", 2) == 2.0
    assert require_count("n", 3) == 3
    assert require_count("n", 0, least=0) == 0
    assert require_choice("neuron", "lif", NEURONS) == "lif"
    told(lambda: require_positive("x", "1,5"), "x", "'1,5'")
    told(lambda: require_count("n", 2, least=5), "at least 5", "2")
    told(lambda: require_count("n", True), "True")
    told(lambda: require_choice("neuron", "lfi", NEURONS), "did you mean 'lif'", "integer_lif")
    message = told(lambda: require_choice("neuron", "xyzzy", NEURONS), "'xyzzy'", "plif")
    assert "did you mean" not in message


class PanicException(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad\nworse"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (OSError(28, "No space left on device"), "OSError: No space left on device"),
        (MemoryError("Unable to allocate"), "MemoryError: Unable to allocate"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (PanicException("range end index"), "PanicException: range end index"),
        (ValueError("\x1b[31m\u202e"), "ValueError: �[31m�"),
        (ValueError("x" * 1000), "x…"),
    ],
)
def test_what_a_library_raises_is_told(error, reason):
    def fail():
        with errors.told("x.png is damaged"):
            raise error

    message = told(fail, "x.png is damaged (", reason)
    assert len(message) < 400


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_the_program_stops_it(error):
    with pytest.raises(error), errors.told("x.png is damaged"):
        raise error


def test_what_we_told_is_not_told_again():
    mine = InputError("of my own")
    with pytest.raises(InputError) as error, errors.told("x.png is damaged"):
        raise mine
    assert error.value is mine
    with errors.told("nothing is wrong"):
        pass


def test_a_line_does_nothing_to_a_terminal():
    assert errors.one_line("a\n b\t\x1b[2J\x07\x9b c ü 漢") == "a b �[2J�� c ü 漢"


def test_counts_have_a_most():
    assert require_count("x", 5, most=5) == 5
    told(lambda: require_count("x", 6, most=5), "x must be at most 5, not 6")


@pytest.mark.parametrize(
    ("word", "known", "wanted"),
    [
        ("epoch", ["--epochs", "--out"], " (did you mean '--epochs'?)"),
        ("-epochs", ["--epochs", "--out"], " (did you mean '--epochs'?)"),
        ("--arm", ["--resume", "--epochs"], ""),
        ("gpu", ["auto", "cpu", "cuda"], " (did you mean 'cuda'?)"),
        ("gpu", ["auto", "cpu"], ""),
        ("nothing", [], ""),
    ],
)
def test_the_nearest_known_word(word, known, wanted):
    assert nearest(word, known) == wanted


def test_a_loss_without_a_gradient():
    require_gradient(torch.zeros((), requires_grad=True))
    told(lambda: require_gradient(torch.zeros(())), "torch.no_grad()", "frozen")


@pytest.mark.parametrize(
    ("registry", "create", "wanted"),
    [
        (MODELS, create_model, "the entry of model 'mine' must give a torch module, not NoneType"),
        (DATA, create_data, "the entry of data set 'mine' must give an ImageData, not NoneType"),
    ],
)
def test_an_entry_that_forgets_to_return(monkeypatch, registry, create, wanted):
    monkeypatch.setitem(registry, "mine", lambda *_: None)
    told(lambda: create("mine"), wanted)


def test_numbers_of_things_and_names_of_layers():
    assert [many(number, "step") for number in (0, 1, 4000)] == ["0 steps", "1 step", "4,000 steps"]
    assert many(2, "search", "es") == "2 searches"
    assert (called("a.b"), called("")) == ("layer 'a.b'", "the model")


def test_a_choice_is_listed_once():
    told(lambda: require_choice("thing", "z", ["b", "a", "b"]), "unknown thing 'z': choose one of a, b")


@pytest.mark.parametrize(
    "use",
    [
        AdaptiveWindows,
        StepGuard,
        EnergyMeter,
        to_nir,
        unfold,
        lambda model: a2sg.adapt(model, steps=4),
        lambda model: a2sg.inspect(model, (torch.zeros(4, 1, 2), torch.zeros(1)), torch.nn.MSELoss()),
        lambda model: a2sg.recording(model).__enter__(),
    ],
)
@pytest.mark.parametrize(
    ("model", "what"), [([LIF(4)], "list"), (torch.nn.Sequential, "the class Sequential: build one")]
)
def test_what_is_no_model(use, model, what):
    told(lambda: use(model), f"the model must be a torch module, not {what}")


def test_a_misspelt_name_of_the_package_is_suggested_by_python():
    code = "import a2sg; a2sg.create_modle"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, errors="replace")
    assert "Did you mean: 'create_model'?" in done.stderr
