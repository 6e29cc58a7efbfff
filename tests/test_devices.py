"""Devices: one rule says which are taken, and where float64 is."""

import pytest
import torch

from a2sg.devices import device_title, find_device, with_float64
from a2sg.errors import InputError
from machine import pretend_cores


@pytest.mark.parametrize(
    ("there", "taken", "auto"),
    [
        (None, {"cpu"}, "cpu"),
        ("cuda", {"cpu", "cuda"}, "cuda"),
        ("mps", {"cpu", "mps"}, "cpu"),
        ("xpu", {"cpu"}, "cpu"),
    ],
)
def test_what_torch_finds_is_taken_and_all_else_refused(monkeypatch, there, taken, auto):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: there and torch.device(there))
    assert find_device("auto").type == auto
    for name in ("cpu", "cuda", "mps"):
        if name in taken:
            assert find_device(name).type == name
        else:
            with pytest.raises(
                InputError, match=f"device {name} was asked for, but torch finds .* use --device cpu"
            ):
                find_device(name)


@pytest.mark.parametrize("name", ["xpu", "cuda:1", "gpu", ""])
def test_other_names_are_told(name):
    with pytest.raises(InputError, match=r"unknown device .* choose one of auto, cpu, cuda, mps"):
        find_device(name)


def test_float64_is_where_it_can_be_made():
    assert with_float64(torch.device("cpu")) == torch.device("cpu")
    assert with_float64(torch.device("meta", 0)) == torch.device("meta", 0)
    assert with_float64(torch.device("mps")) == torch.device("cpu")  # none is here, which comes to the same


def test_a_device_is_titled_by_what_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    for count, title in ((1, "cpu (1 core)"), (4, "cpu (4 cores)")):
        pretend_cores(monkeypatch, count)
        assert device_title(torch.device("cpu")) == title
    assert device_title(torch.device("cuda:1")) == "Card 1"
    assert device_title(torch.device("mps")) == "mps"
