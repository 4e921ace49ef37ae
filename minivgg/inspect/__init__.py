"""What a model is, read off its execution: ``summary`` as torchsummary prints it, ``inspect`` with all there is to know, ``draw_graph``."""

from minivgg.inspect.graph import draw_graph
from minivgg.inspect.inspection import Count, Inspection, Row, inspect
from minivgg.inspect.summary import summary, summary_text

__all__ = ["Count", "Inspection", "Row", "draw_graph", "inspect", "summary", "summary_text"]
