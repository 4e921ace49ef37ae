"""The benchmark: problems.py says what is measured, measure.py how, machine.py where, and report.py shows the results."""
