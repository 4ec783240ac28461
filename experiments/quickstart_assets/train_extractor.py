"""Trains the quickstart's feature extractor on Fashion-MNIST's training images, and takes their reference statistics.

    uv run python experiments/quickstart_assets/train_extractor.py --fashion-mnist DIR

Writes `extractor.safetensors`, `reference.npz`, and the distance of held-out real images, which the page of a run draws
as a line (`held_out.json`); prints the test accuracy.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from flexsearch.data.fashion_mnist import load_fashion_mnist
from flexsearch.objectives.extractors import create_extractor
from flexsearch.objectives.fashion_cnn import FashionClassifier
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import feature_statistics, frechet_distance

OUT = Path("flexsearch/assets/quickstart")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", type=Path, default=Path("data"), help="folder with the idx files")
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    train = load_fashion_mnist(arguments.fashion_mnist, split="train", size=16)
    test = load_fashion_mnist(arguments.fashion_mnist, split="test", size=16)
    torch.manual_seed(0)
    model = FashionClassifier()
    batch, updates = 128, arguments.epochs * len(train) // 128
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=updates)
    for update in range(updates):
        indices = torch.randint(len(train), (batch,))
        images = train.clean(indices)
        images = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, images.flip(-1), images)
        loss = F.cross_entropy(model(images), train.labels[indices], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if update % 200 == 0:
            print(f"update {update} of {updates}: loss {loss:.3f}", flush=True)
    model.eval()
    with torch.inference_mode():
        hits = [model(test.clean(rows)).argmax(1) == test.labels[rows] for rows in torch.arange(len(test)).split(500)]
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, OUT / "extractor.safetensors")
    extractor = create_extractor("fashion-cnn", device=torch.device("cpu"))
    reference = feature_statistics(extract_features(train.images, extractor=extractor, batch=500))
    reference.save(OUT / "reference.npz")
    print(f"test accuracy {torch.cat(hits).float().mean():.4f}")
    distances = {
        num: frechet_distance(
            feature_statistics(extract_features(test.images[:num], extractor=extractor, batch=500)), reference
        )
        for num in (500, 1000, 2000, 5000, 10000)
    }
    held_out = {
        "of": "Fashion-MNIST's test images, to the training images' statistics",
        "extractor_weights": extractor.digest,
        "reference": reference.digest,
        "distances": {num: round(distance, 4) for num, distance in distances.items()},
    }
    (OUT / "held_out.json").write_text(json.dumps(held_out, indent=2) + "\n")
