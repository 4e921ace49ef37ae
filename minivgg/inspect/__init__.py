"""What a model is, read off its execution: ``summary`` as torchsummary prints it, ``inspect``, ``training_memory``, ``draw_graph``."""

from minivgg.inspect.graph import draw_graph
from minivgg.inspect.inspection import Count, Inspection, Row, inspect
from minivgg.inspect.summary import summary, summary_text
from minivgg.inspect.training_memory import TrainingMemory, training_memory

__all__ = ["Count", "Inspection", "Row", "TrainingMemory", "draw_graph", "inspect", "summary", "summary_text", "training_memory"]
