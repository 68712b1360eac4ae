"""Open a model: its tree of modules, its dataflow, and what each part computes, costs and fires."""

from darkit_nb.trace.flow import trace_flow
from darkit_nb.trace.tracer import trace_model

__all__ = ["trace_flow", "trace_model"]
