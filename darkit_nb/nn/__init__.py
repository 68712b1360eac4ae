"""Neurons and spiking layers: modules with parameters and state."""
