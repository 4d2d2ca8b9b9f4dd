"""What the SenseNova-SI paper studies, at this scale: one module a study, each leaving a JSON file of raw results.

Plots and tables are made of those files alone; nothing else in the package imports this one but the command line.
"""
