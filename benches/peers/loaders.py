#!/usr/bin/env python3
"""Other loaders on the workloads of `cargo bench --bench throughput`, which runs this file; one line for each figure:
workload, system, images per second, images per second of processor time (of all processes), with tabs between them.

CIFAR-10's and MNIST's training sets, full shuffle, batches of 128, the last incomplete one dropped:
  normalize  u8 -> f32, (x/255 - mean)/std
  augment    + zero-pad 4, random 32x32 crop, random horizontal flip
  lab        random 24x24 crop, flip, brightness +-63/255, contrast 0.2..1.8, per-image standardization
  u8         the bytes as they are
  mnist      normalize, on MNIST
A folder of JPEGs with a sub-folder for each class (--photographs), full shuffle, batches of 64:
  photographs  decoded, resized to 224x224, zero-pad 8, random 224x224 crop, flip, normalize
One epoch to warm up, then EPOCHS timed. Data are in memory before the clock starts; JPEGs in the system's page cache.

    python loaders.py --system tf|torch|grain|ffcv [--workers 2] [--only normalize,lab] [--photographs DIR] [DIR]

Each system in an environment of its own; benches/README.md says how to make them.
"""
import argparse, glob, gzip, multiprocessing, os, tarfile, time
import numpy as np

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32)
BATCH, EPOCHS = 128, 3
# Of photographs: as is usual for them.
PHOTO_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
PHOTO_STD = np.array([0.229, 0.224, 0.225], np.float32)
PHOTO_BATCH, SIDE, PADDING = 64, 224, 8
ONLY = None


def read_cifar(folder):
    """Labels and CHW pictures, from the extracted files or from the archive."""
    found = sorted(glob.glob(os.path.join(folder, "**", "data_batch_?.bin"), recursive=True))
    if found:
        raw = b"".join(open(f, "rb").read() for f in found)
    else:
        with tarfile.open(os.path.join(folder, "cifar-10-binary.tar.gz")) as archive:
            names = sorted(n for n in archive.getnames() if "data_batch_" in n)
            raw = b"".join(archive.extractfile(n).read() for n in names)
    recs = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    return recs[:, 1:].reshape(-1, 3, 32, 32).copy(), recs[:, 0].astype(np.int64)


