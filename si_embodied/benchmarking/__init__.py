"""Public benchmarks: lmms-eval asks our engine and scores its answers; we add controls, intervals and records.

No benchmark is scored here by rules of our own. lmms-eval runs in another Python, where only `plugin`, `lmms_model`,
`answering`, `messages` and `subset` are imported.
"""
