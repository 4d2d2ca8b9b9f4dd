"""One command, `si-embodied`, one module a verb. A verb's module imports nothing heavy before it runs."""
