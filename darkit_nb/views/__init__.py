"""Records as text: what a terminal, a log and a cell without widgets show."""

from darkit_nb.views.energy_table import energy_table, energy_view
from darkit_nb.views.metrics_line import metrics_line
from darkit_nb.views.spike_table import spike_table, spike_view
from darkit_nb.views.table import TableView

__all__ = ["TableView", "energy_table", "energy_view", "metrics_line", "spike_table", "spike_view"]
