"""Trains the small language model whose perplexity `perplexity.py` measures: about two minutes on one thread.

Reads corpus.txt beside it, writes tokenizer.json, shape.json and weights.npz (fp16). The last tenth of the corpus is
kept from training. Run it only to make the checkpoint anew:

    python workloads/perplexity_model/train.py
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from models.bpe import learn  # noqa: E402
from models.checkpoint import split_corpus  # noqa: E402
from models.gpt import GptShape, build_gpt, every_position  # noqa: E402

VOCABULARY = 512
SHAPE = GptShape(layers=4, heads=4, kv_heads=4, width=128, vocabulary=VOCABULARY, max_length=64)
STEPS, BATCH, RATE = 1500, 12, 3e-3


def main() -> None:
    """Train and write."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    text, _ = split_corpus(HERE)
    tokenizer = learn(text, VOCABULARY)
    ids = torch.tensor(tokenizer.encode(text))
    model = build_gpt(SHAPE, 0, torch.device("cpu"), torch.float32).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.05)
    begin = time.monotonic()
    for step in range(STEPS):
        starts = torch.randint(len(ids) - SHAPE.max_length - 1, (BATCH,)).tolist()
        block = torch.stack([ids[s : s + SHAPE.max_length + 1] for s in starts])
        loss = F.cross_entropy(every_position(model, block[:, :-1]).flatten(0, 1), block[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.3f}, {time.monotonic() - begin:.0f} s", flush=True)
    weights = {name: value.detach().numpy().astype(np.float16) for name, value in model.state_dict().items()}
    np.savez(HERE / "weights.npz", **weights)
    (HERE / "tokenizer.json").write_text(tokenizer.to_json() + "\n", encoding="utf-8")
    (HERE / "shape.json").write_text(json.dumps(asdict(SHAPE)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
