"""No lock of this repository may bring CUDA: Cloud Run's instances have no GPU, and its wheels are gigabytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "docker" / "requirements.tabular.lock"

# Distributions that exist for NVIDIA (or AMD) GPUs alone, or that bring their libraries along from the package index.
_GPU_NAMES = re.compile(
    r"(nvidia|cuda|cupy|pycuda|triton|pytorch-triton|tensorrt|cudnn|cublas|nccl|jax-cuda|jax-rocm|rocm|cudf|cuml|cugraph"
    r"|rmm|pylibraft|raft-dask|flash-attn|xformers|bitsandbytes|vllm|deepspeed|apex|nvtx|pynvml)(-.*|\d.*)?"
    r"|.*-(gpu|cuda|cu\d+|cuda\d+x?|rocm)(-.*|\d.*)?|numba-cuda.*"
)
_GPU_BUILD = re.compile(r"\+(cu\d|cuda|rocm|gpu)", re.IGNORECASE)
_GPU_ADDRESS = re.compile(r"/(cu\d{2,3}|cuda[\w.-]*|rocm[\w.-]*)(/|$)", re.IGNORECASE)
_GPU_EXTRA = re.compile(r"\[[^]]*\b(cuda\d*|gpu|rocm)\b[^]]*\]", re.IGNORECASE)
# On Linux the package index's own builds of these need CUDA; only builds marked +cpu do not.
_CPU_BUILD_ONLY = ("torch", "torchvision", "torchaudio", "tensorflow")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^]]*\])?\s*(.*)$")


def gpu_lines(text: str) -> Iterator[str]:
    """The lines of a lock or requirements file that bring CUDA (or ROCm), whatever way they are written."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        plain = line.split(" #", 1)[0].strip()
        if not plain or plain.startswith("#"):
            continue
        if plain.startswith("-"):
            if _GPU_ADDRESS.search(plain):
                yield plain
            continue
        found = _REQUIREMENT.match(plain)
        name = re.sub(r"[-_.]+", "-", found[1]).lower() if found else plain
        version = plain.split("--hash", 1)[0]
        gpu = _GPU_NAMES.fullmatch(name) or _GPU_BUILD.search(version) or _GPU_EXTRA.search(version)
        if gpu or _GPU_ADDRESS.search(version) or (name in _CPU_BUILD_ONLY and "+cpu" not in version):
            yield version.strip()


def locks() -> list[Path]:
    """Every file of the repository that pins or asks for packages."""
    found = [path for pattern in ("*.lock", "*requirements*.txt", "*requirements*.in") for path in ROOT.rglob(pattern)]
    hidden = [path for path in found if any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return sorted(set(found) - set(hidden))


def test_no_lock_brings_cuda() -> None:
    found = locks()
    assert {path.name for path in found} >= {"requirements.lock", "requirements.tabular.lock", "models.lock"}
    assert {path.name: list(gpu_lines(path.read_text(encoding="utf-8"))) for path in found} == {
        path.name: [] for path in found
    }


@pytest.mark.parametrize(
    "line",
    [
        "nvidia-cublas-cu12==12.8.4.1 \\\n    --hash=sha256:00",
        "nvidia_cudnn_cu13==9.20.0",
        "nvidia.nvtx==1",
        "cuda-python==13.0.0",
        "cuda-bindings==13",
        "cupy-cuda13x==14.0.0",
        "cupy==14.0.0",
        "triton==3.7.1 ; platform_system == 'Linux'",
        "pytorch-triton-rocm==3.1",
        "torch==2.13.0 \\\n    --hash=sha256:00",
        "torch==2.13.0+cu130",
        "Torch >= 2",
        "torchvision==0.28.0",
        "torch @ file:wheels/cu130/torch.whl",
        "torch==2.13.0+rocm6.2",
        "jax-cuda13-plugin==0.9",
        "jax[cuda13]==0.9",
        "jaxlib==0.4.30+cuda12.cudnn91",
        "onnxruntime-gpu==1.24",
        "tensorflow==2.21.0",
        "tensorflow-gpu==2.12",
        "faiss-gpu-cu12==1.12",
        "bitsandbytes==0.49",
        "flash-attn==2.8",
        "numba-cuda==0.24",
        "--extra-index-url wheels/cu130/",
        "--find-links wheels/cu130",
    ],
)
def test_a_poisoned_lock_is_refused(line: str) -> None:
    poisoned = f"{CONTAINER.read_text(encoding='utf-8')}{line}\n"
    assert len(list(gpu_lines(poisoned))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "numpy==2.4.6",
        "google-cloud-storage==3.17.1",
        "requests==2.34.2 # via nvidia-cublas",
        "# torch==2.13.0",
        "accumulate==1.0",
        "circuit==1.0+local1",
    ],
)
def test_cpu_packages_are_not_suspected(line: str) -> None:
    assert list(gpu_lines(line)) == []


def pins(path: Path) -> dict[str, set[str]]:
    """Name -> versions of a lock."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name.lower(), set()).add(version)
    return found


def test_the_image_runs_the_versions_that_the_tests_ran() -> None:
    here, image = pins(ROOT / "requirements.lock"), pins(CONTAINER)
    assert {name: versions for name, versions in image.items() if here.get(name, versions) != versions} == {}


def test_every_pin_of_the_image_is_hashed_and_names_no_address() -> None:
    text = CONTAINER.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert [entry.splitlines()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?://\S+|file:\S+|^-.*", text, re.MULTILINE) == []
