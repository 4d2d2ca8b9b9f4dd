"""What the SenseNova-SI paper studies, at this scale, and what the planner's parts and its latency do to its success.

One module per study, each writing a JSON file of raw results. Plots and tables are made from those files alone. Only
the command line imports this package.
"""
