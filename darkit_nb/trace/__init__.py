"""Open a model: its tree of modules, its dataflow, and what each part computes, costs and fires."""

from darkit_nb.trace.tracer import trace_model

__all__ = ["trace_model"]
