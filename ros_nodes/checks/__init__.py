"""Looks at a running robot and publishes nothing: camera rates, and the pilot's checklist before the first goal."""
