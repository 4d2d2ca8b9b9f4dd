"""Everything that can only be measured on a robot's or a workstation's computer, by one command, in one report.

Not here: how each figure is measured (`latency/`, `comparison/`, `evaluation/`).
"""
