"""What is learnt of a conversation: the assistant's words and the end of its turn, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data.bpe_tokenizer import train_bpe
from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.corpus import Document, Message
from darkit_nb.data.segments import encode_documents
from darkit_nb.data.tokenizer import TextTokenizer
from darkit_nb.data.tokenizer_files import load_folder
from darkit_nb.errors import DataError

BYTES = ByteTokenizer()
BPE = train_bpe("bpe:300", 300, iter(["what is a spike? a spike is a spike.\n" * 9]))
TALK = (
    Message("system", "Be brief."),
    Message("user", "What is a spike?"),
    Message("assistant", "A spike."),
    Message("user", "And <|assistant|>?"),
    Message("assistant", "No."),
)
ZEPHYR = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'assistant' %}{% generation %}"
    "{{ '<|assistant|>\n' + m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('unknown role') }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)


def encoded(tokenizer: TextTokenizer, *messages: Message) -> tuple[list[int], list[bool]]:
    pieces = list(encode_documents([Document(messages=messages)], tokenizer))
    assert [piece.segment.last for piece in pieces].count(True) == 1
    ids = [int(i) for piece in pieces for i in piece.ids]
    return ids, [piece.segment.learnt for piece in pieces for _ in piece.ids]


def learnt(tokenizer: TextTokenizer, *messages: Message) -> str:
    ids, mask = encoded(tokenizer, *messages)
    return tokenizer.decode([i for i, taken in zip(ids, mask, strict=True) if taken])


def test_answers_and_their_end() -> None:
    assert learnt(BYTES, *TALK) == "A spike.<|endoftext|>No.<|endoftext|>"
    ids, mask = encoded(BYTES, *TALK)
    assert ids[:2] == [258, ord("B")]
    assert ids.count(260) == 2  # the role written by the user is only text
    assert not mask[0]
    assert ids[-1] == 256


TURNS = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text("ab? \n", max_size=8)),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same tokenizers as transformers loads them."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizers")
    for tokenizer in (BYTES, BPE):
        tokenizer.save(folder / tokenizer.name.replace(":", "-"))
    return {
        tokenizer.name: AutoTokenizer.from_pretrained(folder / tokenizer.name.replace(":", "-"))
        for tokenizer in (BYTES, BPE)
    }


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
@given(turns=TURNS)
def test_agrees_with_transformers(reference: dict[str, Any], tokenizer: TextTokenizer, turns: list[Message]) -> None:
    chat = [{"role": message.role, "content": message.content} for message in turns]
    theirs = reference[tokenizer.name].apply_chat_template(
        chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encoded(tokenizer, *turns)
    if turns[-1].role != "assistant":  # ours closes the document
        assert (ids.pop(), mask.pop()) == (tokenizer.eos_id, False)
    assert ids == theirs["input_ids"]
    assert mask == [bool(taken) for taken in theirs["assistant_masks"]]


def test_foreign_tokenizer_without_template(test_data: Path) -> None:
    gpt2 = load_folder("gpt2", test_data / "tokenizers" / "gpt2")
    ids, _ = encoded(gpt2, *TALK[1:3])
    assert gpt2.decode(ids) == "<|user|>\nWhat is a spike?\n<|assistant|>\nA spike.<|endoftext|>"
    assert learnt(gpt2, *TALK) == "A spike.<|endoftext|>No.<|endoftext|>"


def test_template_of_the_tokenizer() -> None:
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = ZEPHYR
    ids, _ = encoded(tokenizer, *TALK[:3])
    assert tokenizer.decode(ids) == (
        "<|system|>\nBe brief.<|endoftext|><|user|>\nWhat is a spike?<|endoftext|><|assistant|>\nA spike.<|endoftext|>"
    )
    assert learnt(tokenizer, *TALK[:3]) == "A spike.<|endoftext|>"
    assert learnt(tokenizer, *TALK) == "A spike.<|endoftext|>No.<|endoftext|>"
    ids, mask = encoded(tokenizer, TALK[1])
    assert tokenizer.decode(ids) == "<|user|>\nWhat is a spike?<|endoftext|>"
    assert not any(mask)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[-1]['content'] }}", "rewrites earlier turns"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_template_that_cannot_be_used(template: str, said: str) -> None:
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="cannot mark what is to be learnt") as caught:
        encoded(tokenizer, *TALK)
    assert said in str(caught.value)


def test_unknown_role() -> None:
    with pytest.raises(DataError, match="has the role 'tool'"):
        encoded(BYTES, Message("tool", "42"))
