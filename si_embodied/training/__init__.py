"""Training: si-nano from scratch, and fine-tuning of real checkpoints, with LoRA or in full. No command-line code lives here."""