def read_mnist(folder):
    def idx(name, header):
        found = glob.glob(os.path.join(folder, "**", name + "*"), recursive=True)[0]
        data = (gzip.open if found.endswith(".gz") else open)(found, "rb").read()
        return np.frombuffer(data, np.uint8, offset=header)
    return (idx("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28).copy(),
            idx("train-labels-idx1-ubyte", 8).astype(np.int64))


def cpu():
    """Seconds of processor time of this process and of the workers that it started."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        with open(f"/proc/{child.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def clock(name, workload, make_epoch, batch=BATCH):
    if ONLY and workload not in ONLY:
        return
    for _ in make_epoch():
        pass
    n, t, c = 0, time.perf_counter(), cpu()
    for _ in range(EPOCHS):
        for b in make_epoch():
            n += batch
    t, c = time.perf_counter() - t, cpu() - c
    print(workload, name, round(n / t), round(n / c), sep="\t", flush=True)


def run_torch(x, y, workers, mnist):
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    norm = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN.tolist(), STD.tolist())]

    class Standardize(torch.nn.Module):
        def forward(self, im):
            return (im - im.mean()) / torch.clamp(im.std(), min=1.0 / im.numel() ** 0.5)

    tf = {
        "normalize": v2.Compose(norm),
        "augment": v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()] + norm),
        "lab": v2.Compose([v2.RandomCrop(24), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True),
                           v2.ColorJitter(brightness=63 / 255, contrast=(0.2, 1.8)), Standardize()]),
    }

    class Cifar(Dataset):
        def __init__(self, t):
            self.x, self.y, self.t = torch.from_numpy(x), torch.from_numpy(y), t

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return self.t(self.x[i]), self.y[i]

    for w, t in tf.items():
        dl = DataLoader(Cifar(t), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)
        clock(f"torch DataLoader, {workers} workers", w, lambda: iter(dl))

    # the fast hand-written idiom: whole-batch tensor operations on data held in memory
    xt, yt = torch.from_numpy(x), torch.from_numpy(y)
    m, s = torch.from_numpy(MEAN).view(1, 3, 1, 1), torch.from_numpy(STD).view(1, 3, 1, 1)

    def batches(aug):
        perm = torch.randperm(len(xt))
        for i in range(len(xt) // BATCH):
            idx = perm[i * BATCH:(i + 1) * BATCH]
            b = ((xt[idx].float() / 255) - m) / s
            if aug:
                p = torch.nn.functional.pad(b, (4, 4, 4, 4))
                oy, ox = torch.randint(0, 9, (2, BATCH))
                ar = torch.arange(32)
                rows = (oy[:, None] + ar)[:, None, :, None]
                cols = ox[:, None] + ar
                flip = torch.rand(BATCH) < 0.5
                cols = torch.where(flip[:, None], cols.flip(1), cols)[:, None, None, :]
                n = torch.arange(BATCH)[:, None, None, None]
                c = torch.arange(3)[None, :, None, None]
                b = p[n, c, rows, cols]
            yield b, yt[idx]

    def bytes_only():
        perm = torch.randperm(len(xt))
        for i in range(len(xt) // BATCH):
            idx = perm[i * BATCH:(i + 1) * BATCH]
            yield xt[idx], yt[idx]

    clock("torch whole-batch tensors", "u8", bytes_only)
    clock("torch whole-batch tensors", "normalize", lambda: batches(False))
    clock("torch whole-batch tensors", "augment", lambda: batches(True))


def run_tf(x, y, workers, mnist):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    AUTO = tf.data.AUTOTUNE

    def norm(im, l):
        return (tf.cast(im, tf.float32) / 255.0 - MEAN) / STD, l

    def aug(im, l):
        im = tf.image.resize_with_crop_or_pad(im, 40, 40)
        im = tf.image.random_crop(im, (32, 32, 3))
        return norm(tf.image.random_flip_left_right(im), l)

    def lab(im, l):
        im = tf.cast(im, tf.float32) / 255.0
        im = tf.image.random_crop(im, (24, 24, 3))
        im = tf.image.random_flip_left_right(im)
        im = tf.image.random_brightness(im, 63 / 255)
        im = tf.image.random_contrast(im, 0.2, 1.8)
        return tf.image.per_image_standardization(im), l

    base = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(50000)
    clock("tf.data batch->map", "normalize", lambda: base.batch(BATCH, drop_remainder=True).map(norm, AUTO).prefetch(AUTO))
    for w, f in (("normalize", norm), ("augment", aug), ("lab", lab)):
        clock("tf.data map->batch", w, lambda: base.map(f, AUTO).batch(BATCH, drop_remainder=True).prefetch(AUTO))
    clock("tf.data batch", "u8", lambda: base.batch(BATCH, drop_remainder=True).prefetch(AUTO))

    def mnist_norm(im, l):
        return (tf.cast(im, tf.float32) / 255.0 - 0.1307) / 0.3081, l

    base = tf.data.Dataset.from_tensor_slices(mnist).shuffle(60000)
    clock("tf.data batch->map", "mnist", lambda: base.batch(BATCH, drop_remainder=True).map(mnist_norm, AUTO).prefetch(AUTO))
    clock("tf.data map->batch", "mnist", lambda: base.map(mnist_norm, AUTO).batch(BATCH, drop_remainder=True).prefetch(AUTO))


def run_grain(x, y, workers, mnist):
    import grain

    class Norm(grain.transforms.Map):
        def map(self, e):
            return {"x": ((e["x"].astype(np.float32) / 255) - MEAN[:, None, None]) / STD[:, None, None], "y": e["y"]}

    class Aug(grain.transforms.RandomMap):
        def random_map(self, e, rng):
            p = np.pad(e["x"], ((0, 0), (4, 4), (4, 4)))
            i, j = rng.integers(0, 9, 2)
            p = p[:, i:i + 32, j:j + 32]
            return {"x": p[:, :, ::-1] if rng.random() < 0.5 else p, "y": e["y"]}

    class Src:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return {"x": x[i], "y": y[i]}

    for w, ops in (("normalize", [Norm()]), ("augment", [Aug(), Norm()])):
        ds = grain.MapDataset.source(Src()).seed(1).shuffle()
        for o in ops:
            ds = ds.random_map(o) if isinstance(o, grain.transforms.RandomMap) else ds.map(o)
        clock("grain threads", w, lambda: iter(ds.batch(BATCH, drop_remainder=True).to_iter_dataset()))


def run_ffcv(x, y, workers, mnist):
    import tempfile
    import torch
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Convert, NormalizeImage, RandomHorizontalFlip, RandomTranslate, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    class Rows:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return np.ascontiguousarray(x[i].transpose(1, 2, 0)), int(y[i])

    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "cifar.beton")
        w = DatasetWriter(path, {"image": RGBImageField(write_mode="raw"), "label": IntField()}, num_workers=1)
        w.from_indexed_dataset(Rows())
        for name, aug in (("u8", []), ("normalize", [NormalizeImage(MEAN * 255, STD * 255, np.float32)]),
                          ("augment", [RandomHorizontalFlip(), RandomTranslate(padding=4), NormalizeImage(MEAN * 255, STD * 255, np.float32)])):
            image = [SimpleRGBImageDecoder()] + aug + [ToTensor(), ToTorchImage(channels_last=False)]
            dl = Loader(path, batch_size=BATCH, num_workers=workers, order=OrderOption.RANDOM, drop_last=True, os_cache=True,
                        pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Convert(torch.int64)]})
            clock(f"ffcv, {workers} workers", name, lambda: iter(dl))


def torch_photographs(folder, workers):
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([
        v2.ToImage(), v2.Resize((SIDE, SIDE)), v2.RandomCrop(SIDE, padding=PADDING), v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(PHOTO_MEAN.tolist(), PHOTO_STD.tolist()),
    ])
    dl = DataLoader(ImageFolder(folder, transform), PHOTO_BATCH, shuffle=True, drop_last=True, num_workers=workers,
                    persistent_workers=workers > 0)
    clock(f"torch DataLoader, {workers} workers", "photographs", lambda: iter(dl), PHOTO_BATCH)


def labelled_files(folder):
    classes = sorted(os.listdir(folder))
    files = [(f, label) for label, c in enumerate(classes) for f in sorted(glob.glob(os.path.join(folder, c, "*.jpg")))]
    return [f for f, _ in files], [label for _, label in files]


def tf_photographs(folder, workers):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    AUTO = tf.data.AUTOTUNE
    files, labels = labelled_files(folder)

    def load(f, label):
        im = tf.io.decode_jpeg(tf.io.read_file(f), channels=3)
        im = tf.image.resize(im, (SIDE, SIDE))
        im = tf.image.resize_with_crop_or_pad(im, SIDE + 2 * PADDING, SIDE + 2 * PADDING)
        im = tf.image.random_flip_left_right(tf.image.random_crop(im, (SIDE, SIDE, 3)))
        return (im / 255.0 - PHOTO_MEAN) / PHOTO_STD, label

    ds = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(len(files))
    ds = ds.map(load, AUTO).batch(PHOTO_BATCH, drop_remainder=True).prefetch(AUTO)
    clock("tf.data map->batch", "photographs", lambda: ds, PHOTO_BATCH)


def grain_photographs(folder, workers):
    import grain
    from PIL import Image

    files, labels = labelled_files(folder)

    class Load(grain.transforms.RandomMap):
        def random_map(self, i, rng):
            with Image.open(files[i]) as im:
                im = np.asarray(im.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            im = np.pad(im, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
            y, x = rng.integers(0, 2 * PADDING + 1, 2)
            im = im[y:y + SIDE, x:x + SIDE]
            im = im[:, ::-1] if rng.random() < 0.5 else im
            return {"x": (im.astype(np.float32) / 255 - PHOTO_MEAN) / PHOTO_STD, "y": labels[i]}

    ds = grain.MapDataset.range(len(files)).seed(1).shuffle().random_map(Load())
    clock("grain threads", "photographs", lambda: iter(ds.batch(PHOTO_BATCH, drop_remainder=True).to_iter_dataset()),
          PHOTO_BATCH)


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("--system", required=True)
    a.add_argument("--workers", type=int, default=2)
    a.add_argument("--only", help="workloads, with commas between them")
    a.add_argument("--photographs", help="folder of JPEGs")
    a.add_argument("dir", nargs="?", help="folder with CIFAR-10 and MNIST")
    a = a.parse_args()
    ONLY = a.only.split(",") if a.only else None
    if a.dir:
        x, y = read_cifar(a.dir)
        run = {"torch": run_torch, "tf": run_tf, "grain": run_grain, "ffcv": run_ffcv}[a.system]
        run(x, y, a.workers, read_mnist(a.dir))
    photographs = {"torch": torch_photographs, "tf": tf_photographs, "grain": grain_photographs}
    if a.photographs and a.system in photographs:
        photographs[a.system](a.photographs, a.workers)
