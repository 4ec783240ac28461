"""Packs Fashion-MNIST's 10,000 test images at 16x16 as package data.

uv run python experiments/quickstart_assets/make_images.py --fashion-mnist DIR
"""

import argparse
from pathlib import Path

import numpy as np

from flexsearch.data.fashion_mnist import load_fashion_mnist

OUT = Path("flexsearch/assets/quickstart/images.npz")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", type=Path, default=Path("data"), help="folder with the idx files")
    arguments = parser.parse_args()
    test = load_fashion_mnist(arguments.fashion_mnist, split="test", size=16)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT, images=test.images.numpy(), labels=test.labels.numpy().astype(np.uint8))
    print(f"{OUT}: {len(test)} images, {OUT.stat().st_size / 1e6:.2f} MB")
