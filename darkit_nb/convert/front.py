"""What stands before the blocks: the rotation of the residual stream, and the embeddings it is folded into."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from darkit_nb.convert import folding
from darkit_nb.convert.prepare import residual_rotation, residual_statistics, rotates
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.work import WorkFolder
from darkit_nb.records.conversion import ConversionSpec
from darkit_nb.train.processes import from_first


def found_rotation(
    skeleton: Skeleton, spec: ConversionSpec, work: WorkFolder, ids: Tensor, tell: Callable[..., None]
) -> Tensor | None:
    """R of the residual stream, `[D, D]` float64: read from an earlier start, or found from the float model and kept.

    The embeddings and what follows the blocks are filled with the float model's weights on the way.

    Args:
        skeleton: of the model.
        spec: what to do.
        work: where it is kept for the next start.
        ids: `[N, L]` token ids, this process's share of the calibration.
        tell: gets `kind` and `text` of what takes long.

    Returns: None where nothing is rotated.
    """
    skeleton.fill_front()
    if not rotates(spec):
        return None
    if from_first(work.has_rotation):  # asked once: what all then do is the same
        return work.read_rotation().to(skeleton.device)
    covariance = None
    if spec.rotation == "split":
        tell(kind="statistics", text="looking for the strongest directions of the float model")
        covariance = residual_statistics(skeleton, spec, skeleton.enter(ids))
    rotation = residual_rotation(spec, skeleton.widths.hidden, covariance).to(skeleton.device)
    from_first(lambda: work.write_rotation(rotation))
    return rotation


def fold_front(skeleton: Skeleton, rotation: Tensor | None) -> dict[str, Tensor]:
    """Fold the rotation into the embeddings.

    Args:
        skeleton: of the model; its embeddings are replaced.
        rotation: R `[D, D]` of the residual stream, or None.

    Returns: Tables that replace those of the source, by full name: those the skeleton holds, no copies.
    """
    if rotation is None:
        return {}
    source, family = skeleton.source, skeleton.family
    names = [f"{name}.weight" for name in family.embeddings]
    skeleton.fill_front(
        {name: folding.folded_table(source.tensor(name).to(skeleton.device), family, rotation) for name in names}
    )
    return {name: skeleton.model.get_parameter(name).data for name in names}
