#!/usr/bin/env python3
"""PyTorch on the training steps of Feedline's GPU benchmark, which runs this file and asks it line by line.

A step is forward, backward and Adam (fused, learning rate 0.001) on the same batch of noise, eager, with cuDNN's
benchmark mode, channels last. The networks are those of Feedline's `models`:
  mnist_cnn  1x28x28, twice conv 3x3 relu and pool 2x2 (32, 64 filters), conv 3x3 relu (64), dense 64 relu,
             dropout 0.5, dense 10
  cifar_cnn  3x24x24, twice conv 5x5 same relu (64 filters), pool 3x3 stride 2 same, batch norm; dense 384 and 192,
             each relu and dropout 0.5; dense 10
`f32` computes in f32 throughout, `tf32` allows TF32 in convolutions and products of matrices, `bf16` is autocast to
bf16 with values in f32.

The first line says "ready" and the versions, or "skipped" and why. Then each line that is read, such as
"cifar_cnn tf32 128", is answered by one with figures, or by "failed" and why. By hand:

    echo "cifar_cnn tf32 128" | python training_gpu.py [--seconds 2 | --steps N]
"""
import argparse
import statistics
import sys
import time

CLASSES = 10
GROUP, LEAST = 10, 5  # steps between two events, groups to take a median of: as the benchmark has them
SHAPES = {"mnist_cnn": (1, 28, 28), "cifar_cnn": (3, 24, 24)}
PRECISIONS = ("f32", "tf32", "bf16")


def build(torch, network):
    nn = torch.nn
    parts = []
    if network == "mnist_cnn":
        for channels, filters in ((1, 32), (32, 64)):
            parts += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        parts += [nn.Conv2d(64, 64, 3), nn.ReLU()]
        sizes = (576, 64)
    else:
        for channels in (3, 64):
            parts += [nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
            parts += [nn.BatchNorm2d(64)]
        sizes = (2304, 384, 192)
    parts.append(nn.Flatten())
    for inputs, outputs in zip(sizes, sizes[1:]):
        parts += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], CLASSES))


def stepper(torch, device, network, precision, batch):
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    last = torch.channels_last
    model = build(torch, network).to(device, memory_format=last)
    images = (torch.rand(batch, *SHAPES[network], device=device) * 2 - 1).to(memory_format=last)
    labels = torch.arange(batch, device=device) % CLASSES
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = torch.nn.CrossEntropyLoss()

    def step():
        adam.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            value = loss(model(images), labels)
        value.backward()
        adam.step()

    return step


class Clock:
    """Time on the device, between two events; on the CPU, where only this script is tried, that of the host."""

    def __init__(self, torch, device):
        self.cuda = torch.cuda if device.type == "cuda" else None
        if self.cuda:
            self.before, self.after = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def group(self, step):
        """Milliseconds of a step, the mean over a group."""
        start = time.perf_counter()
        if self.cuda:
            self.before.record()
        for _ in range(GROUP):
            step()
        if not self.cuda:
            return (time.perf_counter() - start) * 1e3 / GROUP
        self.after.record()
        self.after.synchronize()
        return self.before.elapsed_time(self.after) / GROUP


def measure(torch, device, work, seconds, steps):
    network, precision, batch = work.split()
    if network not in SHAPES or precision not in PRECISIONS:
        raise ValueError(f"no such work: {work}")
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    batch = int(batch)
    step, clock = stepper(torch, device, network, precision, batch), Clock(torch, device)
    start = time.perf_counter()
    clock.group(step)
    while steps is None and time.perf_counter() - start < seconds / 5:
        clock.group(step)
    times, start = [], time.perf_counter()

    def enough():
        if steps is not None:
            return len(times) * GROUP >= steps
        return len(times) >= LEAST and time.perf_counter() - start >= seconds

    while not enough():
        times.append(clock.group(step))
    milliseconds = statistics.median(times)
    figures = {"images/s": batch * 1e3 / milliseconds, "ms/step": milliseconds}
    if device.type == "cuda":
        figures["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for how long to time steps")
    parser.add_argument("--steps", type=int, help="how many steps to time, instead of --seconds")
    parser.add_argument("--cpu", action="store_true", help="to try the script where there is no GPU")
    arguments = parser.parse_args()

    def say(*words):
        print(*words, sep="\t", flush=True)

    try:
        import torch
    except ImportError as error:
        return say("skipped", f"PyTorch is not installed for {sys.executable}: {error}")
    if not arguments.cpu and not torch.cuda.is_available():
        return say("skipped", f"PyTorch {torch.__version__} sees no GPU")
    device = torch.device("cpu" if arguments.cpu else "cuda")
    say("ready", f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    for work in sys.stdin:
        try:
            figures = measure(torch, device, work.strip(), arguments.seconds, arguments.steps)
        except Exception as error:  # the next one may work
            say("failed", f"{type(error).__name__}: {error}".replace("\n", " "))
        else:
            say(*(f"{name}={value:.6g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
