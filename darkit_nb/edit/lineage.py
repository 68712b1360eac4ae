"""What a patched class knows about itself: its patch, the class it took the place of, and the first of all."""

from __future__ import annotations

from darkit_nb.records.patch import Patch

PATCH, ORIGINAL, BASE, FOLDER = "_darkit_patch", "_darkit_original", "_darkit_base", "_darkit_folder"


class PatchedType(type):
    """Class of edited classes: an instance of one is still an instance of the original.

    Where the edited text does not derive from the original, the original comes last in the method resolution order:
    `super()` goes where the text says, and `isinstance` holds.
    """

    def mro(cls) -> list[type]:
        """The order the text asks for, then the original and its bases."""
        order = super().mro()
        before: type = vars(cls).get(ORIGINAL, object)
        return (
            order if before in order else [*order[:-1], *(each for each in before.__mro__ if each not in order), object]
        )


def patch_of(kind: type) -> Patch | None:
    """The patch a class was made from; None for one that was not."""
    return vars(kind).get(PATCH)


def original_class(kind: type) -> type:
    """The class as it was before any patch."""
    return vars(kind).get(ORIGINAL, kind)


def class_before(kind: type) -> type:
    """The class a patched one took the place of; itself where it is not patched."""
    return vars(kind).get(BASE, kind)
