"""The plots of ``minivgg bench --plot``: one file a plot, each of which measures what it shows and draws it; style.py is what they share."""
