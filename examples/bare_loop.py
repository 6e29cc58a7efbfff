"""A2SG in a bare PyTorch loop, on real handwritten digits: python examples/bare_loop.py [EPOCHS]."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import a2sg


class Net(nn.Module):
    """Images [B, 1, 8, 8] to logits [T, B, 10]; the image is shown at every step."""

    def __init__(self, steps=4):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.lif1 = a2sg.LIF(steps)
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32))
        self.lif2 = a2sg.LIF(steps)
        self.head = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images):
        x = images.expand(self.lif1.steps, *images.shape)
        for conv, lif in ((self.conv1, self.lif1), (self.conv2, self.lif2)):
            x = lif(conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))  # conv: [T·B, ...], lif: [T, B, ...]
        return self.head(x.flatten(2))


def digits():
    pixels, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels / 16).float().view(-1, 1, 8, 8), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return [(images[part], labels[part]) for part in (order[360:], order[:360])]


def main(epochs=8):
    torch.manual_seed(0)
    (images, labels), (test_images, test_labels) = digits()
    net, losses = Net(), []
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    windows = a2sg.AdaptiveWindows(net, every=20)  # a search about once an epoch
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(net(images[batch]).mean(0), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            windows.step()
            losses.append(loss.item())
    with torch.no_grad():
        accuracy = (net.eval()(test_images).mean(0).argmax(1) == test_labels).float().mean().item()
    print(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, test accuracy {accuracy:.1%}; windows by step:")
    print(*(f"  {name} {site.window.numpy().round(2)}" for name, site in windows.sites.items()), sep="\n")
    return net, windows, losses, accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
