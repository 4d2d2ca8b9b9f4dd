"""What the SenseNova-SI paper studies, at this scale: one module per study, each writing a JSON file of raw results.

Plots and tables are made from those files alone. Only the command line imports this package.
"""
