"""Recorded episodes as a LeRobot data set (v3), written without lerobot: docs/data.md says why.

Numbers and images come from `evaluation/steps.py`, words from the records. pyarrow is in `tables.py` alone.
"""
