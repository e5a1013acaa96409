"""Make a tiny XLM-RoBERTa in bge-m3's layout and its goldens with the real libraries; run once, by hand, never in CI.

The same throwaway environment as for make_goldens.py:

    /tmp/goldens/bin/pip install torch==2.13.0 sentence-transformers
    /tmp/goldens/bin/python tests/data/embeddings/make_xlmr.py

Writes beside itself, all of it random numbers and therefore free of anybody's licence:
    xlmr/       the files that a sync takes from BAAI/bge-m3: configurations in that repository's words, tokenizer.json,
                pytorch_model.bin as torch.save writes it (float32)
    half.bin    the same weights in half precision
    kinds.bin   one tensor of each kind and form that torch.save writes; kinds.npz has the values of the real ones
    xlmr.json   what made them, the sha256 of the weights, and per case: name, texts, rows in the arrays
    xlmr.npz    float32 [rows, 32] "full" and "half": what sentence-transformers answers with each of the weights
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_goldens import CASES as SHARED

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "xlmr"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
CASES: dict[str, list[str]] = SHARED | {
    "markup": ["<s> tokens in </s> the <mask> text <unk>", "a<mask> b", "<b>bold</b> &amp; **stars** `code`"],
    # the padding token inside a text gets attention, but the padding's position
    "padding in the text": ["left <pad> right", "<pad>", "short", "<pad><pad> a much longer text than the others here"],
    "just below the limit": ["a " * 45],
    "at the limit": ["a " * 46],
    "just above the limit": ["a " * 47],
}
CONFIG = {
    "architectures": ["XLMRobertaModel"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.25,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 66,
    "model_type": "xlm-roberta",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "output_past": True,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
    "type_vocab_size": 1,
    "use_cache": True,
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
POOLING = {
    "word_embedding_dimension": 32,
    "pooling_mode_cls_token": True,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}


def main() -> int:
    """Write the model, its weights in two precisions, the kinds and the goldens."""
    torch.manual_seed(20261120)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "1_Pooling").mkdir(exist_ok=True)
    size = write_tokenizer()
    write_json(FOLDER / "config.json", CONFIG | {"vocab_size": size})
    write_json(FOLDER / "modules.json", MODULES)
    write_json(FOLDER / "1_Pooling" / "config.json", POOLING)
    write_json(FOLDER / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    write_weights()
    write_kinds()
    vectors = {"full": encode(FOLDER / "pytorch_model.bin"), "half": encode(HERE / "half.bin")}
    np.savez_compressed(HERE / "xlmr.npz", **vectors)
    cases, row = [], 0
    for name, texts in CASES.items():
        cases.append({"name": name, "texts": texts, "first_row": row, "rows": len(texts)})
        row += len(texts)
    libraries = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")
    facts = {
        "weights_sha256": hashlib.sha256((FOLDER / "pytorch_model.bin").read_bytes()).hexdigest(),
        "half_sha256": hashlib.sha256((HERE / "half.bin").read_bytes()).hexdigest(),
        "made_with": {name: version(name) for name in libraries},
        "cases": cases,
    }
    write_json(HERE / "xlmr.json", facts)
    print(f"{row} embeddings, {facts['made_with']}")
    return 0


def write_json(place: Path, value: Any) -> None:
    """A JSON file, readable in a diff."""
    place.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def write_tokenizer() -> int:
    """A unigram tokenizer trained on the cases, put together as XLM-RoBERTa's; returns the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(vocab_size=420, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    # without the special tokens' spellings: a second piece of that name would take their place
    texts = [re.sub(r"<\w+>", " ", text) for texts in CASES.values() for text in texts]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    assert tokenizer.encode("<pad><unk><s>").ids == [0, 1, 3, 0, 2]
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    named = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>"}
    extra = {f"{role}_token": token for role, token in named.items()}
    extra |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "mask_token": "<mask>"}
    write_json(FOLDER / "tokenizer_config.json", extra)
    return int(tokenizer.get_vocab_size())


def write_weights() -> None:
    """Random weights; norms, biases and the padding's rows are no zeros and ones, so that forgetting one shows."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    model = XLMRobertaModel(XLMRobertaConfig.from_pretrained(FOLDER))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += torch.randn_like(parameter) * 0.2
            elif "embeddings" in name:
                parameter[CONFIG["pad_token_id"] % len(parameter)] = torch.randn(parameter.shape[1]) * 0.25
    weights = model.state_dict()
    torch.save(weights, FOLDER / "pytorch_model.bin")
    torch.save({name: value.half() for name, value in weights.items()}, HERE / "half.bin")


def write_kinds() -> None:
    """Every kind of number that has a storage class, views, shared storages, parameters, and an empty tensor."""
    base = torch.randn(6, 8)
    real = {
        "float": base,
        "half": torch.randn(3, 5).half(),
        "bfloat16": torch.randn(2, 3, 4).bfloat16(),
        "double": torch.randn(7).double(),
        "parameter": torch.nn.Parameter(torch.randn(4, 2)),
        "transposed": base.t(),
        "part": base[2:5, 1:7:2],
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "broken halves": torch.tensor([0.0, -0.0, float("inf"), 6e-8, 65504.0]).half(),
    }
    whole = {name: torch.arange(3).to(getattr(torch, name)) for name in ("int64", "int32", "int16", "int8", "uint8")}
    torch.save(real | whole | {"bool": torch.tensor([True, False])}, HERE / "kinds.bin")
    np.savez_compressed(HERE / "kinds.npz", **{name: value.detach().float().numpy() for name, value in real.items()})


def encode(weights: Path) -> np.ndarray[Any, Any]:
    """What sentence-transformers answers to every case, computed in float32."""
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        shutil.copytree(FOLDER, folder)
        shutil.copyfile(weights, folder / "pytorch_model.bin")
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        assert model.max_seq_length == 48
        blocks = [model.encode(texts, batch_size=32, convert_to_numpy=True) for texts in CASES.values()]
    return np.concatenate(blocks).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
