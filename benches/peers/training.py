#!/usr/bin/env python3
"""Keras and PyTorch on the workloads of `cargo bench --bench training`, which runs this file; one line for each, with
tabs between the figures.

A step is forward, backward and Adam (learning rate 0.001), on the same batch of noise in f32. The networks are those of
Feedline's `models`:
  softmax    1x28x28, dense 10
  mnist_cnn  1x28x28, twice conv 3x3 relu and pool 2x2 (32, 64 filters), conv 3x3 relu (64), dense 64 relu,
             dropout 0.5, dense 10
  cifar_cnn  3x24x24, twice conv 5x5 same relu (64 filters), pool 3x3 stride 2 same, batch norm; dense 384 and 192,
             each relu and dropout 0.5; dense 10
Workloads are read from the command line, or from standard input, one a line:

    python training.py --system keras|pytorch [--threads 2] [--seconds 1 | --steps N] "mnist_cnn 32" "cifar_cnn 128"

Each system in an environment of its own; benches/README.md says how to make them.
"""
import argparse
import os
import resource
import statistics
import sys
import time

CLASSES = 10
WARM_UP, LEAST = 3, 5  # steps, as the benchmark has them
SHAPES = {"softmax": (1, 28, 28), "mnist_cnn": (1, 28, 28), "cifar_cnn": (3, 24, 24)}


def keras(network, batch, threads):
    """A compiled step in the layout that TensorFlow prefers on the CPU: channels last."""
    import tensorflow as tf
    from keras import Input, Sequential, layers, losses, optimizers

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:  # can be said once only
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    channels, height, width = SHAPES[network]
    model = Sequential([Input((height, width, channels))])
    if network == "mnist_cnn":
        for filters in (32, 64):
            model.add(layers.Conv2D(filters, 3, activation="relu"))
            model.add(layers.MaxPooling2D(2))
        model.add(layers.Conv2D(64, 3, activation="relu"))
    if network == "cifar_cnn":
        for _ in range(2):
            model.add(layers.Conv2D(64, 5, padding="same", activation="relu"))
            model.add(layers.MaxPooling2D(3, 2, padding="same"))
            model.add(layers.BatchNormalization())
    model.add(layers.Flatten())
    for units in {"softmax": (), "mnist_cnn": (64,), "cifar_cnn": (384, 192)}[network]:
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(CLASSES))

    adam, loss = optimizers.Adam(), losses.SparseCategoricalCrossentropy(from_logits=True)
    images = tf.random.uniform((batch, height, width, channels), -1, 1)
    labels = tf.range(batch) % CLASSES

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        adam.apply_gradients(zip(tape.gradient(value, model.trainable_variables), model.trainable_variables))
        return value

    # The value is fetched, so that a step is over when it returns.
    return lambda: step().numpy()


def pytorch(network, batch, threads, channels_last=False):
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    shape = SHAPES[network]
    parts = []
    if network == "mnist_cnn":
        for channels, filters in ((1, 32), (32, 64)):
            parts += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        parts += [nn.Conv2d(64, 64, 3), nn.ReLU()]
    if network == "cifar_cnn":
        for channels in (3, 64):
            parts += [nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
            parts += [nn.BatchNorm2d(64)]
    parts.append(nn.Flatten())
    sizes = {"softmax": (784,), "mnist_cnn": (576, 64), "cifar_cnn": (2304, 384, 192)}[network]
    for inputs, outputs in zip(sizes, sizes[1:]):
        parts += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*parts, nn.Linear(sizes[-1], CLASSES))

    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = nn.CrossEntropyLoss()
    images, labels = torch.rand(batch, *shape) * 2 - 1, torch.arange(batch) % CLASSES
    if channels_last:
        model, images = (own.to(memory_format=torch.channels_last) for own in (model, images))

    def step():
        adam.zero_grad(set_to_none=True)
        loss(model(images), labels).backward()
        adam.step()

    return step


SYSTEMS = {
    "keras": keras,
    "pytorch": pytorch,
    "pytorch, channels last": lambda *workload: pytorch(*workload, channels_last=True),
}


def memory():
    """MiB besides the pages of files; 0 where there is no /proc."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon:"))
    except (OSError, StopIteration):
        return 0


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure(step, batch, seconds, steps):
    start, warm = time.perf_counter(), 0
    while warm < WARM_UP or time.perf_counter() - start < seconds / 5:
        step()
        warm += 1
    times, before, cpu, mapped = [], memory(), time.process_time(), faults()
    start = time.perf_counter()

    def enough():
        if steps is not None:
            return len(times) >= steps
        return len(times) >= LEAST and time.perf_counter() - start >= seconds

    while not enough():
        began = time.perf_counter()
        step()
        times.append((time.perf_counter() - began) * 1e3)
    cpu, mapped = time.process_time() - cpu, faults() - mapped
    return {
        "ms_per_step": statistics.median(times),
        "cpu_us_per_image": cpu * 1e6 / (len(times) * batch),
        "faults_per_step": mapped / len(times),
        "memory_before": before,
        "memory_after": memory(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for how long to time steps")
    parser.add_argument("--steps", type=int, help="how many steps to time, instead of --seconds")
    parser.add_argument("workloads", nargs="*", help='such as "mnist_cnn 32"; without any, they are read from stdin')
    arguments = parser.parse_args()
    # Before the libraries are loaded, which read them once.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    for workload in arguments.workloads or sys.stdin:
        network, batch = workload.split()
        if network not in SHAPES:
            parser.error(f"there is no network {network}; there are {', '.join(SHAPES)}")
        batch = int(batch)
        step = SYSTEMS[arguments.system](network, batch, arguments.threads)
        figures = measure(step, batch, arguments.seconds, arguments.steps)
        print("\t".join(f"{name}={value:.6g}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
