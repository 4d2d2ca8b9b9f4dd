"""The parts of the planner node: runtime, tasks, questions, telemetry, parameters. Executables are one level up."""
