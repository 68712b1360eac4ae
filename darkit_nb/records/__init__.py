"""Plain, frozen records that cross floors and processes; none of them needs torch."""

from darkit_nb.records.spike_spec import SpikeSpec, code_cap

__all__ = ["SpikeSpec", "code_cap"]
