"""One voice for processes that train together: what goes wrong in one is what all raise, and the first says it.

Their exchanges are those of a trainer and know no meetings; one that is gone breaks its connections, which ends the
exchange of the others. So whoever fails leaves word in the store through which the processes found each other, and the
others look there when an exchange breaks off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from darkit_nb.train.group import distributed, is_main, rank
from darkit_nb.train.helpers import known_to_all, mark_known
from darkit_nb.train.meeting import ProcessGone, gone, heard, in_words

_WORD = "failed"
_PATIENCE_SECONDS = 5.0
"""How long a process whose exchange broke off waits for the first to say why."""
_SETTLED = "_settled_by_one_voice"


@contextmanager
def one_voice() -> Iterator[None]:
    """In this block an error of one process is raised in all of them, whatever they were exchanging.

    An error that the first process raises too is known to all. Where the store went with the process that kept it, as
    without a launcher, the others can only say that one is gone.
    """
    try:
        yield
    except BaseException as error:
        if not distributed() or getattr(error, _SETTLED, False):
            raise
        reason = error if known_to_all(error) and not isinstance(error, ProcessGone) else _reason(error)
        setattr(reason, _SETTLED, True)
        if reason is error:
            raise
        raise reason from error


def _reason(error: BaseException) -> BaseException:
    """What is to be raised here for `error`."""
    store = PrefixStore("darkit", _get_default_store())
    if not _broke_off(error):
        # Exchanges of GPUs may wait for long before they break off: there the launcher has to end the others.
        if _leaves_word(store, error) is not None and not is_main() and torch.distributed.get_backend() != "nccl":
            mark_known(error)
        return error
    found = _word_of_another(store)
    if found is None:
        found = gone(error, "resume the run: it goes on from its last checkpoint")
        if _leaves_word(store, found) is False:
            mark_known(found)
    else:
        mark_known(found)
    return found


def _broke_off(error: BaseException | None) -> bool:
    """Whether it is that of an exchange with a process that is gone."""
    while error is not None:
        if isinstance(error, ProcessGone | DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            return True
        error = error.__cause__
    return False


def _leaves_word(store: PrefixStore, error: BaseException) -> bool | None:
    """Whether it is the first to leave word; None where the store is gone."""
    words = f"{rank()} {in_words(error).decode()}".encode()
    try:
        return store.compare_set(_WORD, "", words.decode()) == words
    except DistError:
        return None


def _word_of_another(store: PrefixStore) -> BaseException | None:
    """The error that another process left word of, or None where none did or the store is gone too."""
    end = time.monotonic() + (0.0 if is_main() else _PATIENCE_SECONDS)
    try:
        while not store.check([_WORD]):
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)
        number, _, words = store.get(_WORD).partition(b" ")
    except DistError:
        return None
    return heard(int(number), words)
