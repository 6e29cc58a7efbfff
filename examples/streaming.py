"""Streaming: feed noisy frames one by one, and decide after each: python examples/streaming.py [EPOCHS].

A neuron's `forward` takes all T steps at once and keeps nothing. Its `step` takes one frame and the state
after the previous one, for any number of frames, even more than it was trained with.
"""

import sys

import torch
from bare_loop import digits
from bare_loop import main as train


def stream(net, frame, states):
    """One frame [B, 1, 8, 8] to logits [B, 10]; `states` holds one state per neuron."""
    x, first = net.lif1.step(net.conv1(frame), states[0])
    x, second = net.lif2.step(net.conv2(x), states[1])
    return net.head(x.flatten(1)), [first, second]


def main(epochs=4):
    net, *_ = train(epochs)
    _, (images, labels) = digits()
    states, total, accuracies = [None, None], 0, []
    for frame in range(1, 9):  # trained with 4 steps, streamed for 8
        with torch.no_grad():
            noisy = images + 0.5 * torch.randn_like(images)
            logits, states = stream(net, noisy, states)
        total = total + logits
        accuracies.append((total.argmax(1) == labels).float().mean().item())
        print(f"after frame {frame}: test accuracy {accuracies[-1]:.1%}")
    return net, images, accuracies


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
