"""What every rule that sets windows shares: the sites, the iterations it looks at, its history and state."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_count
from a2sg.window.later import Later
from a2sg.window.observer import Clock, Observer
from a2sg.window.silence import silence
from a2sg.window.site import Site, require_windows_by_step, sites_of
from a2sg.window.store import Store

log = logging.getLogger("a2sg")

Loss = Callable[[], Tensor]
"""Computes the loss of the present batch once more."""
Told = Callable[[Tensor], None]
"""What is done with numbers once they are there."""


class WindowPolicy(ABC):
    """A rule that sets the windows of a model once in a while; stepped like a learning-rate scheduler.

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`; with `batches`
    so are the iterations after it, that many in all. What is set after the last of them acts from the next
    iteration. `a2sg.AdaptiveWindows` is the method of the paper, `a2sg.baselines` has others.

    Args:
        model: holds spiking neurons (or other sites) with one window per step.
        every: iterations from one search to the next.
        start: the first observed one.
        batches: how many iterations in a row are observed for one search, at most `every`.

    Attributes:
        sites: what is set, by the name of the layer.
        observers: what looks on during observed backward passes, by layer; empty if nothing does.
        iteration: how many iterations are done.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    columns: ClassVar[tuple[str, ...]]
    """Keys of a row of the history; `iteration`, `layer`, `step`, `window`, `window_before` among them."""
    saved: ClassVar[frozenset[str]] = frozenset({"iteration", "kept", "seconds", "history", "tables"})
    """Keys of a state."""

    def __init__(self, model: nn.Module, *, every: int, start: int, batches: int = 1) -> None:
        self.every = require_count("every", every)
        self.start = require_count("start", start, least=0)
        self.batches = require_count("batches", batches)
        require(batches <= every, f"batches must be at most every={every}, not {batches}")
        self.sites = _find_sites(model)
        self._model = model
        self.observers: dict[str, Observer] = {}
        self.iteration = 0
        self._history: list[dict[str, Any]] = []
        self._kept: Counter[str] = Counter()
        self._late: list[tuple[Later, Told]] = []
        self._clock = Clock()
        self._attached = True
        self._disarmed: set[str] = set()

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict per observed iteration, layer and step, with the keys `columns`."""
        self._hear(wait=True)
        return self._history

    @property
    def kept(self) -> Counter[str]:
        """How often a window was kept because nothing could be found, by reason."""
        self._hear(wait=True)
        return self._kept

    @property
    def observing(self) -> bool:
        """Whether the current iteration is observed."""
        return self._attached and self.iteration >= self.start and self._place < self.batches

    @property
    def _place(self) -> int:
        """How many iterations it is since the last period began."""
        return (self.iteration - self.start) % self.every

    @property
    def seconds(self) -> float:
        """Time spent observing and solving so far."""
        return self._clock.seconds + sum(observer.clock.seconds for observer in self.observers.values())

    @property
    def silence(self) -> str:
        """Why no search has set anything yet, a sentence; "" if one has, or none is meant to.

        Searches that have not come, or that saw no gradient, leave windows just as one that likes them does.
        """
        return silence(
            self.history, self.wanted, self.start + self.batches - 1, self.iteration, self._disarmed
        )

    @property
    def wanted(self) -> int:
        """How many windows it is to set; 0 if it only looks on."""
        return sum(site.steps for site in self.sites.values())

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration (with `batches`, the last of a row) sets what the rule finds, and appends to
        `history`.

        Args:
            loss: computes the loss of the present batch once more, for rules that look at it anew, such as
                `a2sg.baselines.DspikeSearch`; others do not call it.

        Returns:
            Whether anything was set.
        """
        done = False
        if self.observing:
            self._check_armed()
        if self.observing and self._place == self.batches - 1:
            with self._clock.running(torch.device("cpu")):
                done = self._update(loss)
                self._hear()
        self.iteration += 1
        self._arm()
        return done

    def calibrate(self, loss: Loss, *, rounds: int = 1) -> None:
        """Set windows before training begins, from one batch, as weights are initialised.

        Nothing else changes but the history, and shapes if they are searched: gradients, buffers such as
        running statistics and the random state are as they were, and no iteration is counted.

        Args:
            loss: computes the loss of a batch from the model, such as `lambda: criterion(net(x), y)`; it is
                called `rounds` times.
            rounds: searches in a row, each from the windows of the one before.

        Raises:
            InputError: between the micro-batches of an observed iteration, or for a loss without a gradient.
        """
        require_count("rounds", rounds)
        require(
            all(not observer.table.any() for observer in self.observers.values()),
            "calibrate was called within an observed iteration: call it before the first backward pass, or "
            "after step()",
        )
        self._watch(True)
        try:
            with _as_it_was(self._model, [site.window for site in self.sites.values()]):
                for _ in range(rounds):
                    value = loss()
                    require(
                        value.requires_grad,
                        "the loss has no gradient: is it computed under torch.no_grad(), or are all "
                        "parameters frozen?",
                    )
                    value.backward()
                    self._update(loss)
        finally:
            for observer in self.observers.values():
                observer.table.zero_()
                observer.passing.zero_()
            self._arm()
        self._hear()

    def discard(self, broken: Tensor) -> None:
        """Have the search under way find nothing: it keeps all windows, and counts that as "not finite".

        Args:
            broken: whether to, a 0-d tensor on any device, which is not waited for.
        """
        if self.observing and self.observers:
            self.store.settle()
            self.store.flat += torch.where(broken, torch.nan, 0.0).to(self.store.flat)

    def detach(self) -> None:
        """Stop watching the model, for good; its windows stay as they are."""
        self._attached = False
        self._arm()

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from; the windows themselves are in the model's state_dict."""
        return {
            "iteration": self.iteration,
            "kept": dict(self.kept),
            "seconds": self.seconds,
            "history": [dict(row) for row in self.history],
            "tables": {name: seen.table.to("cpu", copy=True) for name, seen in self.observers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for other layers, steps or options.
        """
        missing = self.saved - state.keys()
        require(not missing, f"the saved windows lack {', '.join(sorted(missing))}: save state_dict() whole")
        tables = state["tables"]
        mine = {name: tuple(observer.table.shape) for name, observer in self.observers.items()}
        theirs = {name: tuple(table.shape) for name, table in tables.items()}
        require(
            mine == theirs,
            "the saved windows are of another model or search: layers and table shapes "
            f"{theirs or 'none'}, here {mine}",
        )
        self._check(state)
        self.iteration = int(state["iteration"])
        self._history = [dict(row) for row in state["history"]]
        self._kept = Counter(state["kept"])
        self._late.clear()
        self._clock = Clock(float(state["seconds"]))
        for name, observer in self.observers.items():
            observer.table.copy_(tables[name])
            observer.clock = Clock()
        self._arm()

    @abstractmethod
    def _check(self, state: dict[str, Any]) -> None:
        """Raise `InputError` if a complete `state` with fitting tables does not fit."""

    @abstractmethod
    def _update(self, loss: Loss | None) -> bool:
        """Find and set, and append to the history; whether anything was set."""

    def _observe(self, observers: dict[str, Observer]) -> None:
        """Have these look on, by layer."""
        self.observers = observers
        for name, observer in observers.items():
            observer.site = self.sites[name]
        self.store = Store(list(observers.values()), next(iter(self.sites.values())))
        self._arm()

    def _check_armed(self) -> None:
        """Tell of layers whose observer is another's, or gone, on an observed iteration."""
        lost = {
            name for name, observer in self.observers.items() if self.sites[name].observer is not observer
        }
        if fresh := lost - self._disarmed:
            log.warning(
                "iteration %d: %d layers were not observed, since something else took the place of their "
                "observers: %s",
                self.iteration,
                len(fresh),
                ", ".join(sorted(fresh)),
            )
        self._disarmed |= lost

    def _arm(self) -> None:
        self._watch(self.observing)

    def _watch(self, on: bool) -> None:
        for name, observer in self.observers.items():
            self.sites[name].observer = observer if on else None

    def _tell(self, values: Tensor, told: Told) -> None:
        """Have `told` called with the values, on the CPU, without waiting for the device that computes them.

        On the CPU that is at once; on a GPU it is in a later search, or when somebody asks for the history.
        """
        self._late.append((Later(values), told))

    def _hear(self, *, wait: bool = False) -> None:
        while self._late and (wait or self._late[0][0].there):
            values, told = self._late.pop(0)
            told(values.read())

    def _count_kept(self, iteration: int, reasons: Sequence[str], of: str) -> None:
        """Count why windows were kept, "" where they were not, and warn of it."""
        bad = Counter(reason for reason in reasons if reason)
        self._kept.update(bad)
        if bad:
            log.warning(
                "iteration %d: kept the windows of %d of %d %s (%s)",
                iteration,
                sum(bad.values()),
                len(reasons),
                of,
                ", ".join(f"{reason}: {count}" for reason, count in bad.items()),
            )


@contextmanager
def _as_it_was(model: nn.Module, but: Sequence[Tensor]) -> Iterator[None]:
    """Put back a model's gradients and buffers, `but` some of these, and the random state."""
    kept = {id(tensor) for tensor in but}
    buffers = [buffer for buffer in model.buffers() if id(buffer) not in kept]
    copies = [buffer.clone() for buffer in buffers]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    devices = {parameter.device.index for parameter, _ in gradients if parameter.device.type == "cuda"}
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        with torch.random.fork_rng(sorted(devices)), torch.enable_grad():
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, copy in zip(buffers, copies, strict=True):
                buffer.copy_(copy)


def _find_sites(model: nn.Module) -> dict[str, Site]:
    sites = sites_of(model)
    if not sites:
        raise InputError(
            "found no spiking neurons in the model: use a2sg.LIF and its kin (or adapt another library's)"
        )
    require_windows_by_step(sites)
    return sites
