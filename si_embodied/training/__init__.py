"""Training: si-nano from scratch, and LoRA fine-tuning of real checkpoints. No command-line code lives here."""
