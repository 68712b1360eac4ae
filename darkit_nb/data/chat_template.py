"""Conversations as tokens of which only the assistant's are learnt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from darkit_nb.data.corpus import Message
from darkit_nb.data.segments import Segment
from darkit_nb.data.tokenizer import OWN_CHAT_TEMPLATE, ROLE_TOKENS, TextTokenizer
from darkit_nb.errors import DataError

if TYPE_CHECKING:
    from jinja2 import Template

# A tag that transformers adds to Jinja to mark assistant tokens; here the prefixes tell.
_GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


def segment_chat(messages: tuple[Message, ...], tokenizer: TextTokenizer) -> Iterator[Segment]:
    """Segments of a conversation: through the tokenizer's own template, else with one mark per role.

    With our own tokenizers the mark is a token; with others that bring no template it is written out as text, and the
    end-of-text token closes each answer, so that generation stops there.

    Raises:
        DataError: a role the template does not know, or a template that fails.
    """
    if tokenizer.chat_template in (None, OWN_CHAT_TEMPLATE):
        segments = _marked(messages, own=tokenizer.chat_template is not None)
    else:
        segments = _templated(messages, tokenizer)
    held = next(segments)
    for segment in segments:
        yield held
        held = segment
    # The document ends here, and says so even where the last turn is not an answer.
    ended = held.markup and held.text.rstrip().endswith(tokenizer.specials["eos_token"])
    yield Segment(held.text, learnt=held.learnt, markup=held.markup, eos=not ended, last=True)


def _marked(messages: tuple[Message, ...], *, own: bool) -> Iterator[Segment]:
    for message in messages:
        if message.role not in ROLE_TOKENS:
            raise DataError(
                f"A message has the role {message.role!r}.",
                expected=", ".join(ROLE_TOKENS),
                received=repr(message.role),
                fix="map the roles of the dataset to these three, or use a tokenizer whose chat template knows it",
            )
        answer = message.role == "assistant"
        yield Segment(ROLE_TOKENS[message.role] + ("" if own else "\n"), learnt=False, markup=own)
        yield Segment(message.content if own or answer else message.content + "\n", learnt=answer, eos=answer)


def _templated(messages: tuple[Message, ...], tokenizer: TextTokenizer) -> Iterator[Segment]:
    """Render prefix by prefix: what an answer adds to the prompt before it is what is learnt."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    done = ""
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt = _render(tokenizer, turns[:index], add_generation_prompt=True)
        answered = _render(tokenizer, turns[: index + 1])
        yield Segment(_added(prompt, done, tokenizer), learnt=False, markup=True)
        yield Segment(_added(answered, prompt, tokenizer), markup=True)
        done = answered
    if messages[-1].role != "assistant":
        yield Segment(_added(_render(tokenizer, turns), done, tokenizer), learnt=False, markup=True)


def _added(longer: str, shorter: str, tokenizer: TextTokenizer) -> str:
    if not longer.startswith(shorter):
        raise _unusable(tokenizer, "it rewrites earlier turns when later ones are added")
    return longer[len(shorter) :]


def _render(tokenizer: TextTokenizer, turns: list[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
    from jinja2 import TemplateError

    try:
        return _compile(tokenizer.chat_template or "").render(
            messages=turns, add_generation_prompt=add_generation_prompt, **tokenizer.specials
        )
    except TemplateError as error:
        raise _unusable(tokenizer, f"{type(error).__name__}: {error}") from error


@cache
def _compile(template: str) -> Template:
    """The template in a sandbox, set up as transformers does, with the one function templates of the hub rely on."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> Any:
        raise TemplateError(message)

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    jinja.globals["raise_exception"] = raise_exception
    return jinja.from_string(_GENERATION_TAG.sub("", template))


def _unusable(tokenizer: TextTokenizer, why: str) -> DataError:
    return DataError(
        f"The chat template of the tokenizer {tokenizer.name!r} cannot mark what is to be learnt.",
        expected="a template that renders a conversation turn after turn",
        received=why,
        fix="use a tokenizer without a template of its own, such as bytes, bpe:<size> or gpt2",
    )
