"""Training: the small model made here from nothing, and LoRA for real checkpoints. No command-line code lives here."""
