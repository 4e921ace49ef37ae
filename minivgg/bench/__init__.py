"""The benchmark.

By layer: problems.py says what is measured, measure.py judges and times. By network: network.py describes it, rivals/ build it,
one file a library, worker.py runs each in a process of its own, compare.py judges and times. turns.py is how anybody is timed,
ceilings.py what the machine can do at most, work.py what an algorithm really executes, machine.py where, report.py the
results, profile.py where a training step goes, plots/ the pictures.
"""
