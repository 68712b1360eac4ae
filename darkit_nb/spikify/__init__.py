"""One transformation makes any decoder of transformers spiking; one undoes it."""

from darkit_nb.spikify.layers import spiking_modules
from darkit_nb.spikify.load import load_model
from darkit_nb.spikify.quantizer import DarkitConfig, DarkitQuantizer
from darkit_nb.spikify.transform import spikify, unspikify

__all__ = ["DarkitConfig", "DarkitQuantizer", "load_model", "spikify", "spiking_modules", "unspikify"]
