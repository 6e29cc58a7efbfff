"""What the core does with torch and numpy alone; ends with an error where something does not work.

It runs in an environment that has nothing else, or where nothing else can be imported.
"""

import contextlib
import io
import json

import torch
from torch import nn

import a2sg
from a2sg import cli

T = 3


class Fire(torch.autograd.Function):
    """A surrogate of somebody's own."""

    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, upstream):
        (distance,) = ctx.saved_tensors
        return upstream * (distance.abs() < 0.5)


class Plain(nn.Module):
    """A network that is written without a2sg: the loop over steps is its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 16), nn.Linear(16, 2)
        self.act = Fire.apply

    def forward(self, x):
        potential, total = 0.0, 0.0
        for frame in x:
            potential = 0.5 * potential + self.inner(frame)
            spikes = self.act(potential - 1.0)
            potential = potential - spikes
            total = total + self.outer(spikes)
        return total / T


def train(net, windows):
    """Iterations of a bare loop on a task that can be learnt; the first and the last loss."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-2)
    losses = []
    for _ in range(60):
        x = torch.randn(64, 6)
        logits = net(3 * x.expand(T, -1, -1))
        logits = logits.mean(0) if logits.dim() == 3 else logits
        loss = nn.functional.cross_entropy(logits, (x[:, 0] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        windows.step()
        losses.append(loss.item())
    assert min(losses[-10:]) < 0.6 * losses[0], losses
    assert not all(row["kept"] for row in windows.history), "no window was set"


def command(*words):
    """Exit status and output of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(list(words))
    return status, out.getvalue(), err.getvalue()


def shown(*words):
    """Output of a command that works."""
    status, out, err = command(*words)
    assert (status, err) == (0, ""), err
    return out


def main():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), a2sg.LIF(steps=T), nn.Linear(16, 2))
    train(net, a2sg.AdaptiveWindows(net, every=10))

    plain = Plain()
    windows = a2sg.adapt(plain, steps=T, functions={Plain: "act"}, every=10)
    train(plain, windows)

    batch = torch.randn(8, 6).expand(T, -1, -1), torch.zeros(8, dtype=torch.long)
    found = a2sg.inspect(net, batch, lambda logits, y: nn.functional.cross_entropy(logits.mean(0), y))
    assert set(found.layers) == {"1"}
    assert found.to_dict()
    assert a2sg.create_model("vgg_small", image_size=8)(torch.zeros(2, 3, 8, 8)).shape == (4, 2, 10)

    assert "usage:" in shown("--help")
    assert shown("--version") == f"a2sg {a2sg.__version__}\n"
    assert "vgg_small" in shown("list", "models")
    assert json.loads(shown("info", "--json"))["versions"]["torch"] == torch.__version__
    status, out, err = command("train")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "pip install 'a2sg[train]'" in err
    print("the core works alone")


if __name__ == "__main__":
    main()
