"""What the planner node consists of: runtime, tasks, questions, telemetry, parameters. Executables are one level up."""
